//! The ids that a poller serves: which of them are refused for good, how long their values last, and what answers say of
//! them, on its way into the store. What is asked, and when, is decided in `poller`.

use std::collections::BTreeSet;
use std::time::Duration;

use super::tally::Tally;
use crate::contract::codec::{Missing, Outcome, Rejection, Subscription};
use crate::contract::observation::{Key, Receipt};
use crate::store::Note;
use crate::transport::intake::Intake;
use crate::transport::wanted::Polled;

/// How many times an id may be asked for in vain before its value is old, where the operator does not say.
const POLLS_A_VALUE_LASTS: u32 = 3;

/// All ids of one poller.
pub(super) struct Ids {
    pub(super) intake: Intake,
    /// Refused for good: not asked for until the ids change.
    refused: BTreeSet<Key>,
    aged_by_cycle: BTreeSet<Key>,
    /// For the ids of [`Polled::aged_by_cycle`].
    least_max_age: Duration,
    /// How long it takes to ask for every id once.
    cycle: Duration,
}

impl Ids {
    /// `cycle`: a guess, until there is a plan.
    pub(super) fn new(intake: Intake, least_max_age: Duration, cycle: Duration) -> Self {
        Self { intake, refused: BTreeSet::new(), aged_by_cycle: BTreeSet::new(), least_max_age, cycle }
    }

    pub(super) fn take_wanted(&mut self, wanted: Polled) {
        self.intake.set_table(wanted.table);
        self.aged_by_cycle = wanted.aged_by_cycle;
        let keys = self.keys();
        self.refused.retain(|key| keys.contains(key));
        self.set_max_ages();
    }

    pub(super) fn keys(&self) -> BTreeSet<Key> {
        self.intake.table.iter().map(|slot| slot.key()).collect()
    }

    /// Those that are to be asked for.
    pub(super) fn to_ask(&self) -> Vec<Subscription> {
        let all = self.intake.table.iter().map(|slot| slot.subscription());
        all.filter(|subscription| !self.refused.contains(&subscription.key)).cloned().collect()
    }

    /// How long it takes to ask for every id once, by the last plan.
    pub(super) fn set_cycle(&mut self, cycle: Duration) {
        if self.cycle != cycle {
            self.cycle = cycle;
            self.set_max_ages();
        }
    }

    fn set_max_ages(&self) {
        let max_age = self.least_max_age.max(self.cycle.saturating_mul(POLLS_A_VALUE_LASTS));
        for slot in self.aged_by_cycle.iter().filter_map(|key| self.intake.table.get(*key)) {
            slot.set_max_age(max_age);
        }
    }

    pub(super) fn note_all_down(&mut self, reason: &str) {
        self.intake.note(&self.keys(), Note::Down, reason);
    }

    /// An id that the plugin or the venue refuses.
    pub(super) fn reject(&mut self, rejection: &Rejection) {
        if rejection.permanent {
            self.refused.insert(rejection.key);
        }
        self.intake.rejected(rejection.key, &rejection.reason);
    }

    /// Those of the ids that have no outcome yet get none from this request.
    pub(super) fn leave_undecided(&mut self, keys: &[Key], reason: &str, tally: &mut Tally) {
        for key in keys {
            if tally.decided.insert(*key) {
                self.intake.unresolved(*key, Missing::Undecided, reason);
            }
        }
    }

    /// Takes in what an answer to a request for `keys` says. Answers of which of them the store now holds that.
    pub(super) fn take_outcomes(
        &mut self,
        outcomes: Vec<Outcome>,
        keys: &[Key],
        receipt: Receipt,
        tally: &mut Tally,
    ) -> BTreeSet<Key> {
        let mut held = BTreeSet::new();
        for outcome in outcomes {
            let key = match &outcome {
                Outcome::Observed(observation) => observation.key,
                Outcome::Unchanged(key) | Outcome::Unresolved { key, .. } => *key,
            };
            // Also what this request was not about is a fault, not a value.
            if !keys.contains(&key) {
                self.intake.unresolved(Key(u32::MAX), Missing::NoValue, "");
                continue;
            }
            tally.decided.insert(key);
            match outcome {
                Outcome::Observed(observation) => {
                    if self.intake.observed(observation, receipt) {
                        held.insert(key);
                    }
                }
                Outcome::Unchanged(key) => {
                    self.intake.unchanged(key, receipt);
                    if self.intake.holds_own(key) {
                        held.insert(key);
                    }
                }
                Outcome::Unresolved { key, why: Missing::UnknownId, text } => {
                    let reason = if text.is_empty() { "the venue does not know this id".to_owned() } else { text };
                    self.reject(&Rejection { key, reason, permanent: true });
                }
                Outcome::Unresolved { key, why, text } => self.intake.unresolved(key, why, &text),
            }
        }
        held
    }
}
