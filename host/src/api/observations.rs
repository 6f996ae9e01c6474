//! Observations on the wire, and the three ways to ask for them.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, RawQuery, State};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use super::query::Filter;
use super::refusal::{Refusal, echo, existing};
use crate::contract::observation::{self, ValueKind};
use crate::status::Status;
use crate::store::{ProviderSlots, Reading, Store, wall_clock};

/// One id, read. Also what `feedgate get` and `watch` understand.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Observation {
    pub provider: String,
    pub id: String,
    /// A word of [`crate::store::State`].
    pub state: String,
    /// Why it is not fresh.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// Absent until the first one, as is all that belongs to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<Value>,
    /// What the provider's values are. Absent while its plugin has not been opened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// When the venue says that it was true. Absent where the venue does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_at: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub received_at: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub age_ms: Option<u64>,
    pub max_age_ms: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sequence: Option<u64>,
    /// The number of the connection that carries it. Absent for an id that is polled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connection: Option<usize>,
    /// A word of [`crate::logic::session::Subscription`]. Absent until it was asked for on this connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subscription: Option<String>,
    /// Messages since the start that never arrived, by the venue's numbers; that were older than what was held; that
    /// were held already. Absent when there were none.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub missed: u64,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub older: u64,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub duplicate: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde wants it so")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// A value. Its JSON type says what it is; numbers are strings, since JSON readers round.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Value {
    /// A decimal in plain notation, or a text.
    Text(String),
    Flag(bool),
    Bytes {
        b64: String,
    },
}

/// Some observations, and the wall clock's time when they were read.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Observations {
    pub observations: Vec<Observation>,
    pub now: String,
}

impl Observation {
    /// `kind` is the provider's.
    pub fn new(reading: &Reading, kind: Option<ValueKind>) -> Self {
        let held = reading.held.as_ref();
        Self {
            provider: reading.provider.to_string(),
            id: reading.id.to_string(),
            state: reading.state.as_str().to_owned(),
            reason: reading.reason.to_string(),
            value: held.map(|held| Value::new(&held.value)),
            kind: kind.map(|kind| kind.as_str().to_owned()),
            observed_at: held.and_then(|held| held.observed_at).map(|time| time.to_rfc3339()),
            received_at: held.map(|held| held.received_at.to_rfc3339()),
            age_ms: held.map(|held| millis(held.age)),
            max_age_ms: millis(reading.max_age),
            sequence: held.and_then(|held| held.sequence),
            connection: reading.carrier.map(|carrier| carrier.connection),
            subscription: reading.carrier.and_then(|carrier| Some(carrier.subscription?.as_str().to_owned())),
            missed: reading.missed,
            older: reading.older,
            duplicate: reading.duplicate,
        }
    }
}

impl Value {
    fn new(value: &observation::Value) -> Self {
        match value {
            observation::Value::Decimal(decimal) => Self::Text(decimal.to_string()),
            observation::Value::Text(text) => Self::Text(text.clone()),
            observation::Value::Flag(flag) => Self::Flag(*flag),
            observation::Value::Bytes(bytes) => Self::Bytes { b64: STANDARD.encode(bytes) },
        }
    }
}

/// Whole milliseconds.
pub(super) fn millis(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

pub(super) async fn all(
    State(store): State<Arc<Store>>,
    State(status): State<Arc<Status>>,
    RawQuery(query): RawQuery,
) -> Result<Json<Observations>, Refusal> {
    select(&store, &status, &Filter::parse(query.as_deref())?)
}

pub(super) async fn of_provider(
    State(store): State<Arc<Store>>,
    State(status): State<Arc<Status>>,
    path: Result<Path<String>, PathRejection>,
    RawQuery(query): RawQuery,
) -> Result<Json<Observations>, Refusal> {
    let Path(provider) = path?;
    let mut filter = Filter::parse(query.as_deref())?;
    filter.providers = vec![provider];
    select(&store, &status, &filter)
}

pub(super) async fn one(
    State(store): State<Arc<Store>>,
    State(status): State<Arc<Status>>,
    path: Result<Path<(String, String)>, PathRejection>,
) -> Result<Json<Observation>, Refusal> {
    let Path((provider, id)) = path?;
    let Some(reading) = store.read(&provider, &id) else {
        let slots = slots_of(&store, &status, &provider)?;
        return Err(unknown_id(&id, &slots));
    };
    let kind = status.find(&provider).and_then(|known| known.kind());
    Ok(Json(Observation::new(&reading, kind)))
}

fn select(store: &Store, status: &Status, filter: &Filter) -> Result<Json<Observations>, Refusal> {
    let mut chosen = Vec::new();
    if filter.providers.is_empty() {
        chosen = store.providers();
    }
    for name in &filter.providers {
        // A configured provider without slots has no ids: an empty answer is the true one.
        let slots = slots_of(store, status, name)?;
        chosen.extend(slots.filter(|slots| !chosen.iter().any(|other| Arc::ptr_eq(other, slots))));
    }
    chosen.sort_by(|a, b| a.name().cmp(b.name()));
    let readings: Vec<Reading> = if filter.ids.is_empty() {
        chosen.iter().flat_map(|slots| slots.read_all()).collect()
    } else {
        let mut readings = Vec::new();
        for id in &filter.ids {
            let found: Vec<Reading> = chosen.iter().filter_map(|slots| slots.read(id)).collect();
            // An id that nobody serves would be missing from the answer, and its reader none the wiser.
            if found.is_empty() {
                return Err(unknown_id(id, &chosen));
            }
            readings.extend(found);
        }
        readings
    };
    let now = wall_clock().to_rfc3339();
    let kinds: BTreeMap<Arc<str>, Option<ValueKind>> =
        status.providers().iter().map(|provider| (provider.name.clone(), provider.kind())).collect();
    let observations = readings
        .iter()
        .filter(|reading| filter.admits(reading))
        .map(|reading| Observation::new(reading, kinds.get(&reading.provider).copied().flatten()))
        .collect();
    Ok(Json(Observations { observations, now }))
}

/// The provider's slots; `None` when it is configured and has no ids yet.
fn slots_of(store: &Store, status: &Status, name: &str) -> Result<Option<Arc<ProviderSlots>>, Refusal> {
    let slots = store.find(name);
    if slots.is_none() && status.find(name).is_none() {
        return Err(unknown_provider(status, name));
    }
    Ok(slots)
}

pub(super) fn unknown_provider(status: &Status, name: &str) -> Refusal {
    let known = status.providers();
    let known = existing(known.iter().map(|provider| &*provider.name));
    Refusal::Unknown(format!("no provider {}; there are: {known}", echo(name)))
}

fn unknown_id<'a>(id: &str, asked: impl IntoIterator<Item = &'a Arc<ProviderSlots>>) -> Refusal {
    let (mut names, mut ids) = (Vec::new(), Vec::new());
    for slots in asked {
        names.push(slots.name().clone());
        ids.extend(slots.table().iter().map(|slot| slot.subscription().id.clone()));
    }
    let names = existing(names.iter().map(|name| &**name));
    let ids = existing(ids.iter().map(|id| &**id));
    Refusal::Unknown(format!("no id {} at {names}; there are: {ids}", echo(id)))
}
