//! Which build of a plugin is to run, of all that were ever seen under its name.
//!
//! A build is known by the digest of its file. The newest that nothing speaks against runs. When something does, the
//! host goes back to the one before it. Whoever finds something out about a build tells it to this machine. Reading
//! files, compiling, comparing and running are done elsewhere.

pub use build::{Build, Standing};
pub use unmet::Unmet;

use crate::contract::digest::Digest;
use crate::contract::observation::UnixNanos;

mod build;
mod unmet;

/// So many builds of one name are remembered.
const MEMORY: usize = 16;

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
        let mut build = known.unwrap_or_else(|| Build::new(digest, now));
        version.clone_into(&mut build.version);
        if build.standing == Standing::Untrusted {
            build.set_standing(Standing::New, "", now);
        }
        self.builds.insert(0, build);
        self.forget();
    }

    /// The file holds a build that nobody vouches for.
    pub fn handle_untrusted(&mut self, digest: Digest, reason: &str, now: UnixNanos) {
        let version = self.get(digest).map(|build| build.version.clone()).unwrap_or_default();
        self.handle_file(digest, &version, now);
        // Also if it ran before somebody had to vouch for it.
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

    /// The quarantined build that is due for another try, and would run if nothing spoke against it.
    pub fn due(&self, now: UnixNanos) -> Option<Digest> {
        let candidate = self.pinned.or(self.file)?;
        self.get(candidate).filter(|build| build.is_due(now)).map(|build| build.digest)
    }

    /// A quarantined build may run again: it survived what it had died of.
    pub fn handle_retry(&mut self, digest: Digest, now: UnixNanos) {
        self.set(digest, Standing::Trial, "on trial after quarantine", now);
    }

    /// The configuration changed: builds that lacked a grant or did not fit are judged again.
    pub fn handle_config_changed(&mut self, now: UnixNanos) {
        let held = |build: &&mut Build| matches!(build.standing, Standing::NeedsGrant | Standing::Refused);
        for build in self.builds.iter_mut().filter(held) {
            build.set_standing(Standing::New, "", now);
        }
    }

    /// The operator: forget what speaks against the build of these first digits, or against the file's if there are
    /// none.
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

    /// The operator: run the build of these first digits and no other. Without digits, the one that runs.
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
        self.change(digest, |build| build.set_standing(standing, reason, now));
    }

    fn change(&mut self, digest: Digest, change: impl FnOnce(&mut Build)) {
        if let Some(build) = self.builds.iter_mut().find(|build| build.digest == digest) {
            change(build);
        }
    }

    /// Old builds are forgotten, except those that run, are pinned, are in the file, or are the best to go back to.
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
