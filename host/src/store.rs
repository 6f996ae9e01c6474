//! The latest observation of every id, and what is known of the ids that have none.
//!
//! A provider's ids live in slots that are written in place and found by key; a map from names to slots changes only
//! when subscriptions do. A reader never waits for a writer: numbers are read under a version counter and read again
//! if a write came between. No guard leaves this file. Nothing here knows of sockets, plugins or outputs.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering, fence};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use dashmap::DashMap;
use ethnum::U256;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::codec::Subscription;
use crate::observation::{Decimal, Key, Observation, Receipt, UnixNanos, Value, Writer};

/// What a reader is told of one id.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum State {
    /// There is a value, and it was known to be true within `max_age`.
    Fresh,
    /// There is a value, too old to trust.
    Stale,
    /// Nothing yet: not asked for, or asked and not answered.
    Waiting,
    /// The venue or the plugin refused the id.
    Rejected,
    /// The venue answered, without a value for this id.
    Unresolved,
    /// The provider cannot serve the id: no connection, no plugin, failing polls.
    ProviderDown,
}

impl State {
    /// Every state, in the order in which outputs list them.
    pub const ALL: [Self; 6] =
        [Self::Fresh, Self::Stale, Self::Waiting, Self::Rejected, Self::Unresolved, Self::ProviderDown];

    /// The word used in every output.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Fresh => "fresh",
            Self::Stale => "stale",
            Self::Waiting => "waiting",
            Self::Rejected => "rejected",
            Self::Unresolved => "unresolved",
            Self::ProviderDown => "provider-down",
        }
    }
}

/// One id, read.
#[derive(Clone, Debug)]
pub struct Reading {
    pub provider: Arc<str>,
    pub id: Arc<str>,
    pub state: State,
    /// Why it is not fresh, or why a fresh value gets no news; empty when there is nothing to say.
    pub reason: Arc<str>,
    pub max_age: Duration,
    /// `None` until the first value.
    pub held: Option<Held>,
    /// `None` while no connection carries it: for a provider that polls, always.
    pub carrier: Option<Carrier>,
    /// Of the id's messages since the start: those that never arrived, by the venue's numbers; that were older than
    /// what was held; that were held already.
    pub missed: u64,
    pub older: u64,
    pub duplicate: u64,
}

/// The value that a slot holds.
#[derive(Clone, Debug)]
pub struct Held {
    pub value: Value,
    /// When the venue says that it was true.
    pub observed_at: Option<UnixNanos>,
    /// When it arrived.
    pub received_at: UnixNanos,
    /// How long ago it was last known to be true: since the venue's own time (the receipt, where the venue gives
    /// none), or since the venue last confirmed it unchanged.
    pub age: Duration,
    pub sequence: Option<u64>,
}

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
#[repr(u8)]
pub enum Note {
    Clear = 0,
    /// Asked for, not answered.
    Waiting = 1,
    Rejected = 2,
    Unresolved = 3,
    Down = 4,
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

/// The place of one id. Written by its provider's codecs, read by anyone.
#[derive(Debug)]
pub struct Slot {
    subscription: Subscription,
    max_age: AtomicU64,
    /// Odd while a write is under way.
    version: AtomicU64,
    words: [AtomicU64; WORDS],
    /// Text and bytes, and the writers' lock: held for a few stores, never across I/O.
    payload: Mutex<Option<Arc<Value>>>,
    note: AtomicU8,
    reason: Mutex<Arc<str>>,
    counts: Counts,
    /// The [`Writer`] whose values count.
    owner: AtomicU64,
    heir: Mutex<Heir>,
    /// Monotonic nanoseconds when its owner last delivered anything; 0: never.
    heard: AtomicU64,
    /// The connection that carries the id, and what the venue said to the subscription.
    carrier: Mutex<Option<Carrier>>,
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
    fn new(subscription: Subscription, max_age: Duration, owner: u64) -> Self {
        let slot = Self {
            subscription,
            max_age: AtomicU64::new(0),
            version: AtomicU64::new(0),
            words: [const { AtomicU64::new(0) }; WORDS],
            payload: Mutex::new(None),
            note: AtomicU8::new(Note::Clear as u8),
            reason: Mutex::new("".into()),
            counts: Counts::default(),
            owner: AtomicU64::new(owner),
            heir: Mutex::default(),
            heard: AtomicU64::new(0),
            carrier: Mutex::new(None),
        };
        slot.set_max_age(max_age);
        slot.set_note(Note::Waiting, "not asked for yet");
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
        *lock(&self.carrier) = carrier;
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
    fn hand_to(&self, writer: u64) {
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
        let _writing = lock(&self.payload);
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
        let mut payload = lock(&self.payload);
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
        if text.is_some() || payload.is_some() {
            *payload = text;
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
        let _writing = lock(&self.payload);
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
        let mut held = lock(&self.reason);
        if &**held != reason {
            *held = reason.into();
        }
        self.note.store(note as u8, Ordering::Release);
    }

    /// Whether the venue or the plugin refused the id.
    pub fn is_rejected(&self) -> bool {
        self.note.load(Ordering::Acquire) == Note::Rejected as u8
    }

    /// As [`Slot::set_note`], unless the id is rejected: a lost connection does not make a refused id less refused.
    pub fn set_note_unless_rejected(&self, note: Note, reason: &str) {
        if !self.is_rejected() {
            self.set_note(note, reason);
        }
    }

    /// As [`Slot::set_note`], unless a value has come: some venues send it before they confirm the subscription.
    pub fn set_note_unless_clear(&self, note: Note, reason: &str) {
        if self.note.load(Ordering::Acquire) != Note::Clear as u8 {
            self.set_note(note, reason);
        }
    }

    fn clear_note(&self) {
        if self.note.load(Ordering::Relaxed) != Note::Clear as u8 {
            self.set_note(Note::Clear, "");
        }
    }

    fn read(&self, provider: &Arc<str>, now: u64) -> Reading {
        let held = self.held(now);
        let max_age = self.max_age();
        let note = self.note.load(Ordering::Acquire);
        let age = held.as_ref().map(|h| h.age);
        let state = match age {
            _ if note == Note::Rejected as u8 => State::Rejected,
            Some(age) if age <= max_age => State::Fresh,
            _ if note == Note::Down as u8 => State::ProviderDown,
            _ if note == Note::Unresolved as u8 => State::Unresolved,
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
            _ => lock(&self.reason).clone(),
        };
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Reading {
            provider: provider.clone(),
            id: self.subscription.id.clone(),
            state,
            reason,
            max_age,
            held,
            carrier: *lock(&self.carrier),
            missed: count(&self.counts.missed),
            older: count(&self.counts.older),
            duplicate: count(&self.counts.duplicate),
        }
    }

    /// Age in nanoseconds of what is held, without the value: for metrics.
    fn age(&self, now: u64) -> Option<u64> {
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
            let payload = if words[FLAGS] & 0xff == TAG_PAYLOAD { lock(&self.payload).clone() } else { None };
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

/// A provider's slots by key, as they were at one moment. Sessions keep one and are handed a new one when ids change.
#[derive(Clone, Debug, Default)]
pub struct SlotTable(Arc<[Option<Arc<Slot>>]>);

impl SlotTable {
    /// `None` for a key that is not subscribed (any more).
    pub fn get(&self, key: Key) -> Option<&Arc<Slot>> {
        self.0.get(key.index())?.as_ref()
    }

    /// One more than the highest key.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = &Arc<Slot>> {
        self.0.iter().flatten()
    }

    /// Only these ids.
    #[must_use]
    pub fn only(&self, ids: &std::collections::BTreeSet<&str>) -> Self {
        let keep = |slot: &Option<Arc<Slot>>| slot.clone().filter(|slot| ids.contains(&*slot.subscription().id));
        Self(self.0.iter().map(keep).collect())
    }

    /// The subscriptions of these keys, those that are gone left out.
    pub fn subscriptions<'a>(&self, keys: impl IntoIterator<Item = &'a Key>) -> Vec<Subscription> {
        keys.into_iter().filter_map(|key| Some(self.get(*key)?.subscription().clone())).collect()
    }
}

/// One provider's part of the store.
#[derive(Debug)]
pub struct ProviderSlots {
    name: Arc<str>,
    table: RwLock<SlotTable>,
    by_id: DashMap<Arc<str>, Arc<Slot>>,
    changed: Notify,
    was_fresh: AtomicBool,
    started: Instant,
    /// The numbers of the writer that serves, and of the one that is to take its place.
    serving: AtomicU64,
    heir: AtomicU64,
}

impl ProviderSlots {
    /// A writer of its own number takes its place at once.
    pub fn serve(&self, number: u64) {
        self.heir.store(0, Ordering::Relaxed);
        self.serving.store(number, Ordering::Relaxed);
        for slot in self.table().iter() {
            slot.hand_to(number);
        }
    }

    /// A writer that may make ids its own by delivering them. [`ProviderSlots::serve`] ends that, in favour of either.
    pub fn set_heir(&self, number: u64) {
        self.heir.store(number, Ordering::Relaxed);
    }

    /// How the writer of a number stands now.
    pub fn writer(&self, number: u64) -> Writer {
        Writer { number, heir: number != 0 && self.heir.load(Ordering::Relaxed) == number }
    }

    /// Makes the wanted ids the provider's ids. An id that stays keeps its key and its value; a new one gets a key
    /// that was never used before, since frames under way may still name the old ones.
    pub fn set_ids(&self, wanted: &[(Arc<str>, Duration)]) -> SlotTable {
        let mut table = self.table.write().unwrap_or_else(PoisonError::into_inner);
        let mut slots = vec![None; table.0.len()];
        for (id, max_age) in wanted {
            let known = self.by_id.get(id).map(|slot| slot.clone());
            if let Some(slot) = known {
                slot.set_max_age(*max_age);
                let at = slot.key().index();
                slots[at] = Some(slot);
            } else {
                let key = Key(u32::try_from(slots.len()).expect("fewer than 2^32 ids"));
                let owner = self.serving.load(Ordering::Relaxed);
                let slot = Arc::new(Slot::new(Subscription { key, id: id.clone() }, *max_age, owner));
                self.by_id.insert(id.clone(), slot.clone());
                slots.push(Some(slot));
            }
        }
        self.by_id.retain(|_, slot| slots[slot.key().index()].is_some());
        *table = SlotTable(slots.into());
        drop(table);
        self.changed.notify_waiters();
        self.table()
    }

    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    pub fn table(&self) -> SlotTable {
        self.table.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Stamps a receipt of the writer that serves: wall clock and monotonic clock read together.
    pub fn receipt(&self, epoch: u64) -> Receipt {
        self.receipt_of(self.serving.load(Ordering::Relaxed), epoch)
    }

    /// As [`ProviderSlots::receipt`], of the writer of a number.
    pub fn receipt_of(&self, number: u64, epoch: u64) -> Receipt {
        Receipt { at: wall_clock(), monotonic: self.monotonic(), epoch, writer: self.writer(number) }
    }

    /// When the owner of a slot last delivered anything.
    pub fn heard(&self, slot: &Slot) -> Option<std::time::Instant> {
        let heard = slot.heard.load(Ordering::Relaxed).checked_sub(AGES_BEFORE_START)?;
        Some((self.started + Duration::from_nanos(heard)).into_std())
    }

    fn monotonic(&self) -> u64 {
        // Values may be older than the process: leave room below for what was true before it started.
        AGES_BEFORE_START + u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX / 2)
    }

    /// Whether any id has ever been fresh.
    pub fn was_fresh(&self) -> bool {
        self.was_fresh.load(Ordering::Relaxed)
    }

    /// Wakes those who wait in [`ProviderSlots::changed`]. Called once for a batch of writes.
    pub fn notify(&self) {
        if !self.was_fresh() && self.read_all().iter().any(|reading| reading.state == State::Fresh) {
            self.was_fresh.store(true, Ordering::Relaxed);
        }
        self.changed.notify_waiters();
    }

    /// Completes at the next batch of writes or change of state after the future was first polled or enabled.
    pub fn changed(&self) -> tokio::sync::futures::Notified<'_> {
        self.changed.notified()
    }

    /// One id: constant time.
    pub fn read(&self, id: &str) -> Option<Reading> {
        let slot = self.by_id.get(id)?.clone();
        Some(slot.read(&self.name, self.monotonic()))
    }

    /// Every id, in the order of keys.
    pub fn read_all(&self) -> Vec<Reading> {
        let now = self.monotonic();
        self.table().iter().map(|slot| slot.read(&self.name, now)).collect()
    }

    /// The age of the provider's newest value.
    pub fn newest_age(&self) -> Option<Duration> {
        let now = self.monotonic();
        self.table().iter().filter_map(|slot| slot.age(now)).min().map(Duration::from_nanos)
    }
}

/// A hundred years: no plausible time is older.
const AGES_BEFORE_START: u64 = 100 * 365 * 86_400 * 1_000_000_000;

/// Latest values of every provider.
#[derive(Debug)]
pub struct Store {
    providers: DashMap<Arc<str>, Arc<ProviderSlots>>,
    started: Instant,
}

impl Default for Store {
    fn default() -> Self {
        Self { providers: DashMap::new(), started: Instant::now() }
    }
}

impl Store {
    /// The provider's slots, made if they do not exist.
    pub fn provider(&self, name: &str) -> Arc<ProviderSlots> {
        let make = || {
            Arc::new(ProviderSlots {
                name: name.into(),
                table: RwLock::default(),
                by_id: DashMap::new(),
                changed: Notify::new(),
                was_fresh: AtomicBool::new(false),
                started: self.started,
                serving: AtomicU64::new(0),
                heir: AtomicU64::new(0),
            })
        };
        self.providers.entry(name.into()).or_insert_with(make).clone()
    }

    /// The provider's slots, if it has any.
    pub fn find(&self, name: &str) -> Option<Arc<ProviderSlots>> {
        self.providers.get(name).map(|slots| slots.clone())
    }

    /// Forgets a provider that is no longer configured.
    pub fn remove(&self, name: &str) {
        self.providers.remove(name);
    }

    /// One id: constant time.
    pub fn read(&self, provider: &str, id: &str) -> Option<Reading> {
        self.find(provider)?.read(id)
    }

    /// Every provider's part, by name.
    pub fn providers(&self) -> Vec<Arc<ProviderSlots>> {
        let mut providers: Vec<_> = self.providers.iter().map(|entry| entry.value().clone()).collect();
        providers.sort_by(|a, b| a.name.cmp(&b.name));
        providers
    }

    /// Every id of every provider, providers by name.
    pub fn read_all(&self) -> Vec<Reading> {
        self.providers().iter().flat_map(|provider| provider.read_all()).collect()
    }

    /// Every id of one provider.
    pub fn read_provider(&self, provider: &str) -> Option<Vec<Reading>> {
        Some(self.find(provider)?.read_all())
    }
}

/// Unix time now, to the nanosecond the system gives.
pub fn wall_clock() -> UnixNanos {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    UnixNanos(i64::try_from(since.as_nanos()).unwrap_or(i64::MAX))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
