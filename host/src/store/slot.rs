//! The place of one id, written in place by its provider's codecs and read by anyone.
//!
//! A reader takes no lock and never waits for a writer: numbers are read under a version counter and read again if a write
//! came between; what changes seldom is replaced as a whole. Writers, of whom there are two while one provider replaces
//! another, exclude each other. No guard leaves this file.

use std::sync::atomic::{AtomicU64, Ordering, fence};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use ethnum::U256;

use super::{Held, Reading, State};
use crate::contract::codec::Subscription;
use crate::contract::observation::{Decimal, Key, Observation, Receipt, UnixNanos, Value, Writer};

/// What became of a write.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Written {
    Stored,
    /// What is held is newer.
    Older,
    /// The same sequence of the same connection is held.
    Duplicate,
    /// Somebody else writes this slot now.
    Late,
}

/// What a note must not replace.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Unless {
    Never,
    /// A refusal: a lost connection does not make a refused id less refused.
    Rejected,
    /// Nothing to say: some venues send a value before they confirm the subscription.
    Clear,
}

/// What is known of an id beside its value. Changes seldom; `Clear` on every message's path.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Note {
    Clear,
    /// Asked for, not answered.
    Waiting,
    Rejected,
    Unresolved,
    Down,
}

const TAG_EMPTY: u64 = 0;
const TAG_DECIMAL: u64 = 1;
const TAG_FALSE: u64 = 2;
const TAG_TRUE: u64 = 3;
const TAG_PAYLOAD: u64 = 4;
const HAS_OBSERVED_AT: u64 = 1 << 8;
const HAS_SEQUENCE: u64 = 1 << 9;
const NEGATIVE: u64 = 1 << 10;
const EXPONENT_SHIFT: u32 = 16;

const FLAGS: usize = 0;
const COEFFICIENT: usize = 1;
const OBSERVED_AT: usize = 5;
const SEQUENCE: usize = 6;
const RECEIVED_AT: usize = 7;
const EPOCH: usize = 8;
/// Monotonic nanoseconds when the value was last known to be true.
const TRUE_AT: usize = 9;
const WORDS: usize = 10;

/// The place of one id.
#[derive(Debug)]
pub struct Slot {
    subscription: Subscription,
    max_age: AtomicU64,
    /// Odd while a write is under way.
    version: AtomicU64,
    words: [AtomicU64; WORDS],
    /// Held by whoever writes, for a few stores, never across I/O.
    writing: Mutex<()>,
    /// Text and bytes.
    payload: ArcSwapOption<Value>,
    said: ArcSwap<Said>,
    counts: Counts,
    /// The [`Writer`] whose values count.
    owner: AtomicU64,
    heir: Mutex<Heir>,
    /// Monotonic nanoseconds when its owner last delivered anything; 0: never.
    heard: AtomicU64,
    /// The connection that carries the id, and what the venue said to the subscription.
    carrier: ArcSwapOption<Carrier>,
}

/// What is said of an id beside its value.
#[derive(Debug)]
struct Said {
    note: Note,
    reason: Arc<str>,
}

/// What the heir says of an id that it has not delivered: it counts once the heir takes over.
#[derive(Default, Debug)]
struct Heir {
    note: Option<(Note, Arc<str>)>,
    carrier: Option<Carrier>,
}

/// How an id is streamed.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Carrier {
    /// The number of its connection within the provider.
    pub connection: usize,
    /// `None`: not asked for on this connection yet.
    pub subscription: Option<crate::logic::session::Subscription>,
}

/// What became of an id's messages beside those that were stored.
#[derive(Debug, Default)]
struct Counts {
    missed: AtomicU64,
    older: AtomicU64,
    duplicate: AtomicU64,
}

impl Slot {
    pub(super) fn new(subscription: Subscription, max_age: Duration, owner: u64) -> Self {
        let slot = Self {
            subscription,
            max_age: AtomicU64::new(0),
            version: AtomicU64::new(0),
            words: [const { AtomicU64::new(0) }; WORDS],
            writing: Mutex::default(),
            payload: ArcSwapOption::empty(),
            said: ArcSwap::from_pointee(Said { note: Note::Waiting, reason: "not asked for yet".into() }),
            counts: Counts::default(),
            owner: AtomicU64::new(owner),
            heir: Mutex::default(),
            heard: AtomicU64::new(0),
            carrier: ArcSwapOption::empty(),
        };
        slot.set_max_age(max_age);
        slot
    }

    pub fn key(&self) -> Key {
        self.subscription.key
    }

    pub fn subscription(&self) -> &Subscription {
        &self.subscription
    }

    /// Says how the id is streamed; `None`: not at all.
    pub fn set_carrier(&self, carrier: Option<Carrier>) {
        if self.carrier.load().as_deref() != carrier.as_ref() {
            self.carrier.store(carrier.map(Arc::new));
        }
    }

    /// Whether the values of this writer count.
    pub fn is_owned_by(&self, writer: Writer) -> bool {
        self.owner.load(Ordering::Relaxed) == writer.number
    }

    /// As [`Slot::set_carrier`], by one of two writers.
    pub fn carry(&self, writer: Writer, carrier: Carrier) {
        if self.is_owned_by(writer) {
            self.set_carrier(Some(carrier));
        } else if writer.heir {
            lock(&self.heir).carrier = Some(carrier);
        }
    }

    /// Says what is known of the id beside its value, by one of two writers: what the heir says waits until it owns
    /// the slot.
    pub fn note(&self, writer: Writer, note: Note, reason: &str, unless: Unless) {
        if self.is_owned_by(writer) {
            match unless {
                Unless::Never => self.set_note(note, reason),
                Unless::Rejected => self.set_note_unless_rejected(note, reason),
                Unless::Clear => self.set_note_unless_clear(note, reason),
            }
        } else if writer.heir {
            let mut heir = lock(&self.heir);
            let rejected = matches!(heir.note, Some((Note::Rejected, _)));
            if !(rejected && unless == Unless::Rejected) {
                heir.note = Some((note, reason.into()));
            }
        }
    }

    /// Makes a writer the owner, and true what it said before it was.
    pub(super) fn hand_to(&self, writer: u64) {
        let before = self.owner.swap(writer, Ordering::Relaxed);
        let Heir { note, carrier } = std::mem::take(&mut *lock(&self.heir));
        if before == writer {
            return;
        }
        if let Some((note, reason)) = note {
            self.set_note(note, &reason);
        }
        self.set_carrier(carrier);
    }

    pub fn max_age(&self) -> Duration {
        Duration::from_nanos(self.max_age.load(Ordering::Relaxed))
    }

    /// Whether a value is held and came from this codec; see [`Receipt::epoch`].
    pub fn is_from(&self, epoch: u64) -> bool {
        let _writing = lock(&self.writing);
        let word = |at: usize| self.words[at].load(Ordering::Relaxed);
        word(FLAGS) & 0xff != TAG_EMPTY && word(EPOCH) == epoch
    }

    /// How old the value may be and be fresh.
    pub fn set_max_age(&self, max_age: Duration) {
        self.max_age.store(u64::try_from(max_age.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Stores `observation` if it is newer than what is held: by the venue's time where both have one, then by
    /// sequence within one connection, then by receipt.
    pub fn write(&self, observation: Observation, receipt: Receipt) -> Written {
        let written = self.write_if_newer(observation, receipt);
        match written {
            Written::Stored => {}
            Written::Older => _ = self.counts.older.fetch_add(1, Ordering::Relaxed),
            Written::Duplicate | Written::Late => _ = self.counts.duplicate.fetch_add(1, Ordering::Relaxed),
        }
        written
    }

    /// So many of the id's messages never arrived.
    pub fn count_missed(&self, missing: u64) {
        self.counts.missed.fetch_add(missing.min(u64::from(u32::MAX)), Ordering::Relaxed);
    }

    fn write_if_newer(&self, observation: Observation, receipt: Receipt) -> Written {
        let _writing = lock(&self.writing);
        let owned = self.is_owned_by(receipt.writer);
        if !owned && !receipt.writer.heir {
            return Written::Late;
        }
        if owned {
            self.heard.store(receipt.monotonic, Ordering::Relaxed);
        }
        let word = |at: usize| self.words[at].load(Ordering::Relaxed);
        let held = word(FLAGS);
        if held & 0xff != TAG_EMPTY {
            let held_time = (held & HAS_OBSERVED_AT != 0).then(|| word(OBSERVED_AT).cast_signed());
            let held_sequence = (held & HAS_SEQUENCE != 0 && word(EPOCH) == receipt.epoch).then(|| word(SEQUENCE));
            let by_time = held_time.zip(observation.observed_at).map(|(old, new)| new.0.cmp(&old));
            let by_sequence = held_sequence.zip(observation.sequence).map(|(old, new)| new.cmp(&old));
            match (by_time, by_sequence) {
                (Some(std::cmp::Ordering::Less), _) => return Written::Older,
                (Some(std::cmp::Ordering::Greater), _) => {}
                (_, Some(std::cmp::Ordering::Less)) => return Written::Older,
                (_, Some(std::cmp::Ordering::Equal)) => return Written::Duplicate,
                _ => {}
            }
        }

        let mut flags = 0;
        let mut coefficient = [0; 4];
        let mut text = None;
        match observation.value {
            Value::Decimal(decimal) => {
                let (negative, magnitude, exponent) = decimal.parts();
                let (high, low) = magnitude.into_words();
                coefficient = [low as u64, (low >> 64) as u64, high as u64, (high >> 64) as u64];
                flags |= TAG_DECIMAL | u64::from(exponent.cast_unsigned()) << EXPONENT_SHIFT;
                flags |= if negative { NEGATIVE } else { 0 };
            }
            Value::Flag(flag) => flags |= if flag { TAG_TRUE } else { TAG_FALSE },
            value @ (Value::Text(_) | Value::Bytes(_)) => {
                flags |= TAG_PAYLOAD;
                text = Some(Arc::new(value));
            }
        }
        let mut true_at = receipt.monotonic;
        if let Some(time) = observation.observed_at {
            flags |= HAS_OBSERVED_AT;
            true_at = true_at.saturating_sub(receipt.at.since(time));
        }
        if observation.sequence.is_some() {
            flags |= HAS_SEQUENCE;
        }

        let version = self.version.load(Ordering::Relaxed);
        self.version.store(version.wrapping_add(1), Ordering::Relaxed);
        fence(Ordering::Release);
        let set = |at: usize, word: u64| self.words[at].store(word, Ordering::Relaxed);
        set(FLAGS, flags);
        for (place, word) in coefficient.into_iter().enumerate() {
            set(COEFFICIENT + place, word);
        }
        set(OBSERVED_AT, observation.observed_at.map_or(0, |t| t.0.cast_unsigned()));
        set(SEQUENCE, observation.sequence.unwrap_or(0));
        set(RECEIVED_AT, receipt.at.0.cast_unsigned());
        set(EPOCH, receipt.epoch);
        set(TRUE_AT, true_at);
        if text.is_some() || held & 0xff == TAG_PAYLOAD {
            self.payload.store(text);
        }
        self.version.store(version.wrapping_add(2), Ordering::Release);
        // It has delivered, and nothing older than what was there: the slot is the heir's, and what it said before is past.
        if !owned {
            self.hand_to(receipt.writer.number);
        }
        self.clear_note();
        Written::Stored
    }

    /// The venue confirms what is held. False when nothing is, or somebody else writes the slot now.
    pub fn confirm(&self, receipt: Receipt) -> bool {
        let _writing = lock(&self.writing);
        let owned = self.is_owned_by(receipt.writer);
        if !owned && !receipt.writer.heir {
            return false;
        }
        if owned {
            self.heard.store(receipt.monotonic, Ordering::Relaxed);
        }
        if self.words[FLAGS].load(Ordering::Relaxed) & 0xff == TAG_EMPTY {
            return false;
        }
        // One word, so readers need no new version.
        self.words[TRUE_AT].fetch_max(receipt.monotonic, Ordering::Relaxed);
        if !owned {
            self.hand_to(receipt.writer.number);
        }
        self.clear_note();
        true
    }

    /// Says what is known of the id beside its value. A rejection stays until the id is asked for again.
    pub fn set_note(&self, note: Note, reason: &str) {
        let said = self.said.load();
        if said.note != note || &*said.reason != reason {
            self.said.store(Arc::new(Said { note, reason: reason.into() }));
        }
    }

    /// Monotonic nanoseconds when its owner last delivered anything; 0: never.
    pub(super) fn heard(&self) -> u64 {
        self.heard.load(Ordering::Relaxed)
    }

    pub(super) fn noted(&self) -> Note {
        self.said.load().note
    }

    /// Whether the venue or the plugin refused the id.
    pub fn is_rejected(&self) -> bool {
        self.noted() == Note::Rejected
    }

    /// As [`Slot::set_note`], unless the id is rejected: a lost connection does not make a refused id less refused.
    pub fn set_note_unless_rejected(&self, note: Note, reason: &str) {
        if !self.is_rejected() {
            self.set_note(note, reason);
        }
    }

    /// As [`Slot::set_note`], unless a value has come: some venues send it before they confirm the subscription.
    pub fn set_note_unless_clear(&self, note: Note, reason: &str) {
        if self.noted() != Note::Clear {
            self.set_note(note, reason);
        }
    }

    fn clear_note(&self) {
        if self.noted() != Note::Clear {
            self.set_note(Note::Clear, "");
        }
    }

    pub(super) fn read(&self, provider: &Arc<str>, now: u64) -> Reading {
        let held = self.held(now);
        let max_age = self.max_age();
        let said = self.said.load();
        let age = held.as_ref().map(|h| h.age);
        let state = match age {
            _ if said.note == Note::Rejected => State::Rejected,
            Some(age) if age <= max_age => State::Fresh,
            _ if said.note == Note::Down => State::ProviderDown,
            _ if said.note == Note::Unresolved => State::Unresolved,
            Some(_) => State::Stale,
            None => State::Waiting,
        };
        let reason = match (state, age) {
            (State::Stale, Some(age)) => format!(
                "last known to be true {:.1} s ago, max_age is {:.1} s",
                age.as_secs_f64(),
                max_age.as_secs_f64()
            )
            .into(),
            _ => said.reason.clone(),
        };
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Reading {
            provider: provider.clone(),
            id: self.subscription.id.clone(),
            state,
            reason,
            max_age,
            held,
            carrier: self.carrier.load().as_deref().copied(),
            missed: count(&self.counts.missed),
            older: count(&self.counts.older),
            duplicate: count(&self.counts.duplicate),
        }
    }

    /// Whether its reading's state is fresh, without making the reading.
    pub(super) fn is_fresh(&self, now: u64) -> bool {
        self.age(now).is_some_and(|age| Duration::from_nanos(age) <= self.max_age()) && !self.is_rejected()
    }

    /// Age in nanoseconds of what is held, without the value.
    pub(super) fn age(&self, now: u64) -> Option<u64> {
        (self.words[FLAGS].load(Ordering::Relaxed) & 0xff != TAG_EMPTY)
            .then(|| now.saturating_sub(self.words[TRUE_AT].load(Ordering::Relaxed)))
    }

    fn held(&self, now: u64) -> Option<Held> {
        loop {
            let before = self.version.load(Ordering::Acquire);
            if before % 2 == 1 {
                std::hint::spin_loop();
                continue;
            }
            let words: [u64; WORDS] = std::array::from_fn(|at| self.words[at].load(Ordering::Relaxed));
            let payload = if words[FLAGS] & 0xff == TAG_PAYLOAD { self.payload.load_full() } else { None };
            fence(Ordering::Acquire);
            if self.version.load(Ordering::Relaxed) == before {
                return decode(&words, payload, now);
            }
        }
    }
}

fn decode(words: &[u64; WORDS], payload: Option<Arc<Value>>, now: u64) -> Option<Held> {
    let flags = words[FLAGS];
    let value = match flags & 0xff {
        TAG_DECIMAL => {
            let [a, b, c, d] = [0, 1, 2, 3].map(|place| u128::from(words[COEFFICIENT + place]));
            let exponent = (flags >> EXPONENT_SHIFT) as u16;
            let magnitude = U256::from_words(d << 64 | c, b << 64 | a);
            Value::Decimal(
                Decimal::from_parts(flags & NEGATIVE != 0, magnitude, i64::from(exponent.cast_signed())).ok()?,
            )
        }
        TAG_FALSE => Value::Flag(false),
        TAG_TRUE => Value::Flag(true),
        TAG_PAYLOAD => Value::clone(&*payload?),
        _ => return None,
    };
    Some(Held {
        value,
        observed_at: (flags & HAS_OBSERVED_AT != 0).then(|| UnixNanos(words[OBSERVED_AT].cast_signed())),
        received_at: UnixNanos(words[RECEIVED_AT].cast_signed()),
        age: Duration::from_nanos(now.saturating_sub(words[TRUE_AT])),
        sequence: (flags & HAS_SEQUENCE != 0).then_some(words[SEQUENCE]),
    })
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
