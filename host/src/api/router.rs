//! From a request to its route: what the guard lets through, with parameters that the route knows.

use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::http::header::CACHE_CONTROL;
use axum::http::{HeaderValue, Uri};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};

use super::asked::Asked;
use super::guard::{Guard, pass};
use super::query;
use super::refusal::{Refusal, echo};
use super::routes::ROUTES;

/// Answers what `guard` lets through.
pub(super) fn router(asked: Asked, guard: Arc<Guard>) -> Router {
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
        .layer(middleware::from_fn_with_state(guard, pass))
        .layer(middleware::map_response(no_store))
        .with_state(asked)
}

/// A cache between here and the reader would serve old values as new ones.
async fn no_store(mut response: Response) -> Response {
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

async fn unknown(uri: Uri) -> Refusal {
    Refusal::Unknown(format!("no endpoint {}; / lists what there is", echo(uri.path())))
}
