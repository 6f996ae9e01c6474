//! What can be asked, in one table: the router, the index at `/` and the test against `openapi.json` all read it.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::{MethodRouter, get, post};
use serde::Serialize;

use super::access::Class;
use super::asked::Asked;
use super::{changes, health, observations, plugins, providers};
use crate::status::Status;
use crate::store::Store;

/// One endpoint.
pub(super) struct Route {
    pub(super) path: &'static str,
    /// One line for the index.
    pub(super) about: &'static str,
    /// The query parameters that it knows.
    pub(super) parameters: &'static [&'static str],
    /// An admin's is asked with POST, every other with GET.
    pub(super) class: Class,
    pub(super) answer: fn() -> MethodRouter<Asked>,
}

pub(super) const ROUTES: [Route; 19] = [
    Route { path: "/", about: "this list", parameters: &[], class: Class::Read, answer: || get(index) },
    Route {
        path: "/v1/observations",
        about: "the latest value, state, reason and age of every id",
        parameters: &["provider", "id", "state", "fresh"],
        class: Class::Read,
        answer: || get(observations::all),
    },
    Route {
        path: "/v1/observations/{provider}",
        about: "the same, of one provider",
        parameters: &["id", "state", "fresh"],
        class: Class::Read,
        answer: || get(observations::of_provider),
    },
    Route {
        // A tail, since ids hold slashes; `BTC%2FUSD` and `BTC/USD` both arrive as `BTC/USD`.
        path: "/v1/observations/{provider}/{*id}",
        about: "the same, of one id",
        parameters: &[],
        class: Class::Read,
        answer: || get(observations::one),
    },
    Route {
        path: "/v1/providers",
        about: "what every provider is doing: connections, polls, ids by state, outcomes",
        parameters: &[],
        class: Class::Read,
        answer: || get(providers::all),
    },
    Route {
        path: "/v1/providers/{provider}",
        about: "the same, of one provider",
        parameters: &[],
        class: Class::Read,
        answer: || get(providers::one),
    },
    Route {
        path: "/v1/plugins",
        about: "the plugin files, what is loaded of each, what was refused, and their builds",
        parameters: &[],
        class: Class::Read,
        answer: || get(plugins::all),
    },
    Route {
        path: "/v1/config",
        about: "where the configuration came from, why its last change was refused, and what the last reload did",
        parameters: &[],
        class: Class::Read,
        answer: || get(plugins::config),
    },
    Route {
        path: "/v1/reload",
        about: "reads the configuration and the secrets again, and says what came of it",
        parameters: &["wait"],
        class: Class::Admin,
        answer: || post(changes::reload),
    },
    Route {
        path: "/v1/rotate",
        about: "replaces every connection without a gap",
        parameters: &[],
        class: Class::Admin,
        answer: || post(changes::rotate),
    },
    Route {
        path: "/v1/providers/{provider}/rotate",
        about: "the same, of one provider",
        parameters: &[],
        class: Class::Admin,
        answer: || post(changes::rotate_one),
    },
    Route {
        path: "/v1/plugins/{plugin}/release",
        about: "forgets why a build is not to run",
        parameters: &[],
        class: Class::Admin,
        answer: || post(changes::release),
    },
    Route {
        path: "/v1/plugins/{plugin}/rollback",
        about: "goes back to the good build before",
        parameters: &[],
        class: Class::Admin,
        answer: || post(changes::rollback),
    },
    Route {
        path: "/v1/plugins/{plugin}/pin",
        about: "runs one build and no other",
        parameters: &[],
        class: Class::Admin,
        answer: || post(changes::pin),
    },
    Route {
        path: "/v1/plugins/{plugin}/unpin",
        about: "lets the newest good build run again",
        parameters: &[],
        class: Class::Admin,
        answer: || post(changes::unpin),
    },
    Route {
        path: "/healthz",
        about: "200 while the daemon serves",
        parameters: &[],
        class: Class::Open,
        answer: || get(health::alive),
    },
    Route {
        path: "/readyz",
        about: "200 once every enabled provider has been fresh, 503 before",
        parameters: &[],
        class: Class::Read,
        answer: || get(health::ready),
    },
    Route {
        path: "/metrics",
        about: "counters, as OpenMetrics text",
        parameters: &[],
        class: Class::Read,
        answer: || get(metrics),
    },
    Route {
        path: "/openapi.json",
        about: "this API, described for machines",
        parameters: &[],
        class: Class::Read,
        answer: || get(openapi),
    },
];

#[derive(Serialize)]
struct Index {
    name: &'static str,
    version: &'static str,
    endpoints: Vec<Endpoint>,
}

#[derive(Serialize)]
struct Endpoint {
    method: &'static str,
    path: String,
    about: &'static str,
    parameters: &'static [&'static str],
}

async fn index() -> Json<Index> {
    let endpoint = |route: Route| Endpoint {
        method: route.method(),
        path: route.documented_path(),
        about: route.about,
        parameters: route.parameters,
    };
    Json(Index {
        name: "feedgate",
        version: env!("CARGO_PKG_VERSION"),
        endpoints: ROUTES.into_iter().map(endpoint).collect(),
    })
}

/// What kind of question a path of the table is.
pub(super) fn class_of(path: &str) -> Option<Class> {
    ROUTES.iter().find(|route| route.path == path).map(|route| route.class)
}

impl Route {
    /// Without the router's own sign for a tail.
    pub(super) fn documented_path(&self) -> String {
        self.path.replace("{*", "{")
    }

    pub(super) fn method(&self) -> &'static str {
        if self.class == Class::Admin { "POST" } else { "GET" }
    }
}

async fn metrics(State(store): State<Arc<Store>>, State(status): State<Arc<Status>>) -> impl IntoResponse {
    let format = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(CONTENT_TYPE, format)], status.render_metrics(&store))
}

async fn openapi() -> impl IntoResponse {
    ([(CONTENT_TYPE, "application/json")], include_str!("openapi.json"))
}
