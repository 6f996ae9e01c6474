//! Whether the daemon serves, and whether what it serves is complete: for supervisors and load balancers.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};

use super::observations::millis;
use crate::status::Status;
use crate::store::Store;

#[derive(Serialize)]
pub(super) struct Health {
    status: &'static str,
    version: &'static str,
    uptime_ms: u64,
}

/// Whether every enabled provider has been fresh once. With none configured there is nothing to wait for.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Readiness {
    pub ready: bool,
    pub missing: Vec<Missing>,
}

/// A provider that has not been fresh yet.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Missing {
    pub provider: String,
    pub reason: String,
}

pub(super) async fn alive(State(status): State<Arc<Status>>) -> Json<Health> {
    let uptime_ms = millis(status.started.elapsed());
    Json(Health { status: "ok", version: env!("CARGO_PKG_VERSION"), uptime_ms })
}

pub(super) async fn ready(
    State(store): State<Arc<Store>>,
    State(status): State<Arc<Status>>,
) -> (StatusCode, Json<Readiness>) {
    let missing: Vec<Missing> =
        status.not_ready(&store).into_iter().map(|(provider, reason)| Missing { provider, reason }).collect();
    let ready = missing.is_empty();
    let code = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (code, Json(Readiness { ready, missing }))
}
