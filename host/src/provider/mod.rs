//! One provider's tasks: its sessions and its poller, and the limits they keep to. The only place that asks which
//! transport a provider uses.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::access::secret::Secrets;
use crate::builds::faults::FaultLog;
use crate::builds::tape::Tape;
use crate::config::{ProviderConfig, Transport};
use crate::contract::codec::OpenCodec;
use crate::contract::description::Description;
use crate::contract::observation::Key;
use crate::contract::origin::{Grants, Origin};
use crate::logic::handover::Id;
use crate::logic::probation::Counts;
use crate::logic::schedule::{ScheduleConfig, phase_of};
use crate::logic::session::{Heartbeat, HeartbeatWhen, SessionConfig};
use crate::logic::shard::assign;
use crate::plugin::{Configured, Plugin};
use crate::status::ProviderStatus;
use crate::store::{Note, SlotTable, Store, Unless};
use crate::transport::{
    self, HttpClient, Network, OriginLimits, Places, Polled, PollerSetup, SessionSetup, Shared, SocketLimits, Wanted,
};

mod lane;

use self::lane::Lane;

/// Between the starts of two connections of one provider, and between the first and the last.
const STAGGER: Duration = Duration::from_millis(100);
const LONGEST_STAGGER: Duration = Duration::from_secs(5);

/// How long the tasks may take to say goodbye.
const STOP_PATIENCE: Duration = Duration::from_secs(5);

/// A request before a connection, where the plugin describes no HTTP timeout.
const FETCH_TIMEOUT: Duration = Duration::from_secs(10);

/// See [`default_max_age`].
const DEFAULT_MAX_AGE: Duration = Duration::from_secs(60);

/// Nothing at all for this long, and a connection is dead, where the plugin does not say.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);

/// A running provider. Its codecs are its plugin's, where nobody puts others in their place.
#[derive(Debug)]
pub struct Provider<O = Configured> {
    plugin: Plugin,
    config: ProviderConfig,
    open: O,
    parts: Arc<Shared>,
    websocket: bool,
    http: bool,
    ids: Vec<(Arc<str>, Duration)>,
    /// Its number as a writer of the store.
    writer: u64,
    /// `None` until it runs.
    lane: Option<Lane>,
    tasks: JoinSet<()>,
    stop: watch::Sender<bool>,
    /// How often connections were to be replaced.
    rotate: watch::Sender<u64>,
    /// Which keys are on which connection.
    spread: Vec<BTreeSet<Key>>,
    sessions: Vec<watch::Sender<Wanted>>,
    poller: Option<watch::Sender<Polled>>,
    /// What was counted when it began to serve.
    counted: Counts,
}

impl Provider {
    /// Checks everything and touches nothing: [`Provider::run`] starts it. The error says why the provider cannot run
    /// as configured.
    pub fn new(
        plugin: Plugin,
        config: ProviderConfig,
        store: &Store,
        status: Arc<ProviderStatus>,
        origins: Arc<OriginLimits>,
    ) -> Result<Self, String> {
        Self::with_codec(plugin, config, store, status, origins, |codec| codec)
    }
}

impl<O: OpenCodec + Clone> Provider<O> {
    /// As [`Provider::new`], with other codecs in place of the plugin's, which still describes itself and the venue: for
    /// measuring what the plugin's cost.
    pub fn with_codec(
        plugin: Plugin,
        config: ProviderConfig,
        store: &Store,
        status: Arc<ProviderStatus>,
        origins: Arc<OriginLimits>,
        codec: impl FnOnce(Configured) -> O,
    ) -> Result<Self, String> {
        let description = plugin.description();
        let (websocket, http) = transports(&plugin, &config)?;
        check_limits(&plugin, &config)?;
        let ids = wanted_ids(&plugin, &config)?;
        let grants =
            Grants::new(description.origins.clone(), config.allow_origins.clone(), config.redirect_origins.clone());
        let described = described_mirrors(description, &config);
        let grants = Arc::new(grants.with_mirrors(config.mirrors.iter().cloned().chain(described).collect()));
        let secrets = Arc::new(secrets(&plugin, &config)?);
        let network = Network::new(&config.network)?;
        let max_body = config.http.max_body;
        let places = Arc::new(Places::new(grants.clone()));
        let client =
            HttpClient::new(grants.clone(), secrets.clone(), places.clone(), origins.clone(), &network, max_body)?;
        let open = codec(plugin.configured(status.name.clone(), config.settings.clone()).redacting(secrets.clone()));
        let writer = next_writer();
        // Not before everything was checked: a provider that cannot run has no ids to show.
        let slots = store.provider(&status.name);
        let parts = Arc::new(Shared {
            writer,
            plausible: config.plausible,
            refused_wait: config.refused_wait,
            faults: Arc::default(),
            status,
            buckets: description.buckets.iter().chain(&config.limits).copied().collect(),
            places,
            slots,
            client,
            network,
            grants,
            secrets,
            origins,
            tapes: Arc::default(),
        });
        Ok(Self {
            plugin,
            config,
            open,
            parts,
            websocket,
            http,
            ids,
            writer,
            lane: None,
            tasks: JoinSet::new(),
            stop: watch::Sender::new(false),
            rotate: watch::Sender::new(0),
            spread: Vec::new(),
            sessions: Vec::new(),
            poller: None,
            counted: Counts::default(),
        })
    }

    /// Starts the tasks, in place of whatever wrote the slots before. Once. The error is the system's.
    pub fn run(&mut self) -> Result<(), String> {
        let table = self.parts.slots.set_ids(&self.ids);
        self.parts.slots.serve(self.writer);
        self.counted = self.counts();
        self.start(&table)
    }

    /// Starts the tasks beside those of the provider that serves: what they deliver takes its place, id by id. Once.
    /// Ends with [`Provider::take_over`] or [`Provider::give_up`].
    pub fn run_beside(&mut self, serving: &Self) -> Result<(), String> {
        let mut ids = self.ids.clone();
        let ours: BTreeSet<&str> = self.ids.iter().map(|(id, _)| &**id).collect();
        ids.extend(serving.ids.iter().filter(|(id, _)| !ours.contains(&**id)).cloned());
        let table = self.parts.slots.set_ids(&ids);
        self.parts.slots.set_heir(self.writer);
        self.start(&table.only(&ours))
    }

    /// It serves from now on, and whatever was said of its ids by it holds.
    pub fn take_over(&mut self) {
        let table = self.parts.slots.set_ids(&self.ids);
        self.parts.slots.serve(self.writer);
        self.counted = self.counts();
        self.tell(&table);
    }

    /// It is not to serve after all: everything is the other one's again.
    pub async fn give_up(self, serving: &Self) {
        self.parts.slots.serve(serving.writer);
        self.parts.slots.set_ids(&serving.ids);
        self.stop("given up").await;
    }

    fn start(&mut self, table: &SlotTable) -> Result<(), String> {
        let lane = Lane::new(self.parts.slots.name()).map_err(|e| format!("no thread to run on: {e}"))?;
        self.lane = Some(lane);
        if self.websocket {
            self.spread(table);
        }
        if self.http {
            self.start_poller(table.clone());
        }
        Ok(())
    }

    /// Whether it is connected, and everything is subscribed or was polled.
    pub fn is_settled(&self) -> bool {
        self.parts.status.look(|info| {
            let open = |number: usize| {
                let connection = info.connections.get(&number);
                connection.is_some_and(|c| c.phase == "open" && c.unconfirmed == 0 && c.ids > 0)
            };
            let polled = || info.poller.as_ref().is_some_and(|poller| poller.polls > 0 && poller.failures == 0);
            let mut streams = self.spread.iter().enumerate().filter(|(_, keys)| !keys.is_empty());
            streams.all(|(number, _)| open(number)) && (!self.http || polled())
        })
    }

    /// Whether any of its connections is open or its last poll went well.
    pub fn is_connected(&self) -> bool {
        self.parts.status.look(|info| {
            let polled = info.poller.as_ref().is_some_and(|poller| poller.polls > 0 && poller.failures == 0);
            polled || info.connections.values().any(|connection| connection.phase == "open")
        })
    }

    /// The ids that this heir and the one that serves both have, in the order of their names, and how they stand.
    pub fn shared_ids(&self, serving: &Self) -> (Vec<Arc<str>>, Vec<Id>) {
        let theirs: BTreeSet<&str> = serving.ids.iter().map(|(id, _)| &**id).collect();
        let table = self.parts.slots.table();
        let writer = self.parts.slots.writer(self.writer);
        let by_name: BTreeMap<&str, _> = table.iter().map(|slot| (&*slot.subscription().id, slot)).collect();
        let shared = self.ids.iter().filter(|(id, _)| theirs.contains(&**id));
        let state = |id: &Arc<str>| {
            let slot = by_name.get(&**id)?;
            Some((id.clone(), Id { taken: slot.is_owned_by(writer), heard: self.parts.slots.heard(slot) }))
        };
        shared.filter_map(|(id, _)| state(id)).unzip()
    }

    /// How many of its ids have a value to trust.
    pub fn fresh_ids(&self) -> usize {
        self.parts.slots.fresh_ids()
    }

    /// Its plugin with its settings.
    pub fn open(&self) -> &O {
        &self.open
    }

    /// What its instances died of.
    pub fn faults(&self) -> &FaultLog {
        &self.parts.faults
    }

    /// The counters as they are.
    pub fn counts(&self) -> Counts {
        self.parts.status.metrics.counts()
    }

    /// What was counted since it began to serve.
    pub fn counts_while_serving(&self) -> Counts {
        self.counts().since(self.counted)
    }

    pub fn status(&self) -> &Arc<ProviderStatus> {
        &self.parts.status
    }

    /// How many connections it holds.
    pub fn connections(&self) -> usize {
        self.spread.iter().filter(|keys| !keys.is_empty()).count()
    }

    /// How many connections it will hold.
    pub fn connections_needed(&self) -> usize {
        let room = self.ids_per_connection().map_or(usize::MAX, NonZeroUsize::get);
        if self.websocket { self.ids.len().div_ceil(room) } else { 0 }
    }

    /// How many the venue allows at once. `None`: no limit is known.
    pub fn most_connections(&self) -> Option<usize> {
        let limits = self.plugin.description().websocket.as_ref()?;
        limits.max_connections.map(|most| most.get() as usize)
    }

    /// The venue's limit, or the operator's.
    fn ids_per_connection(&self) -> Option<NonZeroUsize> {
        let described = self.plugin.description().websocket.as_ref().and_then(|limits| limits.ids_per_connection);
        let room = [described, self.config.websocket.ids_per_connection].into_iter().flatten().min();
        room.and_then(|room| NonZeroUsize::new(room.get() as usize))
    }

    pub fn plugin(&self) -> &Plugin {
        &self.plugin
    }

    pub fn config(&self) -> &ProviderConfig {
        &self.config
    }

    /// What it received lately.
    pub fn tapes(&self) -> Vec<Tape> {
        self.parts.tapes.snapshot()
    }

    /// Takes over a configuration that differs in ids and ages only: nothing is reconnected. The error says why not.
    pub fn set_ids(&mut self, config: ProviderConfig) -> Result<(), String> {
        self.ids = wanted_ids(&self.plugin, &config)?;
        self.config = config;
        let table = self.parts.slots.set_ids(&self.ids);
        self.tell(&table);
        Ok(())
    }

    /// Hands its tasks the ids as they are now.
    fn tell(&mut self, table: &SlotTable) {
        if self.websocket {
            self.spread(table);
        }
        if let Some(poller) = &self.poller {
            poller.send_replace(self.polled(table.clone()));
        }
    }

    /// Spreads the ids over connections, starting those that are missing. A connection without ids closes and waits.
    fn spread(&mut self, table: &SlotTable) {
        if self.plugin.description().websocket.is_none() {
            return;
        }
        let Some(handle) = self.lane.as_ref().map(|lane| lane.handle().clone()) else { return };
        let keys: BTreeSet<Key> = table.iter().map(|slot| slot.key()).collect();
        self.spread = assign(&keys, self.ids_per_connection(), &self.spread);
        let share =
            |keys: Option<&BTreeSet<Key>>| Wanted { table: table.clone(), keys: keys.cloned().unwrap_or_default() };
        for (number, session) in self.sessions.iter().enumerate() {
            session.send_replace(share(self.spread.get(number)));
        }
        for number in self.sessions.len()..self.spread.len() {
            let (wanted, receiver) = watch::channel(share(self.spread.get(number)));
            let setup = self.session(number);
            let (rotate, stop) = (self.rotate.subscribe(), self.stop.subscribe());
            self.tasks.spawn_on(transport::stream(setup, receiver, rotate, stop), &handle);
            self.sessions.push(wanted);
        }
    }

    /// Replaces every connection, each without a gap; one after another, as the venue's limits allow.
    pub fn rotate(&self) {
        self.rotate.send_modify(|count| *count += 1);
    }

    fn session(&self, number: usize) -> SessionSetup<O> {
        let description = self.plugin.description();
        let limits = description.websocket.as_ref().expect("`spread` asked");
        let ours = &self.config.websocket;
        let heartbeat = limits.heartbeat.map(|(interval, idle)| Heartbeat {
            interval,
            when: if idle { HeartbeatWhen::Idle } else { HeartbeatWhen::Always },
        });
        SessionSetup {
            number,
            open: self.open.clone(),
            shared: self.parts.clone(),
            session: SessionConfig {
                backoff: ours.backoff,
                connect_timeout: ours.connect_timeout,
                idle_timeout: ours.idle_timeout.or(limits.idle_timeout).unwrap_or(IDLE_TIMEOUT),
                heartbeat,
                first_send_delay: limits.first_send_delay,
                waits_for_ready: limits.waits_for_ready,
                ids_per_message: limits.ids_per_message.and_then(|count| NonZeroUsize::new(count.get() as usize)),
                acknowledges: limits.acknowledges,
                ack_timeout: ours.ack_timeout,
                revive_gap: ours.revive_gap,
                first_data_timeout: ours.first_data_timeout,
                max_age: [limits.max_age, ours.max_age].into_iter().flatten().min(),
            },
            rotation: ours.rotate_between,
            dial: ours.dial,
            start_delay: stagger(number, self.spread.len()),
            socket: SocketLimits { max_message: ours.max_message, write_timeout: ours.write_timeout },
            compression: limits.compression,
            fetch_timeout: description.http.as_ref().map_or(FETCH_TIMEOUT, |http| http.timeout),
        }
    }

    fn start_poller(&mut self, table: SlotTable) {
        let Some(limits) = &self.plugin.description().http else { return };
        let Some(handle) = self.lane.as_ref().map(|lane| lane.handle().clone()) else { return };
        let ours = &self.config.http;
        let interval = ours.poll_interval.unwrap_or(limits.poll_interval);
        let setup = PollerSetup {
            open: self.open.clone(),
            shared: self.parts.clone(),
            schedule: ScheduleConfig {
                interval,
                phase: phase_of(self.parts.slots.name(), interval),
                backoff: ours.backoff,
            },
            timeout: ours.timeout.unwrap_or(limits.timeout),
            max_in_flight: ours.max_in_flight.unwrap_or(limits.max_in_flight).get() as usize,
            hedge_after: ours.hedge_after,
            least_max_age: DEFAULT_MAX_AGE,
        };
        let (wanted, receiver) = watch::channel(self.polled(table));
        self.tasks.spawn_on(transport::poll(setup, receiver, self.stop.subscribe()), &handle);
        self.poller = Some(wanted);
    }

    /// An id that is streamed too is not as old as its last poll.
    fn polled(&self, table: SlotTable) -> Polled {
        let by_cycle =
            |id: &str| !self.websocket && self.config.max_age.is_none() && !self.config.max_age_by_id.contains_key(id);
        let slots = table.iter().filter(|slot| by_cycle(&slot.subscription().id));
        let aged_by_cycle = slots.map(|slot| slot.key()).collect();
        Polled { table, aged_by_cycle }
    }

    /// Whether its secrets or certificates read otherwise now. One that cannot be read changes nothing that runs.
    pub fn secrets_changed(&self) -> bool {
        let secrets = secrets(&self.plugin, &self.config).map(|secrets| secrets != *self.parts.secrets);
        let files = self.parts.network.files_changed(&self.config.network);
        [(secrets, "its secrets stay as they were"), (files, "its certificates stay as they were")].into_iter().any(
            |(changed, otherwise)| {
                changed.unwrap_or_else(|reason| {
                    tracing::warn!(provider = %self.parts.status.name, reason, "{otherwise}");
                    false
                })
            },
        )
    }

    /// Whether a task has ended although nobody stopped it; a panic is counted. The provider must then be started
    /// anew.
    pub fn is_broken(&mut self) -> bool {
        let mut broken = false;
        while let Some(ended) = self.tasks.try_join_next() {
            if let Err(error) = ended
                && error.is_panic()
            {
                self.parts.status.metrics.task_panic();
                tracing::error!(provider = %self.parts.status.name, %error, "a task panicked");
            }
            broken = true;
        }
        broken
    }

    /// Closes every connection politely, within bounds, and says in the store why there is no news.
    pub async fn stop(mut self, reason: &str) {
        self.stop.send_replace(true);
        let all = async { while self.tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(STOP_PATIENCE, all).await.is_err() {
            tracing::warn!(provider = %self.parts.status.name, late = self.tasks.len(), "tasks did not stop in time");
            self.tasks.shutdown().await;
        }
        self.parts.status.update(|info| {
            info.connections.clear();
            info.poller = None;
        });
        let writer = self.parts.slots.writer(self.writer);
        for slot in self.parts.slots.table().iter() {
            slot.note(writer, Note::Down, reason, Unless::Rejected);
        }
        self.parts.slots.notify();
    }
}

fn next_writer() -> u64 {
    static WRITERS: AtomicU64 = AtomicU64::new(1);
    WRITERS.fetch_add(1, Ordering::Relaxed)
}

/// The plugin's mirrors, but for those of origins whose mirrors the operator wrote. Whoever sends an origin elsewhere does
/// not want its mirrors in the open instead: of those only the ones that are sent elsewhere, too, remain.
fn described_mirrors(description: &Description, config: &ProviderConfig) -> Vec<(Origin, Vec<Origin>)> {
    let redirected = |origin: &Origin| config.redirect_origins.iter().any(|(from, _)| from == origin);
    let written = |origin: &Origin| config.mirrors.iter().any(|(of, _)| of == origin);
    let mirrors = description.mirrors.iter().filter(|(of, _)| !written(of)).cloned();
    mirrors
        .map(|(of, mut instead)| {
            let is_sent_elsewhere = redirected(&of);
            instead.retain(|origin| !is_sent_elsewhere || redirected(origin));
            (of, instead)
        })
        .collect()
}

/// When the connection of a number starts, of so many: one after another, and never minutes later.
fn stagger(number: usize, of: usize) -> Duration {
    let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    STAGGER.min(LONGEST_STAGGER / count(of).max(1)).saturating_mul(count(number))
}

/// Whether to stream and whether to poll.
fn transports(plugin: &Plugin, config: &ProviderConfig) -> Result<(bool, bool), String> {
    let fit = plugin.fit();
    for transport in &config.transports {
        let (has, name) = match transport {
            Transport::Websocket => (fit.websocket, "websocket"),
            Transport::Http => (fit.http, "http"),
        };
        if !has {
            return Err(format!("transports: the plugin does not speak {name}"));
        }
    }
    if config.transports.is_empty() {
        return Ok((fit.websocket, !fit.websocket && fit.http));
    }
    Ok((config.transports.contains(&Transport::Websocket), config.transports.contains(&Transport::Http)))
}

/// The operator may tighten what the venue allows; loosening it he must say.
fn check_limits(plugin: &Plugin, config: &ProviderConfig) -> Result<(), String> {
    if config.loosen_limits {
        return Ok(());
    }
    let looser = |field: &str, ours: String, theirs: String| {
        Err(format!("{field} = {ours} is beyond the venue's {theirs}; set loosen_limits = true if you know better"))
    };
    let description = plugin.description();
    if let Some(http) = &description.http {
        match config.http.poll_interval {
            Some(ours) if ours < http.poll_interval => {
                let (ours, theirs) = (ours.as_millis(), http.poll_interval.as_millis());
                return looser("http.poll_interval_ms", ours.to_string(), theirs.to_string());
            }
            _ => {}
        }
        match config.http.max_in_flight {
            Some(ours) if ours > http.max_in_flight => {
                return looser("http.max_in_flight", ours.to_string(), http.max_in_flight.to_string());
            }
            _ => {}
        }
    }
    let websocket = description.websocket.as_ref().and_then(|websocket| websocket.ids_per_connection);
    match (config.websocket.ids_per_connection, websocket) {
        (Some(ours), Some(theirs)) if ours > theirs => {
            looser("websocket.ids_per_connection", ours.to_string(), theirs.to_string())
        }
        _ => Ok(()),
    }
}

/// A quiet market trades once a minute; a value that is polled must outlive a poll that fails. Where ids take turns, the
/// poller makes it longer once it knows how many there are.
fn default_max_age(plugin: &Plugin, config: &ProviderConfig) -> Duration {
    let polled = transports(plugin, config).is_ok_and(|(websocket, _)| !websocket);
    let interval = plugin.description().http.as_ref().filter(|_| polled).map(|http| http.poll_interval);
    let interval = interval.map(|theirs| config.http.poll_interval.unwrap_or(theirs));
    DEFAULT_MAX_AGE.max(interval.unwrap_or_default() * 3)
}

fn wanted_ids(plugin: &Plugin, config: &ProviderConfig) -> Result<Vec<(Arc<str>, Duration)>, String> {
    let ids = if config.ids.is_empty() { &plugin.description().default_ids } else { &config.ids };
    if ids.is_empty() {
        return Err("ids: none are configured, and the plugin has no default ids".to_owned());
    }
    // A plugin's own list may name an id twice.
    let max_age = config.max_age.unwrap_or_else(|| default_max_age(plugin, config));
    let ids: BTreeMap<&str, Duration> =
        ids.iter().map(|id| (id.as_str(), config.max_age_by_id.get(id).copied().unwrap_or(max_age))).collect();
    Ok(ids.into_iter().map(|(id, max_age)| (id.into(), max_age)).collect())
}

fn secrets(plugin: &Plugin, config: &ProviderConfig) -> Result<Secrets, String> {
    for secret in &plugin.description().secrets {
        if secret.required && !config.secrets.contains_key(&secret.name) {
            return Err(format!("secrets.{}: the plugin requires it ({})", secret.name, secret.purpose));
        }
    }
    let read = config.secrets.iter().map(|(name, source)| {
        let secret = source.read().map_err(|why| format!("secrets.{name}: {why}"))?;
        Ok((name.clone(), secret))
    });
    read.collect::<Result<_, String>>().map(Secrets::new)
}
