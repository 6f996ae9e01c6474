//! What is known of the plugins' files and builds, and the builds that are loaded. What of it outlives a restart is written
//! down by `builds::registry`; which build is to run is `logic::builds`' to say.

use std::collections::{BTreeMap, BTreeSet};

use crate::builds::faults::Input;
use crate::builds::registry::Registry;
use crate::contract::digest::Digest;
use crate::logic::builds::{Build, Builds, Standing};
use crate::plugin::Plugin;

/// All of it, by the name of the plugin's file or by the digest of a build.
pub(super) struct Plugins {
    /// The plugin files that lie there, good or not.
    pub(super) files: BTreeSet<String>,
    /// Why the file that lies there now was not loaded.
    pub(super) file_errors: BTreeMap<String, String>,
    /// What is known of each plugin's builds, and what of that is written down.
    pub(super) builds: BTreeMap<String, Builds>,
    saved: BTreeMap<String, Builds>,
    /// That it could not be written down was said.
    unsaved: bool,
    pub(super) registry: Registry,
    /// The builds that may have to run at once.
    pub(super) loaded: BTreeMap<Digest, Plugin>,
    /// What quarantined builds died of.
    pub(super) died_of: BTreeMap<Digest, Vec<Input>>,
}

impl Plugins {
    /// As it was remembered. Which files lie there is not known yet.
    pub(super) fn new(registry: Registry) -> Self {
        let builds = registry.load().unwrap_or_else(|error| {
            tracing::error!(error);
            BTreeMap::new()
        });
        Self {
            files: BTreeSet::new(),
            file_errors: BTreeMap::new(),
            saved: builds.clone(),
            builds,
            unsaved: false,
            registry,
            loaded: BTreeMap::new(),
            died_of: BTreeMap::new(),
        }
    }

    /// A file that lay there is gone.
    pub(super) fn forget_file(&mut self, stem: &str) {
        self.files.remove(stem);
        self.file_errors.remove(stem);
        if let Some(builds) = self.builds.get_mut(stem) {
            builds.handle_removed();
        }
    }

    /// What is wrong with a plugin's file, or with the build in it, in words.
    pub(super) fn against(&self, stem: &str) -> Option<String> {
        let against = || self.builds.get(stem).and_then(Builds::against).map(words);
        self.file_errors.get(stem).cloned().or_else(against)
    }

    /// Writes down what changed, and forgets what nobody needs: `running` does.
    pub(super) fn save(&mut self, running: impl Iterator<Item = Digest>) {
        // Which files lie there is no part of it: a start would write everything anew with each plugin it finds.
        let same = |((name, builds), (before, saved)): ((&String, &Builds), (&String, &Builds))| {
            name == before && builds.is_remembered_as(saved)
        };
        if self.saved.len() != self.builds.len() || !self.builds.iter().zip(&self.saved).all(same) {
            match self.registry.save(&self.builds) {
                Ok(()) => self.saved.clone_from(&self.builds),
                // Tried again at the next look; said once.
                Err(error) if !self.unsaved => {
                    tracing::error!(%error, "what is known of builds cannot be written to state_dir");
                    self.unsaved = true;
                }
                Err(_) => {}
            }
        }
        let mut needed: BTreeSet<Digest> = running.collect();
        for builds in self.builds.values() {
            let good = builds.all().iter().filter(|build| matches!(build.standing, Standing::Trial | Standing::Good));
            needed.extend(good.take(2).map(|build| build.digest));
            needed.extend([builds.file(), builds.target()].into_iter().flatten());
        }
        self.loaded.retain(|digest, _| needed.contains(digest));
        let known = |digest: &Digest| self.builds.values().any(|builds| builds.get(*digest).is_some());
        self.died_of.retain(|digest, _| known(digest));
    }
}

/// What speaks against a build.
pub(super) fn words(build: &Build) -> String {
    match build.standing {
        Standing::Refused | Standing::NeedsGrant | Standing::Untrusted => build.reason.clone(),
        Standing::Trial | Standing::Good | Standing::New => {
            format!("build {} lies there, and another is to run", build.digest.short())
        }
        standing => format!("build {} {}: {}", build.digest.short(), standing.as_str(), build.reason),
    }
}
