//! Which build of a plugin is to run, of all that were ever seen under its name.
//!
//! A build is known by the digest of its file. The newest that nothing speaks against runs; when something does, the one
//! before it runs again. What speaks against a build is told to this machine by whoever found out; reading files,
//! compiling, comparing and running are done elsewhere.

use std::fmt;
use std::time::Duration;

use crate::contract::digest::Digest;
use crate::contract::observation::UnixNanos;

/// So many builds of one name are remembered.
const MEMORY: usize = 16;

/// Until a quarantined build is tried again; twice as long each further time.
const FIRST_QUARANTINE: Duration = Duration::from_secs(3_600);
const LONGEST_QUARANTINE: Duration = Duration::from_secs(86_400);

/// What is known of a build.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Standing {
    /// Nobody vouches for it: it is not even loaded.
    Untrusted,
    /// Seen, and not yet compared with what runs.
    New,
    /// It asks for more than was granted.
    NeedsGrant,
    /// It is worse than what runs, or does not take the settings.
    Refused,
    /// Good so far.
    Trial,
    Good,
    /// It ran and was worse than the one before it, or the operator went back.
    RolledBack,
    /// Its instances die.
    Quarantined,
}

impl Standing {
    /// The word used in every output.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Untrusted => "untrusted",
            Self::New => "new",
            Self::NeedsGrant => "needs-grant",
            Self::Refused => "refused",
            Self::Trial => "trial",
            Self::Good => "good",
            Self::RolledBack => "rolled-back",
            Self::Quarantined => "quarantined",
        }
    }

    pub const ALL: [Self; 8] = [
        Self::Untrusted,
        Self::New,
        Self::NeedsGrant,
        Self::Refused,
        Self::Trial,
        Self::Good,
        Self::RolledBack,
        Self::Quarantined,
    ];

    fn may_run(self) -> bool {
        matches!(self, Self::Trial | Self::Good)
    }
}

/// One build.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Build {
    pub digest: Digest,
    pub version: String,
    pub standing: Standing,
    /// Why it stands so; empty when there is nothing to say.
    pub reason: String,
    /// Since when it stands so.
    pub since: UnixNanos,
    /// How often it was quarantined in a row.
    pub strikes: u32,
    /// How often an instance of it died.
    pub faults: u64,
}

/// Why a wish of the operator cannot be met.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Unmet {
    Unknown(String),
    Ambiguous(String),
    NothingBefore,
    NotHeld(String),
}

impl std::error::Error for Unmet {}

impl fmt::Display for Unmet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(digits) => write!(f, "no build {digits} of this plugin is known"),
            Self::Ambiguous(digits) => write!(f, "several builds begin with {digits}"),
            Self::NothingBefore => f.write_str("no other good build of this plugin is known"),
            Self::NotHeld(digits) => write!(f, "nothing speaks against build {digits}"),
        }
    }
}

/// The builds of one name.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Builds {
    /// What the file holds. `None`: it is not there, and nothing runs.
    file: Option<Digest>,
    /// The one last seen as a file comes first.
    builds: Vec<Build>,
    pinned: Option<Digest>,
}

impl Builds {
    /// As remembered from before a restart. What the file holds is not known yet.
    pub fn remembered(builds: Vec<Build>, pinned: Option<Digest>) -> Self {
        Self { file: None, builds, pinned }
    }

    /// Whether a restart would leave the same of both.
    pub fn is_remembered_as(&self, other: &Self) -> bool {
        (&self.builds, self.pinned) == (&other.builds, other.pinned)
    }

    pub fn all(&self) -> &[Build] {
        &self.builds
    }

    pub fn pinned(&self) -> Option<Digest> {
        self.pinned
    }

    pub fn file(&self) -> Option<Digest> {
        self.file
    }

    pub fn get(&self, digest: Digest) -> Option<&Build> {
        self.builds.iter().find(|build| build.digest == digest)
    }

    /// The build that is to run: the pinned one, or the newest that nothing speaks against.
    pub fn target(&self) -> Option<Digest> {
        self.file?;
        let mut may_run = self.builds.iter().filter(|build| build.standing.may_run());
        match self.pinned {
            Some(pinned) => may_run.find(|build| build.digest == pinned).map(|build| build.digest),
            None => may_run.next().map(|build| build.digest),
        }
    }

    /// Whether a build other than this one may run.
    pub fn has_another(&self, digest: Digest) -> bool {
        self.builds.iter().any(|build| build.digest != digest && build.standing.may_run())
    }

    /// The build that is to be judged before anything else: the pinned one, or what the file holds, when it is new.
    pub fn to_judge(&self) -> Option<Digest> {
        let candidate = self.pinned.or(self.file).filter(|_| self.file.is_some())?;
        self.get(candidate).filter(|build| build.standing == Standing::New).map(|build| build.digest)
    }

    /// Why what the file holds does not run; empty when it does, or is yet to be judged.
    pub fn against(&self) -> Option<&Build> {
        let file = self.file.filter(|file| self.target() != Some(*file))?;
        self.get(file).filter(|build| build.standing != Standing::New)
    }

    /// The file holds this build.
    pub fn handle_file(&mut self, digest: Digest, version: &str, now: UnixNanos) {
        self.file = Some(digest);
        let known = self.builds.iter().position(|build| build.digest == digest).map(|at| self.builds.remove(at));
        let mut build = known.unwrap_or_else(|| Build {
            digest,
            version: String::new(),
            standing: Standing::New,
            reason: String::new(),
            since: now,
            strikes: 0,
            faults: 0,
        });
        version.clone_into(&mut build.version);
        if build.standing == Standing::Untrusted {
            (build.standing, build.since) = (Standing::New, now);
            build.reason.clear();
        }
        self.builds.insert(0, build);
        self.forget();
    }

    /// The file holds a build for which nobody vouches.
    pub fn handle_untrusted(&mut self, digest: Digest, reason: &str, now: UnixNanos) {
        let version = self.get(digest).map(|build| build.version.clone()).unwrap_or_default();
        self.handle_file(digest, &version, now);
        // One that ran before it had to be vouched for is not better for it.
        self.set(digest, Standing::Untrusted, reason, now);
    }

    /// The file is gone.
    pub fn handle_removed(&mut self) {
        self.file = None;
    }

    /// What became of comparing a build with what runs.
    pub fn handle_judged(&mut self, digest: Digest, standing: Standing, reason: &str, now: UnixNanos) {
        self.set(digest, standing, reason, now);
    }

    /// It has run for long enough and was no worse than the one before.
    pub fn handle_proven(&mut self, digest: Digest, now: UnixNanos) {
        if self.get(digest).is_some_and(|build| build.standing == Standing::Trial) {
            self.set(digest, Standing::Good, "", now);
            self.change(digest, |build| build.strikes = 0);
        }
    }

    /// It ran and was worse. Answers whether another build takes its place; when none is known, it stays.
    pub fn handle_failed(&mut self, digest: Digest, reason: &str, now: UnixNanos) -> bool {
        let other = self.has_another(digest);
        let ran = self.get(digest).is_some_and(|build| build.standing.may_run());
        let goes = other && ran && self.pinned != Some(digest);
        if goes {
            self.set(digest, Standing::RolledBack, reason, now);
        }
        goes
    }

    /// Its instances die: it does not run, whatever else there is.
    pub fn handle_quarantine(&mut self, digest: Digest, reason: &str, now: UnixNanos) {
        self.set(digest, Standing::Quarantined, reason, now);
        self.change(digest, |build| build.strikes += 1);
    }

    /// So many more instances of it died.
    pub fn add_faults(&mut self, digest: Digest, faults: u64) {
        self.change(digest, |build| build.faults += faults);
    }

    /// The quarantined builds that are due for another try, and would run if it is a success.
    pub fn due(&self, now: UnixNanos) -> Option<Digest> {
        let candidate = self.pinned.or(self.file)?;
        let build = self.get(candidate).filter(|build| build.standing == Standing::Quarantined)?;
        let wait = FIRST_QUARANTINE.saturating_mul(1 << build.strikes.saturating_sub(1).min(8)).min(LONGEST_QUARANTINE);
        (u128::from(now.since(build.since)) >= wait.as_nanos()).then_some(candidate)
    }

    /// A quarantined build may run again, with what it did not know how to read tried first.
    pub fn handle_retry(&mut self, digest: Digest, now: UnixNanos) {
        self.set(digest, Standing::Trial, "on trial after quarantine", now);
    }

    /// The configuration changed: what was held for want of a grant, or did not fit, is looked at again.
    pub fn handle_config_changed(&mut self, now: UnixNanos) {
        let held = |build: &&mut Build| matches!(build.standing, Standing::NeedsGrant | Standing::Refused);
        for build in self.builds.iter_mut().filter(held) {
            (build.standing, build.since) = (Standing::New, now);
            build.reason.clear();
        }
    }

    /// The operator: forget what speaks against a build, of these first digits; the file's when there are none.
    pub fn release(&mut self, digits: Option<&str>, now: UnixNanos) -> Result<Digest, Unmet> {
        let digest = self.find(digits, self.file)?;
        match self.get(digest).map(|build| build.standing) {
            Some(Standing::Trial | Standing::Good) | None => Err(Unmet::NotHeld(digest.short())),
            Some(_) => {
                self.set(digest, Standing::New, "", now);
                self.change(digest, |build| build.strikes = 0);
                Ok(digest)
            }
        }
    }

    /// The operator: back to the build before.
    pub fn rollback(&mut self, now: UnixNanos) -> Result<Digest, Unmet> {
        let target = self.target().ok_or(Unmet::NothingBefore)?;
        self.pinned = None;
        if self.handle_failed(target, "the operator went back", now) {
            self.target().ok_or(Unmet::NothingBefore)
        } else {
            Err(Unmet::NothingBefore)
        }
    }

    /// The operator: this build and no other; the one that runs when there are no digits.
    pub fn pin(&mut self, digits: Option<&str>, now: UnixNanos) -> Result<Digest, Unmet> {
        let digest = self.find(digits, self.target())?;
        self.pinned = Some(digest);
        if self.get(digest).is_some_and(|build| !build.standing.may_run()) {
            self.set(digest, Standing::Trial, "the operator wants it", now);
            self.change(digest, |build| build.strikes = 0);
        }
        Ok(digest)
    }

    /// The operator: the newest good one again.
    pub fn unpin(&mut self) {
        self.pinned = None;
    }

    fn find(&self, digits: Option<&str>, otherwise: Option<Digest>) -> Result<Digest, Unmet> {
        let Some(digits) = digits else {
            return otherwise.ok_or_else(|| Unmet::Unknown("that runs".to_owned()));
        };
        let mut found = self.builds.iter().filter(|build| build.digest.to_string().starts_with(digits));
        match (found.next(), found.next()) {
            (Some(build), None) => Ok(build.digest),
            (Some(_), Some(_)) => Err(Unmet::Ambiguous(digits.to_owned())),
            (None, _) => Err(Unmet::Unknown(digits.to_owned())),
        }
    }

    fn set(&mut self, digest: Digest, standing: Standing, reason: &str, now: UnixNanos) {
        self.change(digest, |build| {
            (build.standing, build.since) = (standing, now);
            reason.clone_into(&mut build.reason);
        });
    }

    fn change(&mut self, digest: Digest, change: impl FnOnce(&mut Build)) {
        if let Some(build) = self.builds.iter_mut().find(|build| build.digest == digest) {
            change(build);
        }
    }

    /// Old builds go, but for what runs, is pinned, lies there, or is the best to go back to.
    fn forget(&mut self) {
        let good = self.builds.iter().filter(|build| build.standing == Standing::Good).take(2);
        let keep: Vec<Digest> = [self.target(), self.pinned, self.file]
            .into_iter()
            .flatten()
            .chain(good.map(|build| build.digest))
            .collect();
        while self.builds.len() > MEMORY
            && let Some(at) = self.builds.iter().rposition(|build| !keep.contains(&build.digest))
        {
            self.builds.remove(at);
        }
    }
}

#[cfg(test)]
mod tests;
