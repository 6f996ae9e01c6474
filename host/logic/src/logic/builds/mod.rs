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
mod tests {
    use super::super::chance::Chance;
    use super::*;

    fn digest(number: u64) -> Digest {
        let mut digest = [0; 32];
        digest[..8].copy_from_slice(&number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
        digest[8] = number as u8;
        digest.into()
    }

    fn at(seconds: i64) -> UnixNanos {
        UnixNanos(seconds * 1_000_000_000)
    }

    /// Steps: `file 1`, `gone`, `trial 1`, `refused 1`, `needs-grant 1`, `proven 1`, `failed 1`, `quarantine 1`, `retry`,
    /// `wait SECONDS`, `release [1]`, `rollback`, `pin [1]`, `unpin`, `config`, `untrusted 1`. Compared is what is to run, `-` for nothing,
    /// and after `?` what is to be judged.
    #[track_caller]
    fn check(steps: &[(&str, &str)]) {
        let mut builds = Builds::default();
        let mut now = 0;
        for (step, expected) in steps {
            let (what, number) = step.split_once(' ').unwrap_or((step, ""));
            let named = number.parse().ok().map(digest);
            let digits = named.map(|digest| digest.to_string()[..20].to_owned());
            let build = named.unwrap_or_default();
            now += 1;
            let time = at(now);
            match what {
                "file" => builds.handle_file(build, "1.0.0", time),
                "gone" => builds.handle_removed(),
                "trial" => builds.handle_judged(build, Standing::Trial, "", time),
                "refused" => builds.handle_judged(build, Standing::Refused, "worse", time),
                "needs-grant" => builds.handle_judged(build, Standing::NeedsGrant, "more", time),
                "proven" => builds.handle_proven(build, time),
                "failed" => drop(builds.handle_failed(build, "worse", time)),
                "quarantine" => builds.handle_quarantine(build, "dies", time),
                "retry" => {
                    if let Some(due) = builds.due(time) {
                        builds.handle_retry(due, time);
                    }
                }
                "wait" => now += number.parse::<i64>().unwrap(),
                "release" => drop(builds.release(digits.as_deref(), time)),
                "rollback" => drop(builds.rollback(time)),
                "pin" => drop(builds.pin(digits.as_deref(), time)),
                "unpin" => builds.unpin(),
                "config" => builds.handle_config_changed(time),
                "untrusted" => builds.handle_untrusted(build, "not signed", time),
                other => panic!("{other}"),
            }
            let name = |found: Option<Digest>| found.map_or("-".to_owned(), |found| found.as_bytes()[8].to_string());
            let judge = builds.to_judge().map(|build| format!(" ?{}", build.as_bytes()[8])).unwrap_or_default();
            assert_eq!(format!("{}{judge}", name(builds.target())), *expected, "after {step}");
        }
    }

    #[test]
    fn the_newest_build_that_nothing_speaks_against_runs() {
        check(&[("file 1", "- ?1"), ("trial 1", "1"), ("proven 1", "1"), ("file 2", "1 ?2"), ("trial 2", "2")]);
        check(&[("file 1", "- ?1"), ("trial 1", "1"), ("file 2", "1 ?2"), ("refused 2", "1"), ("file 2", "1")]);
        check(&[("file 1", "- ?1"), ("trial 1", "1"), ("file 2", "1 ?2"), ("trial 2", "2"), ("failed 2", "1")]);
        check(&[("file 1", "- ?1"), ("trial 1", "1"), ("file 2", "1 ?2"), ("trial 2", "2"), ("file 1", "1")]);
        check(&[("file 1", "- ?1"), ("trial 1", "1"), ("gone", "-"), ("file 1", "1")]);
    }

    #[test]
    fn without_another_a_bad_build_stays_until_it_is_quarantined() {
        check(&[("file 1", "- ?1"), ("trial 1", "1"), ("failed 1", "1"), ("quarantine 1", "-")]);
    }

    #[test]
    fn quarantine_ends_after_an_hour_and_after_two_the_second_time() {
        check(&[
            ("file 1", "- ?1"),
            ("trial 1", "1"),
            ("quarantine 1", "-"),
            ("wait 3000", "-"),
            ("retry", "-"),
            ("wait 600", "-"),
            ("retry", "1"),
            ("quarantine 1", "-"),
            ("wait 3600", "-"),
            ("retry", "-"),
            ("wait 3600", "-"),
            ("retry", "1"),
        ]);
        check(&[("file 1", "- ?1"), ("trial 1", "1"), ("quarantine 1", "-"), ("release 1", "- ?1")]);
    }

    #[test]
    fn a_build_that_asks_for_more_waits_for_its_grant() {
        check(&[
            ("file 1", "- ?1"),
            ("trial 1", "1"),
            ("file 2", "1 ?2"),
            ("needs-grant 2", "1"),
            ("file 2", "1"),
            ("config", "1 ?2"),
        ]);
    }

    #[test]
    fn a_build_for_which_nobody_vouches_is_judged_once_somebody_does() {
        check(&[
            ("file 1", "- ?1"),
            ("trial 1", "1"),
            ("untrusted 2", "1"),
            ("config", "1"),
            ("file 2", "1 ?2"),
            ("trial 2", "2"),
            ("untrusted 1", "2"),
        ]);
        check(&[("file 1", "- ?1"), ("trial 1", "1"), ("pin", "1"), ("untrusted 2", "1"), ("pin 2", "2")]);
    }

    #[test]
    fn the_operator_goes_back_and_pins() {
        check(&[
            ("file 1", "- ?1"),
            ("trial 1", "1"),
            ("rollback", "1"),
            ("file 2", "1 ?2"),
            ("trial 2", "2"),
            ("rollback", "1"),
            ("file 2", "1"),
            ("release 2", "1 ?2"),
        ]);
        check(&[
            ("file 1", "- ?1"),
            ("trial 1", "1"),
            ("pin", "1"),
            ("file 2", "1"),
            ("unpin", "1 ?2"),
            ("refused 2", "1"),
            ("pin 2", "2"),
            ("failed 2", "2"),
            ("quarantine 2", "-"),
            ("unpin", "1"),
        ]);
        // Pinned is not granted.
        check(&[
            ("file 1", "- ?1"),
            ("trial 1", "1"),
            ("pin", "1"),
            ("needs-grant 1", "-"),
            ("file 2", "-"),
            ("config", "- ?1"),
            ("trial 1", "1"),
        ]);
    }

    #[test]
    fn builds_are_found_by_their_first_digits() {
        let mut builds = Builds::default();
        builds.handle_file(digest(1), "1", at(0));
        builds.handle_file(digest(2), "2", at(1));
        assert_eq!(builds.pin(Some("zz"), at(2)), Err(Unmet::Unknown("zz".to_owned())));
        assert_eq!(builds.pin(Some(""), at(2)), Err(Unmet::Ambiguous(String::new())));
        assert_eq!(builds.pin(Some(&digest(2).to_string()), at(2)), Ok(digest(2)));
        assert_eq!(builds.release(Some(&digest(2).short()), at(2)), Err(Unmet::NotHeld(digest(2).short())));
    }

    /// Files dropped, replaced, deleted, found good and bad, restarts of the daemon in between: at any time the best good
    /// build known is what runs.
    #[test]
    fn the_best_good_build_known_is_running() {
        for seed in 0..2_000 {
            let mut chance = Chance::new(seed);
            let mut builds = Builds::default();
            // The model: what was found out last of each build, and the order in which they last were the file.
            let mut order: Vec<u64> = Vec::new();
            let mut fine: std::collections::BTreeMap<u64, bool> = std::collections::BTreeMap::new();
            let mut there = false;
            for step in 0..60 {
                let now = at(step);
                match chance.below(9) {
                    0..=2 => {
                        let number = chance.below(6);
                        builds.handle_file(digest(number), "1", now);
                        order.retain(|known| *known != number);
                        order.insert(0, number);
                        there = true;
                    }
                    3 => {
                        builds.handle_removed();
                        there = false;
                    }
                    4 | 5 => {
                        if let Some(due) = builds.to_judge() {
                            let good = chance.one_in(2);
                            let standing = match (good, chance.one_in(2)) {
                                (true, _) => Standing::Trial,
                                (false, true) => Standing::Refused,
                                (false, false) => Standing::NeedsGrant,
                            };
                            builds.handle_judged(due, standing, "", now);
                            fine.insert(u64::from(due.as_bytes()[8]), good);
                        }
                    }
                    6 => {
                        if let Some(running) = builds.target() {
                            if chance.one_in(2) {
                                builds.handle_proven(running, now);
                            } else if builds.handle_failed(running, "worse", now) {
                                fine.insert(u64::from(running.as_bytes()[8]), false);
                            }
                        }
                    }
                    7 => {
                        if let Some(running) = builds.target().filter(|_| chance.one_in(3)) {
                            builds.handle_quarantine(running, "dies", now);
                            fine.insert(u64::from(running.as_bytes()[8]), false);
                        }
                    }
                    _ => {
                        builds = Builds::remembered(builds.all().to_vec(), builds.pinned());
                        there = false;
                    }
                }
                let best = order.iter().find(|number| fine.get(number) == Some(&true));
                let expected = best.filter(|_| there).map(|number| digest(*number));
                assert_eq!(builds.target(), expected, "seed {seed}, step {step}");
            }
        }
    }

    #[test]
    fn what_is_remembered_is_bounded_and_what_matters_stays() {
        let mut builds = Builds::default();
        for number in 0..100 {
            builds.handle_file(digest(number), "1", at(0));
            let standing = if number == 0 { Standing::Trial } else { Standing::Refused };
            builds.handle_judged(digest(number), standing, "", at(0));
            builds.handle_proven(digest(number), at(0));
        }
        assert_eq!(builds.all().len(), MEMORY);
        assert_eq!(builds.target(), Some(digest(0)));
    }
}
