//! The latest observation of every id, and what is known of the ids that have none.
//!
//! A provider's ids live in slots (`slot`) that are written in place and found by key. The maps from names to slots change
//! only when subscriptions do, and are then replaced as a whole, so a reader takes no lock and waits for nobody. Nothing
//! here knows of sockets, plugins or outputs.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::contract::codec::Subscription;
use crate::contract::observation::{Key, Receipt, UnixNanos, Value, Writer};

mod slot;
pub mod state_dir;

pub use slot::{Carrier, Note, Slot, Unless, Written};

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

/// A provider's ids, found by key and by name.
#[derive(Debug, Default)]
struct Ids {
    table: SlotTable,
    by_id: HashMap<Arc<str>, Arc<Slot>>,
}

/// One provider's part of the store.
#[derive(Debug)]
pub struct ProviderSlots {
    name: Arc<str>,
    ids: ArcSwap<Ids>,
    /// Held by whoever changes the ids.
    changing: Mutex<()>,
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
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.ids.load();
        let mut slots = vec![None; before.table.len()];
        let mut by_id: HashMap<Arc<str>, Arc<Slot>> = HashMap::with_capacity(wanted.len());
        for (id, max_age) in wanted {
            let known = by_id.get(id).or_else(|| before.by_id.get(id)).cloned();
            let slot = known.unwrap_or_else(|| {
                let key = Key(u32::try_from(slots.len()).expect("fewer than 2^32 ids"));
                slots.push(None);
                let owner = self.serving.load(Ordering::Relaxed);
                Arc::new(Slot::new(Subscription { key, id: id.clone() }, *max_age, owner))
            });
            slot.set_max_age(*max_age);
            slots[slot.key().index()] = Some(slot.clone());
            by_id.insert(id.clone(), slot);
        }
        let table = SlotTable(slots.into());
        self.ids.store(Arc::new(Ids { table: table.clone(), by_id }));
        self.changed.notify_waiters();
        table
    }

    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    pub fn table(&self) -> SlotTable {
        self.ids.load().table.clone()
    }

    /// Stamps a receipt of the writer that serves: wall clock and monotonic clock read together.
    pub fn receipt(&self, epoch: u64) -> Receipt {
        self.receipt_of(self.serving.load(Ordering::Relaxed), epoch, Instant::now())
    }

    /// As [`ProviderSlots::receipt`], of the writer of a number, at a moment that was just read.
    pub fn receipt_of(&self, number: u64, epoch: u64, now: Instant) -> Receipt {
        Receipt { at: wall_clock(), monotonic: self.monotonic_at(now), epoch, writer: self.writer(number) }
    }

    /// When the owner of a slot last delivered anything.
    pub fn heard(&self, slot: &Slot) -> Option<std::time::Instant> {
        let heard = slot.heard().checked_sub(AGES_BEFORE_START)?;
        Some((self.started + Duration::from_nanos(heard)).into_std())
    }

    fn monotonic(&self) -> u64 {
        self.monotonic_at(Instant::now())
    }

    fn monotonic_at(&self, now: Instant) -> u64 {
        // Values may be older than the process: leave room below for what was true before it started.
        AGES_BEFORE_START + u64::try_from((now - self.started).as_nanos()).unwrap_or(u64::MAX / 2)
    }

    /// Whether any id has ever been fresh.
    pub fn was_fresh(&self) -> bool {
        self.was_fresh.load(Ordering::Relaxed)
    }

    /// Wakes those who wait in [`ProviderSlots::changed`]. Called once for a batch of writes.
    pub fn notify(&self) {
        if !self.was_fresh() && self.has_fresh() {
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
        Some(self.ids.load().by_id.get(id)?.read(&self.name, self.monotonic()))
    }

    /// Every id, in the order of keys.
    pub fn read_all(&self) -> Vec<Reading> {
        let now = self.monotonic();
        self.table().iter().map(|slot| slot.read(&self.name, now)).collect()
    }

    /// Whether any id is fresh now.
    pub fn has_fresh(&self) -> bool {
        let now = self.monotonic();
        self.table().iter().any(|slot| slot.is_fresh(now))
    }

    /// How many ids are fresh now.
    pub fn fresh_ids(&self) -> usize {
        let now = self.monotonic();
        self.table().iter().filter(|slot| slot.is_fresh(now)).count()
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
    providers: ArcSwap<HashMap<Arc<str>, Arc<ProviderSlots>>>,
    started: Instant,
}

impl Default for Store {
    fn default() -> Self {
        Self { providers: ArcSwap::default(), started: Instant::now() }
    }
}

impl Store {
    /// The provider's slots, made if they do not exist.
    pub fn provider(&self, name: &str) -> Arc<ProviderSlots> {
        if let Some(slots) = self.find(name) {
            return slots;
        }
        let made = Arc::new(ProviderSlots {
            name: name.into(),
            ids: ArcSwap::default(),
            changing: Mutex::default(),
            changed: Notify::new(),
            was_fresh: AtomicBool::new(false),
            started: self.started,
            serving: AtomicU64::new(0),
            heir: AtomicU64::new(0),
        });
        self.providers.rcu(|providers| {
            let mut providers = HashMap::clone(providers);
            providers.entry(name.into()).or_insert_with(|| made.clone());
            providers
        });
        // Somebody may have been quicker.
        self.find(name).unwrap_or(made)
    }

    /// The provider's slots, if it has any.
    pub fn find(&self, name: &str) -> Option<Arc<ProviderSlots>> {
        self.providers.load().get(name).cloned()
    }

    /// Forgets a provider that is no longer configured.
    pub fn remove(&self, name: &str) {
        self.providers.rcu(|providers| {
            let mut providers = HashMap::clone(providers);
            providers.remove(name);
            providers
        });
    }

    /// One id: constant time.
    pub fn read(&self, provider: &str, id: &str) -> Option<Reading> {
        self.providers.load().get(provider)?.read(id)
    }

    /// Every provider's part, by name.
    pub fn providers(&self) -> Vec<Arc<ProviderSlots>> {
        let mut providers: Vec<_> = self.providers.load().values().cloned().collect();
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

#[cfg(test)]
mod tests;
