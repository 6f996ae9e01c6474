//! What the daemon says of itself and is told: providers, plugins, the configuration, counters, commands.
//!
//! Data and the locks around it; written by whoever does the work, read by `api/`. Nothing here decides, and values are not
//! here: they are in the store.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

use crate::store::Store;

mod config;
pub mod control;
pub mod metrics;
mod plugin;
mod provider;
mod trouble;

pub use self::config::ConfigStatus;
use self::metrics::Metrics;
pub use self::plugin::{BuildInfo, LoadedPlugin, PluginStatus};
pub use self::provider::{ConnectionInfo, PollerInfo, ProviderInfo, ProviderState, ProviderStatus};
pub use self::trouble::Trouble;

/// What can be read of the daemon itself. One for the process.
#[derive(Debug)]
pub struct Status {
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
        Arc::new(ProviderStatus::new(name, self.metrics.provider(name)))
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

    /// Every metric, in the text format, with the gauges that follow the store brought up to date.
    pub fn render_metrics(&self, store: &Store) -> String {
        let providers = self.providers().into_iter();
        let trouble = |provider: Arc<ProviderStatus>| {
            let trouble = provider.look(|info| info.trouble.as_ref().map(|(trouble, ..)| *trouble));
            Some((provider.name.clone(), trouble?))
        };
        self.metrics.render(store, &providers.filter_map(trouble).collect::<Vec<_>>(), &self.plugins())
    }

    /// Forgets a provider that is no longer configured. Its values are the store's to forget.
    pub fn remove_provider(&self, name: &str) {
        lock(&self.providers).remove(name);
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
    pub fn not_ready(&self, store: &Store) -> Vec<(String, String)> {
        let starting = (!self.settled.load(Ordering::Relaxed))
            .then(|| ("feedgate".to_owned(), "the files of the start are still being read".to_owned()));
        let missing = self.providers().into_iter().filter_map(|provider| {
            let info = provider.info();
            let slots = store.find(&provider.name);
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

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
