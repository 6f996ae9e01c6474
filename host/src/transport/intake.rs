//! From what codecs say to the store: keys to slots, times checked, everything counted. The end of the message path.
//! Nothing here waits, or knows where a value came from.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::time::Instant;

use super::shared::Shared;
use crate::access::secret::Secrets;
use crate::contract::codec::Missing;
use crate::contract::observation::{Key, Observation, PlausibleTimes, Receipt, Writer};
use crate::status::metrics::{Outcome as Counted, ProviderMetrics};
use crate::store::{Carrier, Note, ProviderSlots, SlotTable, Unless, Written};

/// Most messages that one gap counts for.
const MAX_MISSING: u64 = 1_000_000;

/// One connection's or poller's way into the store.
#[derive(Debug)]
pub(super) struct Intake {
    slots: Arc<ProviderSlots>,
    pub(super) table: SlotTable,
    metrics: ProviderMetrics,
    plausible: PlausibleTimes,
    /// The number of the provider's [`Writer`].
    writer: u64,
    /// What a venue says may hold them.
    secrets: Arc<Secrets>,
    epoch: u64,
    dirty: bool,
    /// By key, for streams: when something was last heard of it on this connection, and when it was first asked for, on the
    /// store's monotonic clock; 0 for never.
    heard: Vec<u64>,
    asked: Vec<u64>,
    /// Ids that a successor delivers: what comes here is late. Empty but while a connection is being replaced.
    muted: BTreeSet<Key>,
    /// Somebody else serves these ids: nothing bad is to be said of them from here.
    quiet: bool,
}

impl Intake {
    pub(super) fn new(shared: &Shared) -> Self {
        let mut intake = Self {
            slots: shared.slots.clone(),
            table: SlotTable::default(),
            metrics: shared.status.metrics.clone(),
            plausible: shared.plausible,
            writer: shared.writer,
            secrets: shared.secrets.clone(),
            epoch: next_epoch(),
            dirty: false,
            heard: Vec::new(),
            asked: Vec::new(),
            muted: BTreeSet::new(),
            quiet: false,
        };
        intake.set_table(intake.slots.table());
        intake
    }

    /// Other ids.
    pub(super) fn set_table(&mut self, table: SlotTable) {
        self.heard.resize(table.len(), 0);
        self.asked.resize(table.len(), 0);
        self.table = table;
    }

    /// Whether somebody else serves the ids for the time being.
    pub(super) fn set_quiet(&mut self, quiet: bool) {
        self.quiet = quiet;
    }

    /// A new connection: its sequences do not compare with those of the last one.
    pub(super) fn next_epoch(&mut self) {
        self.epoch = next_epoch();
        self.heard.fill(0);
        self.asked.fill(0);
        self.muted.clear();
    }

    /// Whether something was heard of an id on this connection after a moment of the store's monotonic clock.
    pub(super) fn heard_after(&self, key: Key, monotonic: u64) -> bool {
        self.heard.get(key.index()).is_some_and(|heard| *heard > monotonic)
    }

    /// Whether nothing was heard of an id for longer than its maximal age, since it was asked for.
    pub(super) fn is_silent(&self, key: Key, now: u64) -> bool {
        let (Some(heard), Some(asked)) = (self.heard.get(key.index()), self.asked.get(key.index())) else {
            return false;
        };
        let since = now.saturating_sub(*heard.max(asked));
        *asked > 0 && self.table.get(key).is_some_and(|slot| u128::from(since) > slot.max_age().as_nanos())
    }

    /// What comes here of an id is late from now on: a successor delivers it.
    pub(super) fn mute(&mut self, key: Key) {
        self.muted.insert(key);
    }

    fn note_heard(&mut self, key: Key, receipt: Receipt) {
        if let Some(heard) = self.heard.get_mut(key.index()) {
            *heard = receipt.monotonic;
        }
    }

    /// What arrives now: of both clocks, each reading costs as much as a tenth of a small parse.
    pub(super) fn receipt(&self, now: Instant) -> Receipt {
        self.slots.receipt_of(self.writer, self.epoch, now)
    }

    fn writer(&self) -> Writer {
        self.slots.writer(self.writer)
    }

    /// Says how an id is streamed.
    pub(super) fn carry(&self, key: Key, carrier: Carrier) {
        if let Some(slot) = self.table.get(key) {
            slot.carry(self.writer(), carrier);
        }
    }

    /// Stores one value. Answers whether it is what is held now.
    pub(super) fn observed(&mut self, observation: Observation, receipt: Receipt) -> bool {
        self.note_heard(observation.key, receipt);
        if !self.muted.is_empty() && self.muted.contains(&observation.key) {
            self.metrics.outcome(Counted::Duplicate);
            return false;
        }
        let Some(slot) = self.table.get(observation.key) else {
            self.unknown_key();
            return false;
        };
        if let Some(time) = observation.observed_at
            && !self.plausible.admit(time, receipt.at)
        {
            self.metrics.outcome(Counted::Unusable);
            let reason = format!("the venue's time {} is not plausible (a wrong unit or clock?)", time.to_rfc3339());
            slot.note(receipt.writer, Note::Unresolved, &reason, Unless::Rejected);
            return false;
        }
        let written = slot.write(observation, receipt);
        self.metrics.outcome(match written {
            Written::Stored => Counted::Observed,
            Written::Older => Counted::Older,
            Written::Duplicate | Written::Late => Counted::Duplicate,
        });
        self.dirty = true;
        !matches!(written, Written::Older | Written::Late)
    }

    /// Whether a value is held that came this way: from this codec, not from one before it or a connection beside it.
    pub(super) fn holds_own(&self, key: Key) -> bool {
        self.table.get(key).is_some_and(|slot| slot.is_from(self.epoch))
    }

    /// The venue confirms what is held.
    pub(super) fn unchanged(&mut self, key: Key, receipt: Receipt) {
        self.note_heard(key, receipt);
        match self.table.get(key) {
            // With nothing held there is nothing to confirm.
            Some(slot) => drop(slot.confirm(receipt)),
            None => return self.unknown_key(),
        }
        self.metrics.outcome(Counted::Unchanged);
        self.dirty = true;
    }

    pub(super) fn unresolved(&mut self, key: Key, why: Missing, text: &str) {
        let Some(slot) = self.table.get(key) else {
            return self.unknown_key();
        };
        let (note, counted, words) = match why {
            Missing::UnknownId => (Note::Rejected, Counted::Rejected, "the venue does not know this id"),
            Missing::NoValue => (Note::Unresolved, Counted::Unresolved, "the venue has no value"),
            Missing::Undecided => (Note::Unresolved, Counted::Unresolved, "the answer said nothing of this id"),
            Missing::Malformed => (Note::Unresolved, Counted::Unresolved, "the value could not be read"),
        };
        let reason = if text.is_empty() { words.to_owned() } else { format!("{words}: {text}") };
        slot.note(self.writer(), note, &self.shorten(&reason), Unless::Never);
        self.metrics.outcome(counted);
        self.dirty = true;
    }

    pub(super) fn rejected(&mut self, key: Key, reason: &str) {
        let Some(slot) = self.table.get(key) else {
            return self.unknown_key();
        };
        let reason = self.shorten(reason);
        // Once, not with each answer that says so.
        if !slot.is_rejected() {
            let (provider, id) = (self.slots.name(), &slot.subscription().id);
            tracing::info!(%provider, %id, reason, "refused");
        }
        slot.note(self.writer(), Note::Rejected, &reason, Unless::Never);
        self.metrics.outcome(Counted::Rejected);
        self.dirty = true;
    }

    pub(super) fn unusable(&mut self, key: Key, why: &str) {
        let Some(slot) = self.table.get(key) else {
            return self.unknown_key();
        };
        let reason = self.shorten(&format!("unusable value: {why}"));
        slot.note(self.writer(), Note::Unresolved, &reason, Unless::Rejected);
        self.metrics.outcome(Counted::Unusable);
    }

    /// The venue's numbers say that messages never arrived.
    pub(super) fn gap(&mut self, key: Option<Key>, missing: u64) {
        if let Some(key) = key {
            let Some(slot) = self.table.get(key) else {
                return self.unknown_key();
            };
            slot.count_missed(missing);
        }
        // A venue's first number, or a wrong one, must not make the counter meaningless.
        self.metrics.outcomes_inc(Counted::Missed, missing.min(MAX_MISSING));
    }

    pub(super) fn malformed(&self) {
        self.metrics.outcome(Counted::Malformed);
    }

    /// Says the same of many ids, those that are refused left out.
    pub(super) fn note<'a>(&mut self, keys: impl IntoIterator<Item = &'a Key>, note: Note, reason: &str) {
        if self.quiet {
            return;
        }
        let (writer, reason) = (self.writer(), self.shorten(reason));
        for slot in keys.into_iter().filter_map(|key| self.table.get(*key)) {
            slot.note(writer, note, &reason, Unless::Rejected);
        }
        self.dirty = true;
    }

    /// The venue is asked for an id: what was refused before is forgotten.
    pub(super) fn asked(&mut self, key: Key, again: bool, now: u64) {
        // To ask again is no sign of life.
        if let Some(asked) = self.asked.get_mut(key.index()).filter(|asked| **asked == 0) {
            *asked = now;
        }
        if self.quiet {
            return;
        }
        if let Some(slot) = self.table.get(key) {
            let words = if again {
                "asked for again: the venue has not confirmed the subscription"
            } else {
                "asked for, no answer yet"
            };
            slot.note(self.writer(), Note::Waiting, words, Unless::Never);
        }
    }

    /// The venue was asked for an id as often as it may be, and has not answered.
    pub(super) fn unconfirmed(&mut self, key: Key, asks: u32) {
        if let Some(slot) = self.table.get(key).filter(|_| !self.quiet) {
            let words = format!("asked for {asks} times, and the venue has not confirmed the subscription");
            slot.note(self.writer(), Note::Waiting, &words, Unless::Clear);
        }
    }

    /// The venue confirmed a subscription.
    pub(super) fn subscribed(&mut self, key: Key) {
        match self.table.get(key) {
            Some(slot) => slot.note(self.writer(), Note::Waiting, "subscribed, no value yet", Unless::Clear),
            None => self.unknown_key(),
        }
    }

    /// The end of a batch: wakes whoever waits for news.
    pub(super) fn flush(&mut self) {
        if std::mem::take(&mut self.dirty) {
            self.slots.notify();
        }
    }

    /// A venue's words may be a page of HTML, or hold our own key.
    pub(super) fn shorten(&self, text: &str) -> String {
        let text = &text[..text.floor_char_boundary(16 << 10)];
        self.secrets.redact(text).chars().take(600).collect()
    }

    fn unknown_key(&self) {
        self.metrics.outcome(Counted::UnknownKey);
    }
}

fn next_epoch() -> u64 {
    static EPOCH: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
    EPOCH.fetch_add(1, std::sync::atomic::Ordering::Relaxed)
}
