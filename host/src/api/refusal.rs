//! Why a question has no answer, as the asker reads it: a status and one sentence that says what exists instead.

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::http::header::{RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::status::control::Stopping;

/// Enough to find a typing error by; a provider may have thousands of ids.
const MAX_NAMED: usize = 20;
const MAX_ECHOED: usize = 80;

/// A question that is not answered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Refusal {
    /// 404: what it asks for does not exist.
    Unknown(String),
    /// 400: it cannot be understood.
    Malformed(String),
    /// 405: it cannot be asked in this way.
    Method,
    /// 401: no token was shown.
    NoToken,
    /// 401: not that one.
    WrongToken,
    /// 403: whoever asks may not.
    Forbidden(String),
    /// 408: its body did not arrive in time.
    Late,
    /// 409: the daemon does not do it, and says why.
    Conflict(String),
    /// 413: its body has more than this many bytes.
    TooLong(usize),
    /// 429: there were too many in this second.
    TooMany,
    /// 503: nobody is there any more who could do it, or it takes longer than anybody waits.
    Unavailable(String),
}

#[derive(Serialize)]
struct Body {
    error: String,
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let (status, error) = match &self {
            Self::Unknown(error) => (StatusCode::NOT_FOUND, error.clone()),
            Self::Malformed(error) => (StatusCode::BAD_REQUEST, error.clone()),
            Self::Method => {
                let error = "GET and HEAD read, POST changes; the header Allow says what this endpoint takes";
                (StatusCode::METHOD_NOT_ALLOWED, error.to_owned())
            }
            Self::NoToken => {
                (StatusCode::UNAUTHORIZED, "this needs a token, as the header Authorization: Bearer TOKEN".to_owned())
            }
            Self::WrongToken => (StatusCode::UNAUTHORIZED, "this is not the token".to_owned()),
            Self::Forbidden(error) => (StatusCode::FORBIDDEN, error.clone()),
            Self::Late => (StatusCode::REQUEST_TIMEOUT, "the request did not arrive in time".to_owned()),
            Self::Conflict(error) => (StatusCode::CONFLICT, error.clone()),
            Self::TooLong(max) => (StatusCode::PAYLOAD_TOO_LARGE, format!("a body has at most {max} bytes here")),
            Self::TooMany => (StatusCode::TOO_MANY_REQUESTS, "too many requests in this second".to_owned()),
            Self::Unavailable(error) => (StatusCode::SERVICE_UNAVAILABLE, error.clone()),
        };
        let mut response = (status, Json(Body { error })).into_response();
        let header = match self {
            Self::NoToken => Some((WWW_AUTHENTICATE, "Bearer realm=\"feedgate\"")),
            Self::WrongToken => Some((WWW_AUTHENTICATE, "Bearer realm=\"feedgate\", error=\"invalid_token\"")),
            Self::TooMany => Some((RETRY_AFTER, "1")),
            _ => None,
        };
        if let Some((name, value)) = header {
            response.headers_mut().insert(name, HeaderValue::from_static(value));
        }
        response
    }
}

impl From<Stopping> for Refusal {
    fn from(stopping: Stopping) -> Self {
        Self::Unavailable(stopping.to_string())
    }
}

impl From<PathRejection> for Refusal {
    fn from(rejection: PathRejection) -> Self {
        Self::Malformed(format!("the path cannot be read: {}", rejection.body_text()))
    }
}

/// What the asker wrote, short enough to repeat.
pub(super) fn echo(text: &str) -> String {
    let short: String = text.chars().take(MAX_ECHOED).collect();
    let more = if short.len() < text.len() { "…" } else { "" };
    format!("\"{}{more}\"", short.escape_debug())
}

/// The first names of what exists, and how many more there are.
pub(super) fn existing<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let mut names = names.into_iter();
    let first: Vec<&str> = names.by_ref().take(MAX_NAMED).collect();
    let more = names.count();
    match (first.is_empty(), more) {
        (true, _) => "none".to_owned(),
        (false, 0) => first.join(", "),
        (false, more) => format!("{} and {more} more", first.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_exists_is_named_within_bounds() {
        let many: Vec<String> = (0..1_000).map(|n| n.to_string()).collect();
        assert_eq!(existing([]), "none");
        assert_eq!(existing(["a", "b"]), "a, b");
        assert!(existing(many.iter().map(String::as_str)).ends_with("19 and 980 more"));
        assert_eq!(echo("a\"\n"), r#""a\"\n""#);
        assert_eq!(echo(&"é".repeat(100)).chars().count(), MAX_ECHOED + 3);
    }
}
