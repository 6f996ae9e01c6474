//! What the daemon says of itself: providers, connections, pollers, plugins, the configuration. Data and the locks
//! around it; written by whoever does the work, read by `api/`.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::contract::observation::{UnixNanos, ValueKind};
use crate::logic::schedule::Circuit;
use crate::store::Store;

pub mod control;
pub mod metrics;

use self::control::ReloadReport;
use self::metrics::{Metrics, ProviderMetrics};

/// Everything that can be read from outside. One for the process.
#[derive(Debug)]
pub struct Status {
    pub store: Store,
    pub metrics: Arc<Metrics>,
    pub started: Instant,
    providers: Mutex<BTreeMap<String, Arc<ProviderStatus>>>,
    plugins: Mutex<BTreeMap<String, PluginStatus>>,
    config: Mutex<ConfigStatus>,
    /// Whether every file that lay there at the start was dealt with.
    settled: AtomicBool,
}

impl Default for Status {
    fn default() -> Self {
        Self {
            store: Store::default(),
            metrics: Arc::default(),
            started: Instant::now(),
            providers: Mutex::default(),
            plugins: Mutex::default(),
            config: Mutex::default(),
            settled: AtomicBool::new(false),
        }
    }
}

impl Status {
    /// The provider's status, made if it does not exist.
    pub fn provider(&self, name: &str) -> Arc<ProviderStatus> {
        lock(&self.providers).entry(name.to_owned()).or_insert_with(|| self.detached(name)).clone()
    }

    /// The status of a provider that does not serve yet: nobody reads it before [`Status::install`].
    pub fn detached(&self, name: &str) -> Arc<ProviderStatus> {
        let metrics = self.metrics.provider(name);
        Arc::new(ProviderStatus { name: name.into(), metrics, info: Mutex::new(ProviderInfo::default()) })
    }

    /// Makes this the provider's status. What the configuration says of it stays as it was.
    pub fn install(&self, status: Arc<ProviderStatus>) {
        let before = self.provider(&status.name).info();
        status.update(|info| {
            info.state = before.state;
            info.enabled = before.enabled;
            info.reason = before.reason;
            info.plugin = before.plugin;
            info.plugin_version = before.plugin_version;
            info.plugin_digest = before.plugin_digest;
        });
        lock(&self.providers).insert(status.name.to_string(), status);
    }

    /// The provider's status, if it is known.
    pub fn find(&self, name: &str) -> Option<Arc<ProviderStatus>> {
        lock(&self.providers).get(name).cloned()
    }

    pub fn providers(&self) -> Vec<Arc<ProviderStatus>> {
        lock(&self.providers).values().cloned().collect()
    }

    /// Every metric, in the text format.
    pub fn render_metrics(&self) -> String {
        let providers = self.providers().into_iter();
        let trouble = |provider: Arc<ProviderStatus>| {
            let trouble = provider.look(|info| info.trouble.as_ref().map(|(trouble, ..)| *trouble));
            Some((provider.name.clone(), trouble?))
        };
        self.metrics.render(&self.store, &providers.filter_map(trouble).collect::<Vec<_>>(), &self.plugins())
    }

    /// Forgets a provider that is no longer configured, its values included.
    pub fn remove_provider(&self, name: &str) {
        lock(&self.providers).remove(name);
        self.store.remove(name);
        self.metrics.forget_gauges(name);
    }

    /// Keeps or, with `None`, forgets what is known of a plugin file.
    pub fn set_plugin(&self, stem: &str, plugin: Option<PluginStatus>) {
        let mut plugins = lock(&self.plugins);
        match plugin {
            Some(plugin) => drop(plugins.insert(stem.to_owned(), plugin)),
            None => drop(plugins.remove(stem)),
        }
    }

    pub fn plugins(&self) -> Vec<(String, PluginStatus)> {
        lock(&self.plugins).iter().map(|(stem, plugin)| (stem.clone(), plugin.clone())).collect()
    }

    pub fn set_config(&self, config: ConfigStatus) {
        *lock(&self.config) = config;
    }

    pub fn config(&self) -> ConfigStatus {
        lock(&self.config).clone()
    }

    /// Every file that lay there at the start was dealt with: all providers are known.
    pub fn set_settled(&self) {
        self.settled.store(true, Ordering::Relaxed);
    }

    /// The enabled providers that have not been fresh yet, each with a reason. Ready when empty.
    pub fn not_ready(&self) -> Vec<(String, String)> {
        let starting = (!self.settled.load(Ordering::Relaxed))
            .then(|| ("feedgate".to_owned(), "the files of the start are still being read".to_owned()));
        let missing = self.providers().into_iter().filter_map(|provider| {
            let info = provider.info();
            let slots = self.store.find(&provider.name);
            if !info.enabled || slots.as_ref().is_some_and(|slots| slots.was_fresh()) {
                return None;
            }
            let reason = if info.reason.is_empty() {
                let readings = slots.map(|slots| slots.read_all()).unwrap_or_default();
                readings.into_iter().map(|r| r.reason.to_string()).find(|reason| !reason.is_empty())
            } else {
                Some(info.reason)
            };
            Some((provider.name.to_string(), reason.unwrap_or_else(|| "no fresh value yet".to_owned())))
        });
        starting.into_iter().chain(missing).collect()
    }
}

/// One provider.
#[derive(Debug)]
pub struct ProviderStatus {
    pub name: Arc<str>,
    pub metrics: ProviderMetrics,
    info: Mutex<ProviderInfo>,
}

impl ProviderStatus {
    pub fn info(&self) -> ProviderInfo {
        self.look(ProviderInfo::clone)
    }

    /// Looks at it where it is: a provider of many connections is long to copy.
    pub fn look<T>(&self, look: impl FnOnce(&ProviderInfo) -> T) -> T {
        look(&lock(&self.info))
    }

    /// What its values are, once a codec was opened.
    pub fn kind(&self) -> Option<ValueKind> {
        self.look(|info| info.kind)
    }

    /// The venue has something against us.
    pub fn set_trouble(&self, trouble: Trouble, words: &str) {
        self.update(|info| {
            let since = match &info.trouble {
                Some((before, since, _)) if *before == trouble => *since,
                _ => Instant::now(),
            };
            info.trouble = Some((trouble, since, words.to_owned()));
        });
    }

    /// The venue serves.
    pub fn clear_trouble(&self) {
        self.update(|info| info.trouble = None);
    }

    pub fn update(&self, change: impl FnOnce(&mut ProviderInfo)) {
        change(&mut lock(&self.info));
    }
}

/// What a provider is doing.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub enum ProviderState {
    /// Its plugin is not there, or not loaded yet.
    #[default]
    WaitingForPlugin,
    Running,
    /// Switched off by the configuration.
    Disabled,
    /// It cannot run; the reason says why. Changes with the configuration or the plugin.
    Failed,
}

impl ProviderState {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::WaitingForPlugin => "waiting-for-plugin",
            Self::Running => "running",
            Self::Disabled => "disabled",
            Self::Failed => "failed",
        }
    }
}

/// What a venue has against us. Shown until it serves again.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Trouble {
    /// 451: not from this country.
    GeoBlocked,
    /// 401 and 403: a key, a block, or a country again.
    Forbidden,
    /// 418: too many requests after a warning.
    Banned,
    /// 429, or in the plugin's words.
    RateLimited,
    /// 503, or in the plugin's words.
    Maintenance,
}

impl Trouble {
    pub const ALL: [Self; 5] = [Self::GeoBlocked, Self::Forbidden, Self::Banned, Self::RateLimited, Self::Maintenance];

    /// The word used in every output.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::GeoBlocked => "geo-blocked",
            Self::Forbidden => "forbidden",
            Self::Banned => "banned",
            Self::RateLimited => "rate-limited",
            Self::Maintenance => "maintenance",
        }
    }
}

#[derive(Clone, Debug, Default)]
pub struct ProviderInfo {
    pub state: ProviderState,
    pub enabled: bool,
    /// Why it is not running; empty when it is.
    pub reason: String,
    /// The plugin's file, without `.wasm`.
    pub plugin: String,
    pub plugin_version: String,
    pub plugin_digest: String,
    /// What its values are, once a codec was opened.
    pub kind: Option<ValueKind>,
    /// By their number, from 0.
    pub connections: BTreeMap<usize, ConnectionInfo>,
    pub poller: Option<PollerInfo>,
    /// What the venue has against us, since when, and in which words. `None`: nothing.
    pub trouble: Option<(Trouble, Instant, String)>,
}

#[derive(Clone, Debug)]
pub struct ConnectionInfo {
    /// `waiting`, `connecting`, `open`, `idle`, `closing`, `stopped`.
    pub phase: &'static str,
    /// Since when it is in this phase.
    pub since: Instant,
    /// As the plugin wrote it, without its query: a token may stand there.
    pub url: String,
    pub ids: usize,
    /// Ids asked for and not yet confirmed by the venue.
    pub unconfirmed: usize,
    pub reconnects: u64,
    /// Attempts in a row that failed.
    pub failures: u32,
    /// How the last connection or attempt ended.
    pub last_end: Option<(String, Instant)>,
    pub next_attempt: Option<Instant>,
    /// The phase of the connection that is to take this one's place, while there is one.
    pub successor: Option<&'static str>,
}

#[derive(Clone, Debug, Default)]
pub struct PollerInfo {
    pub polls: u64,
    pub failures: u32,
    pub last_poll: Option<Instant>,
    pub next_poll: Option<Instant>,
    /// Why the last poll failed; empty when it did not.
    pub last_error: String,
    pub circuit: Circuit,
    /// How long it takes to ask for every id once. `None` before the first plan.
    pub cycle: Option<Duration>,
}

/// One plugin file.
#[derive(Clone, Debug, Default)]
pub struct PluginStatus {
    /// Of the build that runs; `None` when no good one was seen.
    pub loaded: Option<LoadedPlugin>,
    /// Why the file that lies there now was refused; empty when it was not.
    pub error: String,
    /// The providers that use it. None: it is idle.
    pub providers: Vec<String>,
    /// What is known of the builds seen under this name, newest first.
    pub builds: Vec<BuildInfo>,
    /// The digest of the only build that may run, where the operator said so.
    pub pinned: Option<String>,
}

/// One build of a plugin, by its file's content.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BuildInfo {
    pub digest: String,
    pub version: String,
    /// The word for how it stands; see `logic::builds`.
    pub standing: &'static str,
    /// Why it stands so, in words; empty when there is nothing to say.
    pub reason: String,
    /// Since when it stands so.
    pub since: UnixNanos,
    /// How often an instance of it died.
    pub faults: u64,
}

#[derive(Clone, Debug)]
pub struct LoadedPlugin {
    pub name: String,
    pub version: String,
    pub summary: String,
    pub digest: String,
    pub size: usize,
    pub http: bool,
    pub websocket: bool,
    pub loaded_at: UnixNanos,
}

#[derive(Clone, Debug, Default)]
pub struct ConfigStatus {
    pub path: String,
    pub loaded_at: Option<UnixNanos>,
    /// Why the last change was refused; empty when it was not.
    pub error: String,
    /// What came of the last reload. `None` before the first.
    pub last_reload: Option<ReloadReport>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
