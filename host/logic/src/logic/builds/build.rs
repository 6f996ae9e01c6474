//! One build: what is known of it, and how long it is quarantined.
//!
//! Which of several builds runs is not decided here.

use std::time::Duration;

use crate::contract::digest::Digest;
use crate::contract::observation::UnixNanos;

/// How long until a quarantined build is tried again: doubled each further time, up to [`LONGEST_QUARANTINE`].
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
    /// It ran and was worse than the one before it, or the operator went back to that one.
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

    /// Whether nothing speaks against it.
    pub(super) fn may_run(self) -> bool {
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

impl Build {
    /// Seen for the first time.
    pub(super) fn new(digest: Digest, now: UnixNanos) -> Self {
        Self {
            digest,
            version: String::new(),
            standing: Standing::New,
            reason: String::new(),
            since: now,
            strikes: 0,
            faults: 0,
        }
    }

    pub(super) fn set_standing(&mut self, standing: Standing, reason: &str, now: UnixNanos) {
        (self.standing, self.since) = (standing, now);
        reason.clone_into(&mut self.reason);
    }

    /// Whether it is quarantined and its time has passed.
    pub(super) fn is_due(&self, now: UnixNanos) -> bool {
        let doubled = 1 << self.strikes.saturating_sub(1).min(8);
        let wait = FIRST_QUARANTINE.saturating_mul(doubled).min(LONGEST_QUARANTINE);
        self.standing == Standing::Quarantined && u128::from(now.since(self.since)) >= wait.as_nanos()
    }
}
