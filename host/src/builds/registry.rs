//! What is known of builds, kept in the state directory: which ran, which are held and why, which one is pinned, and the
//! files of those that may have to run again. Decisions are `logic::builds`'.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use serde::{Deserialize, Serialize};

use crate::builds::faults::{self, Fault, Input};
use crate::builds::provenance::MAX_SIGNATURES;
use crate::contract::digest::Digest;
use crate::contract::observation::UnixNanos;
use crate::logic::builds::{Build, Builds, Standing};
use crate::store::state_dir::StateDir;

const FILE: &str = "builds.json";

/// Far beyond what any number of plugins needs.
const MAX_FILE: u64 = 16 << 20;

/// `None`: nothing survives.
#[derive(Clone, Debug, Default)]
pub(crate) struct Registry {
    state: Option<StateDir>,
    builds: Option<StateDir>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    digest: String,
    version: String,
    standing: String,
    reason: String,
    since_ns: i64,
    strikes: u32,
    faults: u64,
}

#[derive(Serialize, Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct Plugin {
    pinned: Option<String>,
    builds: Vec<Record>,
}

impl Registry {
    pub(crate) fn new(state: Option<&StateDir>) -> io::Result<Self> {
        let builds = state.map(|state| state.inside("builds")).transpose()?;
        Ok(Self { state: state.cloned(), builds })
    }

    /// What is remembered, by plugin. A file that cannot be read as such is put aside: the error says so.
    pub(crate) fn load(&self) -> Result<BTreeMap<String, Builds>, String> {
        let Some(state) = &self.state else { return Ok(BTreeMap::new()) };
        let shown = state.path().join(FILE);
        let failed =
            |why: String| format!("{} cannot be read ({why}): what was known of builds is lost", shown.display());
        let Some(bytes) = state.read(FILE, MAX_FILE).map_err(|e| failed(e.to_string()))? else {
            return Ok(BTreeMap::new());
        };
        let read = serde_json::from_slice::<BTreeMap<String, Plugin>>(&bytes).map_err(|e| e.to_string());
        let read = read.and_then(|plugins| {
            let known = plugins.into_iter().map(|(name, plugin)| Ok((name, plugin.known()?)));
            known.collect::<Result<BTreeMap<_, _>, String>>()
        });
        read.map_err(|why| {
            // Kept for whoever wants to know what happened.
            let _ = state.write("builds.json.broken", &bytes);
            failed(why)
        })
    }

    pub(crate) fn save(&self, plugins: &BTreeMap<String, Builds>) -> io::Result<()> {
        let Some(state) = &self.state else { return Ok(()) };
        let all: BTreeMap<&String, Plugin> = plugins.iter().map(|(name, builds)| (name, Plugin::of(builds))).collect();
        let text = serde_json::to_vec_pretty(&all)?;
        state.write(FILE, &text)?;
        self.forget_files(plugins)
    }

    /// Keeps a build's file, and what vouches for it, for when the one in the plugins' directory is another.
    pub(crate) fn keep(&self, digest: Digest, bytes: &[u8], signatures: Option<&[u8]>) -> io::Result<()> {
        let Some(builds) = &self.builds else { return Ok(()) };
        if let Some(signatures) = signatures {
            builds.write(&signatures_name(digest), signatures)?;
        }
        let name = file_name(digest);
        if builds.path().join(&name).exists() { Ok(()) } else { builds.write(&name, bytes) }
    }

    /// What was kept to vouch for a build.
    pub(crate) fn kept_signatures(&self, digest: Digest) -> io::Result<Option<Vec<u8>>> {
        match &self.builds {
            Some(builds) => builds.read(&signatures_name(digest), MAX_SIGNATURES as u64),
            None => Ok(None),
        }
    }

    /// A build's file as it was kept; whoever reads it compares its digest.
    pub(crate) fn kept(&self, digest: Digest, max: u64) -> io::Result<Option<Vec<u8>>> {
        match &self.builds {
            Some(builds) => builds.read(&file_name(digest), max),
            None => Ok(None),
        }
    }

    /// Writes down what a build died of.
    pub(crate) fn keep_faults(&self, digest: Digest, faults: &[Fault]) -> io::Result<()> {
        self.state.as_ref().map_or(Ok(()), |state| faults::keep(state, digest, faults))
    }

    /// What a build died of, as far as it was written down.
    pub(crate) fn kept_faults(&self, digest: Digest) -> Result<Vec<Input>, String> {
        self.state.as_ref().map_or(Ok(Vec::new()), |state| faults::kept(state, digest))
    }

    /// Files of builds that never run again go.
    fn forget_files(&self, plugins: &BTreeMap<String, Builds>) -> io::Result<()> {
        let Some(directory) = &self.builds else { return Ok(()) };
        let digests = plugins.values().flat_map(|builds| builds.all().iter().map(|build| &build.digest));
        let known: BTreeSet<String> =
            digests.flat_map(|digest| [file_name(*digest), signatures_name(*digest)]).collect();
        for name in directory.list()? {
            if !known.contains(&name) {
                directory.remove(&name)?;
                if let (Some(state), Some(digest)) = (&self.state, name.strip_suffix(".wasm")) {
                    state.inside("faults")?.remove(&format!("{digest}.json"))?;
                }
            }
        }
        Ok(())
    }
}

impl Plugin {
    fn of(builds: &Builds) -> Self {
        let record = |build: &Build| Record {
            digest: build.digest.to_string(),
            version: build.version.clone(),
            standing: build.standing.as_str().to_owned(),
            reason: build.reason.clone(),
            since_ns: build.since.0,
            strikes: build.strikes,
            faults: build.faults,
        };
        Self {
            pinned: builds.pinned().map(|digest| digest.to_string()),
            builds: builds.all().iter().map(record).collect(),
        }
    }

    fn known(self) -> Result<Builds, String> {
        let build = |record: Record| {
            let standing = Standing::ALL.into_iter().find(|standing| standing.as_str() == record.standing);
            Ok(Build {
                digest: digest(&record.digest)?,
                standing: standing.ok_or_else(|| format!("{:?} is no standing", record.standing))?,
                version: record.version,
                reason: record.reason,
                since: UnixNanos(record.since_ns),
                strikes: record.strikes,
                faults: record.faults,
            })
        };
        let builds = self.builds.into_iter().map(build).collect::<Result<_, String>>()?;
        Ok(Builds::remembered(builds, self.pinned.as_deref().map(digest).transpose()?))
    }
}

fn digest(text: &str) -> Result<Digest, String> {
    text.parse().map_err(|why: &str| format!("{text:?}: {why}"))
}

fn signatures_name(digest: Digest) -> String {
    format!("{}.wasm.sig", digest)
}

fn file_name(digest: Digest) -> String {
    format!("{}.wasm", digest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_of_builds_survives() {
        let directory = tempfile::TempDir::new().expect("a temporary directory");
        let state = StateDir::open(directory.path()).expect("it is there");
        let registry = Registry::new(Some(&state)).expect("writable");
        assert_eq!(registry.load(), Ok(BTreeMap::new()));
        let mut builds = Builds::default();
        for number in 1..=3 {
            builds.handle_file(Digest::from([number; 32]), "1.2.3", UnixNanos(i64::from(number)));
            registry.keep(Digest::from([number; 32]), &[number], Some(b"signed")).expect("writable");
        }
        builds.handle_quarantine(Digest::from([3; 32]), "it \"died\"\n", UnixNanos(9));
        builds.pin(Some("0202"), UnixNanos(10)).expect("it is known");
        registry.keep(Digest::from([7; 32]), b"of nobody", None).expect("writable");
        let all = BTreeMap::from([("venue".to_owned(), builds.clone())]);
        registry.save(&all).expect("writable");
        let known = registry.load().expect("just written");
        let venue = known.get("venue").expect("it was saved");
        assert_eq!((venue.all(), venue.pinned()), (builds.all(), builds.pinned()));
        assert_eq!(registry.kept(Digest::from([2; 32]), 10).expect("readable"), Some(vec![2]));
        assert_eq!(
            registry.kept_signatures(Digest::from([2; 32])).expect("readable").as_deref(),
            Some(b"signed".as_slice())
        );
        assert_eq!(registry.kept(Digest::from([7; 32]), 10).expect("readable"), None);

        for broken in ["", "{", "[]", r#"{"a":{"pinned":"zz","builds":[]}}"#, r#"{"a":{"pinned":null}}"#] {
            state.write(FILE, broken.as_bytes()).expect("writable");
            assert!(registry.load().is_err_and(|why| why.contains("builds.json cannot be read")), "{broken}");
        }
        assert!(Registry::default().load().is_ok_and(|known| known.is_empty()));
    }
}
