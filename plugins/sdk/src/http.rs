//! Polling: the trait of a plugin that exports `http`, its types as the contract has them, and the reading of an answer.

pub use crate::bindings::feedgate::provider::polling::{Missing, Outcome, PlannedRequest, Unresolved};
use crate::{Context, Error, Header, Key, Method, Plugin, Request, Response, Subscription};

/// A plugin that polls.
pub trait Http: Plugin {
    /// The requests that ask for these ids: one for all, one each, or anything between.
    fn create_requests(
        &mut self,
        context: &Context,
        subscriptions: &[Subscription],
    ) -> Result<Vec<PlannedRequest>, Error>;

    /// What an answer meant for each of its request's keys.
    fn parse_response(&mut self, context: &Context, keys: &[Key], response: &Response) -> Result<Vec<Outcome>, Error>;
}

/// A GET without headers.
pub fn get(url: impl Into<String>) -> Request {
    Request { method: Method::Get, url: url.into(), headers: Vec::new(), body: None }
}

/// A POST of a JSON body.
pub fn post_json(url: impl Into<String>, body: &serde_json::Value) -> Request {
    Request {
        method: Method::Post,
        url: url.into(),
        headers: vec![Header { name: "content-type".to_owned(), value: "application/json".to_owned() }],
        body: Some(body.to_string().into_bytes()),
    }
}

/// The value of a header, whatever the case of its name.
pub fn header<'a>(headers: &'a [Header], name: &str) -> Option<&'a str> {
    headers.iter().find(|header| header.name.eq_ignore_ascii_case(name)).map(|header| header.value.as_str())
}

/// Turns the statuses that mean the same everywhere into errors: 429 and 418 are too often, 401, 403 and 451 are a
/// refusal of this machine or key, 5xx is the venue's own trouble. Every other status is left to the plugin, since
/// venues differ in what they put under 400 and 404.
pub fn check_status(response: &Response) -> Result<(), Error> {
    match response.status {
        418 | 429 => {
            let seconds =
                header(&response.headers, "retry-after").and_then(|seconds| seconds.trim().parse::<u32>().ok());
            let ms = seconds.map(|seconds| seconds.saturating_mul(1000));
            Err(Error::rate_limited(ms, excerpt(response)))
        }
        401 | 403 | 451 | 500..=599 => Err(Error::Unavailable(excerpt(response))),
        _ => Ok(()),
    }
}

/// The body as text.
pub fn text(response: &Response) -> Result<&str, Error> {
    simdutf8::basic::from_utf8(&response.body).map_err(|_| Error::Malformed("the body is not UTF-8".to_owned()))
}

/// The status and the beginning of the body, for an error's text.
pub fn excerpt(Response { status, body, .. }: &Response) -> String {
    const LONGEST: usize = 120;
    let text = String::from_utf8_lossy(&body[..body.len().min(4 * LONGEST)]);
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("status {status}: {}…", &text[..end]),
        None if text.is_empty() => format!("status {status}"),
        None => format!("status {status}: {text}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(status: u16, headers: &[(&str, &str)], body: &str) -> Response {
        let headers = headers.iter().map(|&(name, value)| Header { name: name.into(), value: value.into() }).collect();
        Response { status, headers, body: body.into() }
    }

    #[test]
    fn statuses() {
        assert_eq!(check_status(&response(200, &[], "")), Ok(()));
        assert_eq!(check_status(&response(400, &[], "")), Ok(()));
        assert_eq!(check_status(&response(429, &[], "")), Err(Error::rate_limited(None, "status 429")));
        assert_eq!(
            check_status(&response(418, &[("Retry-After", " 3")], "banned")),
            Err(Error::rate_limited(Some(3000), "status 418: banned"))
        );
        // A date is left to the host, which knows the time.
        let date = [("retry-after", "Fri, 31 Dec 1999 23:59:59 GMT")];
        assert_eq!(check_status(&response(429, &date, "")), Err(Error::rate_limited(None, "status 429")));
        assert_eq!(check_status(&response(503, &[], "down")), Err(Error::Unavailable("status 503: down".to_owned())));
    }

    #[test]
    fn excerpts_end_at_a_character() {
        assert_eq!(excerpt(&response(404, &[], &"ä".repeat(500))), format!("status 404: {}…", "ä".repeat(120)));
        let broken = Response { body: vec![0xff], ..response(404, &[], "") };
        assert_eq!(excerpt(&broken), "status 404: \u{fffd}");
    }
}
