//! Counters, as Prometheus reads them. Every label has a bounded set of values: providers by name, causes and results
//! by the words of their enums. Ids are labels only of the gauges that tell of every id; those are made anew for each
//! answer, so an id that is gone leaves nothing behind.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::plugin::PluginStatus;
use super::trouble::Trouble;
use crate::logic::probation::Counts;
use crate::logic::schedule::Circuit;
use crate::store::{State, Store};

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct Provider {
    provider: String,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct WithCause {
    provider: String,
    cause: &'static str,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct WithState {
    provider: String,
    state: &'static str,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct WithCall {
    provider: String,
    call: &'static str,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct WithStage {
    provider: String,
    stage: &'static str,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct WithId {
    provider: String,
    id: String,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct IdInfo {
    provider: String,
    id: String,
    state: &'static str,
    /// Empty where it would change from one reading to the next: the age is a gauge of its own.
    reason: String,
    subscription: &'static str,
    connection: String,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct WithTrouble {
    provider: String,
    trouble: &'static str,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct WithBuild {
    plugin: String,
    build: String,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct BuildLabels {
    plugin: String,
    build: String,
    version: String,
    standing: &'static str,
    reason: String,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct WithResult {
    result: &'static str,
}

/// What became of one value, or of one id in an answer.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
#[repr(usize)]
pub enum Outcome {
    Observed,
    Unchanged,
    /// Older than what is held.
    Older,
    /// Held already.
    Duplicate,
    Unresolved,
    Rejected,
    /// A frame or an answer that the plugin could not read.
    Malformed,
    /// A value that the host cannot use: no number, an absurd time.
    Unusable,
    /// For a key that nobody asked for.
    UnknownKey,
    /// Messages that never arrived, each counted.
    Missed,
}

const OUTCOMES: [&str; 10] = [
    "observed",
    "unchanged",
    "older",
    "duplicate",
    "unresolved",
    "rejected",
    "malformed",
    "unusable",
    "unknown-key",
    "missed",
];

/// Where the time of batches of frames went: those that were timed, added up.
#[derive(Copy, Clone, PartialEq, Eq, Default, Debug)]
pub struct StageTimes {
    pub frames: u64,
    /// Reading them off the socket: the system's calls, TLS, frames taken apart.
    pub socket: Duration,
    /// Decompressing, and recording for the next build to be tried on.
    pub unpack: Duration,
    /// The plugin's call, with what it costs to hand frames in and events out.
    pub plugin: Duration,
    /// From events to values that can be read.
    pub store: Duration,
}

const STAGES: [&str; 4] = ["socket", "unpack", "plugin", "store"];

/// Which export was called.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
#[repr(usize)]
pub enum Call {
    Open,
    Connect,
    Subscribe,
    Heartbeat,
    HandleMessages,
    CreateRequests,
    ParseResponse,
}

const CALLS: [&str; 7] =
    ["open", "connect", "subscribe", "heartbeat", "handle-messages", "create-requests", "parse-response"];

/// From 1 µs to 1 s: a parse of one frame takes one or two, a configure of an interpreter tens of thousands.
const CALL_BUCKETS: [f64; 13] =
    [0.000_001, 0.000_002, 0.000_005, 0.000_01, 0.000_025, 0.000_05, 0.000_1, 0.000_5, 0.001, 0.005, 0.025, 0.1, 1.0];

/// Every metric of the process.
pub struct Metrics {
    registry: Registry,
    connections_open: Family<Provider, Gauge>,
    connects: Family<Provider, Counter>,
    disconnects: Family<WithCause, Counter>,
    frames_received: Family<Provider, Counter>,
    bytes_received: Family<Provider, Counter>,
    frames_sent: Family<Provider, Counter>,
    requests: Family<WithCause, Counter>,
    polls: Family<WithCause, Counter>,
    poll_circuit: Family<Provider, Gauge>,
    outcomes: Family<WithCause, Counter>,
    calls: Family<WithCall, Histogram, fn() -> Histogram>,
    stages: Family<WithStage, Counter<f64, AtomicU64>>,
    timed_frames: Family<Provider, Counter>,
    deaths: Family<WithCause, Counter>,
    ids: Family<WithState, Gauge>,
    newest_age: Family<Provider, Gauge<f64, AtomicU64>>,
    plugin_loads: Family<WithResult, Counter>,
    config_reloads: Family<WithResult, Counter>,
    task_panics: Counter,
    clock_jumps: Counter,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics")
    }
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("feedgate");
        let calls: Family<WithCall, Histogram, fn() -> Histogram> =
            Family::new_with_constructor(|| Histogram::new(CALL_BUCKETS));
        let metrics = Self {
            connections_open: Family::default(),
            connects: Family::default(),
            disconnects: Family::default(),
            frames_received: Family::default(),
            bytes_received: Family::default(),
            frames_sent: Family::default(),
            requests: Family::default(),
            polls: Family::default(),
            poll_circuit: Family::default(),
            outcomes: Family::default(),
            calls,
            stages: Family::default(),
            timed_frames: Family::default(),
            deaths: Family::default(),
            ids: Family::default(),
            newest_age: Family::default(),
            plugin_loads: Family::default(),
            config_reloads: Family::default(),
            task_panics: Counter::default(),
            clock_jumps: Counter::default(),
            registry: Registry::default(),
        };
        let r = &mut registry;
        r.register("connections_open", "WebSocket connections that are open", metrics.connections_open.clone());
        r.register("connects", "WebSocket connections that were opened", metrics.connects.clone());
        r.register(
            "disconnects",
            "WebSocket connections and attempts that ended, by cause",
            metrics.disconnects.clone(),
        );
        r.register("frames_received", "WebSocket messages received", metrics.frames_received.clone());
        r.register("bytes_received", "Payload bytes received", metrics.bytes_received.clone());
        r.register("frames_sent", "WebSocket messages sent", metrics.frames_sent.clone());
        r.register("requests", "HTTP requests, by result", metrics.requests.clone());
        r.register("polls", "Polls, by result", metrics.polls.clone());
        r.register(
            "poll_circuit",
            "0: polls send all they have; 1: one request is on trial; 2: too many polls failed",
            metrics.poll_circuit.clone(),
        );
        r.register("outcomes", "What became of values and ids, by kind", metrics.outcomes.clone());
        r.register("plugin_call_seconds", "Time in plugin calls; handle-messages is sampled", metrics.calls.clone());
        r.register(
            "stage_seconds",
            "Where the time of timed frames went, one batch in sixteen: socket, unpack, plugin, store",
            metrics.stages.clone(),
        );
        r.register("timed_frames", "The frames that stage_seconds is about", metrics.timed_frames.clone());
        r.register("plugin_deaths", "Plugin instances that died, by cause", metrics.deaths.clone());
        r.register("ids", "Ids by state", metrics.ids.clone());
        r.register("newest_age_seconds", "Age of the provider's newest value", metrics.newest_age.clone());
        r.register("plugin_loads", "Plugin files that were loaded or refused", metrics.plugin_loads.clone());
        r.register("config_reloads", "Configurations that were applied or refused", metrics.config_reloads.clone());
        r.register("task_panics", "Tasks of the host that panicked", metrics.task_panics.clone());
        r.register("clock_jumps", "Times that the wall clock jumped by a second or more", metrics.clock_jumps.clone());
        Self { registry, ..metrics }
    }
}

impl Metrics {
    /// One provider's counters, found once so that the message path looks nothing up.
    pub fn provider(self: &Arc<Self>, name: &str) -> ProviderMetrics {
        let provider = || Provider { provider: name.to_owned() };
        ProviderMetrics {
            all: self.clone(),
            name: name.into(),
            connections_open: self.connections_open.get_or_create_owned(&provider()),
            connects: self.connects.get_or_create_owned(&provider()),
            frames_received: self.frames_received.get_or_create_owned(&provider()),
            bytes_received: self.bytes_received.get_or_create_owned(&provider()),
            frames_sent: self.frames_sent.get_or_create_owned(&provider()),
            outcomes: OUTCOMES
                .map(|cause| self.outcomes.get_or_create_owned(&WithCause { provider: name.to_owned(), cause })),
            calls: CALLS.map(|call| self.calls.get_or_create_owned(&WithCall { provider: name.to_owned(), call })),
            stages: STAGES
                .map(|stage| self.stages.get_or_create_owned(&WithStage { provider: name.to_owned(), stage })),
            timed_frames: self.timed_frames.get_or_create_owned(&provider()),
            own: Arc::default(),
        }
    }

    /// Drops what is kept of a provider that is no longer configured.
    pub fn forget_gauges(&self, name: &str) {
        let provider = Provider { provider: name.to_owned() };
        self.newest_age.remove(&provider);
        self.connections_open.remove(&provider);
        self.poll_circuit.remove(&provider);
        for state in State::ALL {
            self.ids.remove(&WithState { provider: name.to_owned(), state: state.as_str() });
        }
    }

    pub fn plugin_load(&self, good: bool) {
        self.plugin_loads.get_or_create(&WithResult { result: if good { "loaded" } else { "refused" } }).inc();
    }

    pub fn config_reload(&self, good: bool) {
        self.config_reloads.get_or_create(&WithResult { result: if good { "applied" } else { "refused" } }).inc();
    }

    pub fn task_panic(&self) {
        self.task_panics.inc();
    }

    pub fn clock_jump(&self) {
        self.clock_jumps.inc();
    }

    /// The text format, with the gauges that follow the store brought up to date.
    /// `troubles`: what venues have against us, by provider; `plugins`: what is known of their builds, by file.
    pub fn render(
        &self,
        store: &Store,
        troubles: &[(Arc<str>, Trouble)],
        plugins: &[(String, PluginStatus)],
    ) -> String {
        let troubles = every_trouble(troubles);
        let builds = every_build(plugins);
        for slots in store.providers() {
            let provider = slots.name().to_string();
            if let Some(age) = slots.newest_age() {
                self.newest_age.get_or_create(&Provider { provider: provider.clone() }).set(age.as_secs_f64());
            }
            let readings = slots.read_all();
            for state in State::ALL {
                let count = readings.iter().filter(|reading| reading.state == state).count();
                self.ids
                    .get_or_create(&WithState { provider: provider.clone(), state: state.as_str() })
                    .set(i64::try_from(count).unwrap_or(i64::MAX));
            }
        }
        let mut text = String::new();
        // Writing into a string cannot fail.
        let _ = encode_registry(&mut text, &self.registry)
            .and_then(|()| encode_registry(&mut text, &every_id(store)))
            .and_then(|()| encode_registry(&mut text, &troubles))
            .and_then(|()| encode_registry(&mut text, &builds))
            .and_then(|()| encode_eof(&mut text));
        text
    }
}

/// What is known of each id, for this answer.
fn every_id(store: &Store) -> Registry {
    let info: Family<IdInfo, Gauge> = Family::default();
    let age: Family<WithId, Gauge<f64, AtomicU64>> = Family::default();
    let sequence: Family<WithId, Gauge<u64, AtomicU64>> = Family::default();
    let missed: Family<WithId, Gauge<u64, AtomicU64>> = Family::default();
    for reading in store.read_all() {
        let id = || WithId { provider: reading.provider.to_string(), id: reading.id.to_string() };
        let changes = matches!(reading.state, State::Fresh | State::Stale);
        let subscription = reading.carrier.and_then(|carrier| carrier.subscription);
        info.get_or_create(&IdInfo {
            provider: reading.provider.to_string(),
            id: reading.id.to_string(),
            state: reading.state.as_str(),
            reason: if changes { String::new() } else { reading.reason.to_string() },
            subscription: subscription.map_or("", |subscription| subscription.as_str()),
            connection: reading.carrier.map_or_else(String::new, |carrier| carrier.connection.to_string()),
        })
        .set(1);
        if let Some(held) = &reading.held {
            age.get_or_create(&id()).set(held.age.as_secs_f64());
            if let Some(number) = held.sequence {
                sequence.get_or_create(&id()).set(number);
            }
        }
        if reading.missed > 0 {
            missed.get_or_create(&id()).set(reading.missed);
        }
    }
    let mut registry = Registry::with_prefix("feedgate");
    registry.register("id", "Every id: state, reason, subscription and connection", info);
    registry.register("id_age_seconds", "How long ago the id's value was last known to be true", age);
    registry.register("id_sequence", "The venue's last number of the id", sequence);
    registry.register("id_missed", "Messages of the id that never arrived, by the venue's numbers", missed);
    registry
}

/// What venues have against us, for this answer.
fn every_trouble(troubles: &[(Arc<str>, Trouble)]) -> Registry {
    let family: Family<WithTrouble, Gauge> = Family::default();
    for (provider, trouble) in troubles {
        family.get_or_create(&WithTrouble { provider: provider.to_string(), trouble: trouble.as_str() }).set(1);
    }
    let mut registry = Registry::with_prefix("feedgate");
    registry.register("trouble", "What the provider's venue has against us", family);
    registry
}

/// How the builds of each plugin stand, for this answer. A plugin's builds are a bounded number.
fn every_build(plugins: &[(String, PluginStatus)]) -> Registry {
    let info: Family<BuildLabels, Gauge> = Family::default();
    let faults: Family<WithBuild, Gauge<u64, AtomicU64>> = Family::default();
    for (plugin, status) in plugins {
        for build in &status.builds {
            let (plugin, digest) = (plugin.clone(), build.digest.clone());
            faults.get_or_create(&WithBuild { plugin: plugin.clone(), build: digest.clone() }).set(build.faults);
            let (version, reason) = (build.version.clone(), build.reason.clone());
            let labels = BuildLabels { plugin, build: digest, version, standing: build.standing, reason };
            info.get_or_create(&labels).set(1);
        }
    }
    let mut registry = Registry::with_prefix("feedgate");
    registry.register("plugin_build", "Every build seen of a plugin: how it stands and why", info);
    registry.register("plugin_build_faults", "How often an instance of the build died", faults);
    registry
}

/// One provider's counters.
#[derive(Clone, Debug)]
pub struct ProviderMetrics {
    all: Arc<Metrics>,
    name: Arc<str>,
    pub connections_open: Gauge,
    pub connects: Counter,
    pub frames_received: Counter,
    pub bytes_received: Counter,
    pub frames_sent: Counter,
    outcomes: [Counter; OUTCOMES.len()],
    calls: [Histogram; CALLS.len()],
    stages: [Counter<f64, AtomicU64>; STAGES.len()],
    timed_frames: Counter,
    own: Arc<Own>,
}

/// Of one run of a provider, while the counters above go on over all.
#[derive(Default, Debug)]
struct Own {
    parses: AtomicU64,
    parsing_ns: AtomicU64,
    deaths: AtomicU64,
}

impl ProviderMetrics {
    /// A task of it panicked.
    pub fn task_panic(&self) {
        self.all.task_panic();
    }

    pub fn outcome(&self, outcome: Outcome) {
        self.outcomes[outcome as usize].inc();
    }

    /// As often as `count` says.
    pub fn outcomes_inc(&self, outcome: Outcome, count: u64) {
        self.outcomes[outcome as usize].inc_by(count);
    }

    /// Every kind of outcome with its count, for the API.
    pub fn outcomes(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        OUTCOMES.into_iter().zip(self.outcomes.iter().map(Counter::get))
    }

    pub fn call(&self, call: Call, took: std::time::Duration) {
        self.calls[call as usize].observe(took.as_secs_f64());
        if matches!(call, Call::HandleMessages | Call::ParseResponse) {
            let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
            self.own.parses.fetch_add(1, Ordering::Relaxed);
            self.own.parsing_ns.fetch_add(nanos, Ordering::Relaxed);
        }
    }

    /// Adds the times of one batch.
    pub fn stages(&self, times: &StageTimes) {
        self.timed_frames.inc_by(times.frames);
        for (counter, time) in self.stages.iter().zip([times.socket, times.unpack, times.plugin, times.store]) {
            counter.inc_by(time.as_secs_f64());
        }
    }

    /// All times since the start.
    pub fn stage_times(&self) -> StageTimes {
        let [socket, unpack, plugin, store] = [0, 1, 2, 3].map(|at| Duration::from_secs_f64(self.stages[at].get()));
        StageTimes { frames: self.timed_frames.get(), socket, unpack, plugin, store }
    }

    /// What tells a build that is worse from the one before it: values over all runs, calls and deaths of this one.
    pub fn counts(&self) -> Counts {
        let outcomes = |kinds: &[Outcome]| kinds.iter().map(|kind| self.outcomes[*kind as usize].get()).sum();
        let own = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counts {
            good: outcomes(&[Outcome::Observed, Outcome::Unchanged, Outcome::Older, Outcome::Duplicate]),
            bad: outcomes(&[
                Outcome::Unresolved,
                Outcome::Rejected,
                Outcome::Malformed,
                Outcome::Unusable,
                Outcome::UnknownKey,
            ]),
            calls: own(&self.own.parses),
            busy: Duration::from_nanos(own(&self.own.parsing_ns)),
            faults: own(&self.own.deaths),
        }
    }

    pub fn disconnect(&self, cause: &'static str) {
        self.with_cause(&self.all.disconnects, cause);
    }

    pub fn request(&self, result: &'static str) {
        self.with_cause(&self.all.requests, result);
    }

    pub fn poll(&self, result: &'static str) {
        self.with_cause(&self.all.polls, result);
    }

    pub fn poll_circuit(&self, circuit: Circuit) {
        let number = Circuit::ALL.iter().position(|state| *state == circuit).unwrap_or_default();
        let provider = Provider { provider: self.name.to_string() };
        self.all.poll_circuit.get_or_create(&provider).set(i64::try_from(number).unwrap_or_default());
    }

    pub fn death(&self, cause: &'static str) {
        self.own.deaths.fetch_add(1, Ordering::Relaxed);
        self.with_cause(&self.all.deaths, cause);
    }

    fn with_cause(&self, family: &Family<WithCause, Counter>, cause: &'static str) {
        family.get_or_create(&WithCause { provider: self.name.to_string(), cause }).inc();
    }
}
