//! What can be asked, in one table: the router, the index at `/` and the test against `openapi.json` all read it.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderValue, Uri};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get};
use axum::{Json, Router};
use serde::Serialize;

use super::refusal::{Refusal, echo};
use super::{health, observations, plugins, providers, query};
use crate::status::Status;

/// One endpoint.
pub(super) struct Route {
    pub(super) path: &'static str,
    /// One line for the index.
    pub(super) about: &'static str,
    /// The query parameters that it knows.
    pub(super) parameters: &'static [&'static str],
    answer: fn() -> MethodRouter<Arc<Status>>,
}

pub(super) const ROUTES: [Route; 12] = [
    Route { path: "/", about: "this list", parameters: &[], answer: || get(index) },
    Route {
        path: "/v1/observations",
        about: "the latest value, state, reason and age of every id",
        parameters: &["provider", "id", "state", "fresh"],
        answer: || get(observations::all),
    },
    Route {
        path: "/v1/observations/{provider}",
        about: "the same, of one provider",
        parameters: &["id", "state", "fresh"],
        answer: || get(observations::of_provider),
    },
    Route {
        // A tail, since ids hold slashes; `BTC%2FUSD` and `BTC/USD` both arrive as `BTC/USD`.
        path: "/v1/observations/{provider}/{*id}",
        about: "the same, of one id",
        parameters: &[],
        answer: || get(observations::one),
    },
    Route {
        path: "/v1/providers",
        about: "what every provider is doing: connections, polls, ids by state, outcomes",
        parameters: &[],
        answer: || get(providers::all),
    },
    Route {
        path: "/v1/providers/{provider}",
        about: "the same, of one provider",
        parameters: &[],
        answer: || get(providers::one),
    },
    Route {
        path: "/v1/plugins",
        about: "the plugin files, what is loaded of each, and what was refused",
        parameters: &[],
        answer: || get(plugins::all),
    },
    Route {
        path: "/v1/config",
        about: "where the configuration came from, and why its last change was refused",
        parameters: &[],
        answer: || get(plugins::config),
    },
    Route { path: "/healthz", about: "200 while the daemon serves", parameters: &[], answer: || get(health::alive) },
    Route {
        path: "/readyz",
        about: "200 once every enabled provider has been fresh, 503 before",
        parameters: &[],
        answer: || get(health::ready),
    },
    Route { path: "/metrics", about: "counters, as OpenMetrics text", parameters: &[], answer: || get(metrics) },
    Route {
        path: "/openapi.json",
        about: "this API, described for machines",
        parameters: &[],
        answer: || get(openapi),
    },
];

/// Answers every question about `status`.
pub fn router(status: Arc<Status>) -> Router {
    let mut router = Router::new();
    for route in ROUTES {
        let known = route.parameters;
        let checked = move |request: Request, next: Next| async move {
            match query::check(request.uri().query(), known) {
                Ok(()) => next.run(request).await,
                Err(refusal) => refusal.into_response(),
            }
        };
        router = router.route(route.path, (route.answer)().layer(middleware::from_fn(checked)));
    }
    router
        .fallback(unknown)
        .method_not_allowed_fallback(async || Refusal::Method)
        .layer(middleware::map_response(no_store))
        .with_state(status)
}

/// A cache between here and the reader would serve old values as new ones.
async fn no_store(mut response: Response) -> Response {
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

async fn unknown(uri: Uri) -> Refusal {
    Refusal::Unknown(format!("no endpoint {}; / lists what there is", echo(uri.path())))
}

#[derive(Serialize)]
struct Index {
    name: &'static str,
    version: &'static str,
    endpoints: Vec<Endpoint>,
}

#[derive(Serialize)]
struct Endpoint {
    path: String,
    about: &'static str,
    parameters: &'static [&'static str],
}

async fn index() -> Json<Index> {
    let endpoint =
        |route: Route| Endpoint { path: route.documented_path(), about: route.about, parameters: route.parameters };
    Json(Index {
        name: "feedgate",
        version: env!("CARGO_PKG_VERSION"),
        endpoints: ROUTES.into_iter().map(endpoint).collect(),
    })
}

impl Route {
    /// Without the router's own sign for a tail.
    pub(super) fn documented_path(&self) -> String {
        self.path.replace("{*", "{")
    }
}

async fn metrics(State(status): State<Arc<Status>>) -> impl IntoResponse {
    let format = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(CONTENT_TYPE, format)], status.render_metrics())
}

async fn openapi() -> impl IntoResponse {
    ([(CONTENT_TYPE, "application/json")], include_str!("openapi.json"))
}
