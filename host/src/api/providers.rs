//! Providers on the wire: state, connections, poller, ids by state, outcomes. Times are distances from now in
//! milliseconds, since they come from the monotonic clock.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::observations::{millis, unknown_provider};
use super::refusal::Refusal;
use crate::status::{ConnectionInfo, PollerInfo, ProviderStatus, Status};
use crate::store::{self, Store};

/// Every provider, by name.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Providers {
    pub providers: Vec<Provider>,
}

/// One provider. Also what `feedgate providers` understands.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Provider {
    pub name: String,
    /// A word of [`crate::status::ProviderState`].
    pub state: String,
    /// Why it is not running.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    pub enabled: bool,
    /// The plugin's file, without `.wasm`.
    pub plugin: String,
    /// Absent until the plugin is loaded.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub plugin_version: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub plugin_digest: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// How many ids are in each state; every state is there.
    pub ids: BTreeMap<String, usize>,
    /// Age of the newest value. Absent until there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub newest_age_ms: Option<u64>,
    /// Empty for a provider that polls.
    pub connections: Vec<Connection>,
    /// Absent for a provider that streams.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub poller: Option<Poller>,
    /// What the venue has against us. Absent when nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<Trouble>,
    /// What became of values and ids since the start, by kind.
    pub outcomes: BTreeMap<String, u64>,
}

/// One WebSocket slot across its reconnects.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Connection {
    pub number: usize,
    pub phase: String,
    pub phase_since_ms_ago: u64,
    /// Absent until the plugin gave one.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub url: String,
    pub ids: usize,
    pub unconfirmed: usize,
    pub reconnects: u64,
    pub failures: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_end: Option<End>,
    /// Absent when none is planned; 0 when it is due.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_attempt_in_ms: Option<u64>,
    /// The phase of the connection that is to take this one's place. Absent when there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub successor: Option<String>,
}

/// What a venue has against us.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Trouble {
    /// A word of [`crate::status::Trouble`].
    pub what: String,
    pub reason: String,
    pub since_ms_ago: u64,
}

/// How a connection or an attempt ended.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct End {
    pub reason: String,
    pub ms_ago: u64,
}

/// The polls of a provider.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Poller {
    pub polls: u64,
    /// Polls in a row that failed.
    pub failures: u32,
    /// Absent before the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_poll_ms_ago: Option<u64>,
    /// Absent when none is planned; 0 when it is due.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_poll_in_ms: Option<u64>,
    /// Why the last poll failed.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub last_error: String,
    /// A word of [`crate::logic::schedule::Circuit`].
    pub circuit: String,
    /// How long it takes to ask for every id once. Absent before the first poll.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cycle_ms: Option<u64>,
}

impl Provider {
    fn new(provider: &ProviderStatus, store: &Store) -> Self {
        let info = provider.info();
        let mut ids: BTreeMap<String, usize> =
            store::State::ALL.into_iter().map(|state| (state.as_str().to_owned(), 0)).collect();
        let readings = store.read_provider(&provider.name).unwrap_or_default();
        for reading in &readings {
            *ids.entry(reading.state.as_str().to_owned()).or_default() += 1;
        }
        let newest = readings.iter().filter_map(|reading| Some(reading.held.as_ref()?.age)).min();
        let now = Instant::now();
        Self {
            name: provider.name.to_string(),
            state: info.state.as_str().to_owned(),
            reason: info.reason,
            enabled: info.enabled,
            plugin: info.plugin,
            plugin_version: info.plugin_version,
            plugin_digest: info.plugin_digest,
            kind: info.kind.map(|kind| kind.as_str().to_owned()),
            ids,
            newest_age_ms: newest.map(millis),
            connections: info.connections.into_iter().map(|(number, it)| Connection::new(number, it, now)).collect(),
            poller: info.poller.map(|poller| Poller::new(poller, now)),
            trouble: info.trouble.map(|(trouble, since, reason)| Trouble {
                what: trouble.as_str().to_owned(),
                reason,
                since_ms_ago: ago(since, now),
            }),
            outcomes: provider.metrics.outcomes().map(|(outcome, count)| (outcome.to_owned(), count)).collect(),
        }
    }
}

impl Connection {
    fn new(number: usize, info: ConnectionInfo, now: Instant) -> Self {
        let end = |(reason, at)| End { reason, ms_ago: ago(at, now) };
        Self {
            number,
            phase: info.phase.to_owned(),
            phase_since_ms_ago: ago(info.since, now),
            url: info.url,
            ids: info.ids,
            unconfirmed: info.unconfirmed,
            reconnects: info.reconnects,
            failures: info.failures,
            last_end: info.last_end.map(end),
            next_attempt_in_ms: info.next_attempt.map(|at| until(at, now)),
            successor: info.successor.map(str::to_owned),
        }
    }
}

impl Poller {
    fn new(info: PollerInfo, now: Instant) -> Self {
        Self {
            polls: info.polls,
            failures: info.failures,
            last_poll_ms_ago: info.last_poll.map(|at| ago(at, now)),
            next_poll_in_ms: info.next_poll.map(|at| until(at, now)),
            last_error: info.last_error,
            circuit: info.circuit.as_str().to_owned(),
            cycle_ms: info.cycle.map(millis),
        }
    }
}

fn ago(at: Instant, now: Instant) -> u64 {
    millis(now.saturating_duration_since(at))
}

fn until(at: Instant, now: Instant) -> u64 {
    millis(at.saturating_duration_since(now))
}

pub(super) async fn all(State(store): State<Arc<Store>>, State(status): State<Arc<Status>>) -> Json<Providers> {
    let providers = status.providers().iter().map(|provider| Provider::new(provider, &store)).collect();
    Json(Providers { providers })
}

pub(super) async fn one(
    State(store): State<Arc<Store>>,
    State(status): State<Arc<Status>>,
    path: Result<Path<String>, PathRejection>,
) -> Result<Json<Provider>, Refusal> {
    let Path(name) = path?;
    match status.find(&name) {
        Some(provider) => Ok(Json(Provider::new(&provider, &store))),
        None => Err(unknown_provider(&status, &name)),
    }
}
