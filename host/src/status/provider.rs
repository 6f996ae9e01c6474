//! What one provider is doing: its connections, its poller, its counters. Written by its own tasks and by the supervisor.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::metrics::ProviderMetrics;
use super::trouble::Trouble;
use crate::contract::observation::ValueKind;
use crate::logic::schedule::Circuit;

/// One provider.
#[derive(Debug)]
pub struct ProviderStatus {
    pub name: Arc<str>,
    pub metrics: ProviderMetrics,
    info: Mutex<ProviderInfo>,
}

impl ProviderStatus {
    /// Of a provider that has done nothing yet.
    pub fn new(name: &str, metrics: ProviderMetrics) -> Self {
        Self { name: name.into(), metrics, info: Mutex::default() }
    }

    pub fn info(&self) -> ProviderInfo {
        self.look(ProviderInfo::clone)
    }

    /// Looks at it where it is: a provider of many connections is long to copy.
    pub fn look<T>(&self, look: impl FnOnce(&ProviderInfo) -> T) -> T {
        look(&self.lock())
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
        change(&mut self.lock());
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

impl ProviderStatus {
    fn lock(&self) -> MutexGuard<'_, ProviderInfo> {
        self.info.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
