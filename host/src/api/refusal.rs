//! Why a question has no answer, as the asker reads it: a status and one sentence that says what exists instead.

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;

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
    /// 405: nothing here can be changed.
    Method,
}

#[derive(Serialize)]
struct Body {
    error: String,
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let (status, error) = match self {
            Self::Unknown(error) => (StatusCode::NOT_FOUND, error),
            Self::Malformed(error) => (StatusCode::BAD_REQUEST, error),
            Self::Method => (StatusCode::METHOD_NOT_ALLOWED, "everything here is read only: GET or HEAD".to_owned()),
        };
        (status, Json(Body { error })).into_response()
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
