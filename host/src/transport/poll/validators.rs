//! What later requests ask "has this changed?" with: the validators (`ETag`, `Last-Modified`) of the last answers. Whether
//! an answer may be confirmed at all is the poller's to say.

use std::collections::{HashMap, HashSet};

use crate::contract::codec::{Method, PlannedRequest, Request, Response};

/// Headers that make a request conditional. A plugin that writes one is left alone.
const CONDITIONAL: [&str; 5] = ["if-none-match", "if-modified-since", "if-match", "if-unmodified-since", "if-range"];

/// Longer ones are not kept: a validator is a short word.
const MAX_LENGTH: usize = 1024;

/// A request as its plugin wrote it: what stands behind a placeholder is the venue's and the operator's business.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Asked {
    url: String,
    headers: Vec<(String, String)>,
}

/// The headers that make a request conditional on the answer that is kept.
pub(super) type Conditions = Vec<(&'static str, String)>;

/// The validators of the requests of the last plan.
#[derive(Debug, Default)]
pub(super) struct Validators {
    kept: HashMap<Asked, Conditions>,
}

impl Validators {
    /// What to send along; empty where nothing is kept, or the plugin asks conditionally itself.
    pub(super) fn conditions(&self, request: &Request) -> Conditions {
        asked(request).and_then(|asked| self.kept.get(&asked)).cloned().unwrap_or_default()
    }

    /// The answer is what the store now holds.
    pub(super) fn keep(&mut self, request: &Request, response: &Response) {
        let Some(asked) = asked(request) else { return };
        let said = |name: &str| {
            let (_, value) = response.headers.iter().find(|(found, _)| found.eq_ignore_ascii_case(name))?;
            (!value.is_empty() && value.len() <= MAX_LENGTH).then(|| value.clone())
        };
        let conditions: Conditions = [("if-none-match", said("etag")), ("if-modified-since", said("last-modified"))]
            .into_iter()
            .filter_map(|(name, value)| Some((name, value?)))
            .collect();
        if response.status == 200 && !conditions.is_empty() {
            self.kept.insert(asked, conditions);
        } else {
            self.kept.remove(&asked);
        }
    }

    /// The next request is to be answered in full.
    pub(super) fn forget(&mut self, request: &Request) {
        if let Some(asked) = asked(request) {
            self.kept.remove(&asked);
        }
    }

    /// Forgets what is no longer asked for.
    pub(super) fn retain(&mut self, planned: &[PlannedRequest]) {
        let planned: HashSet<Asked> = planned.iter().filter_map(|planned| asked(&planned.request)).collect();
        self.kept.retain(|asked, _| planned.contains(asked));
    }
}

/// `None` for what cannot be asked conditionally.
fn asked(request: &Request) -> Option<Asked> {
    let own = |(name, _): &(String, String)| CONDITIONAL.iter().any(|found| name.eq_ignore_ascii_case(found));
    let plain = request.method == Method::Get && request.body.is_none() && !request.headers.iter().any(own);
    plain.then(|| Asked { url: request.url.clone(), headers: request.headers.clone() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(url: &str, header: &str) -> Request {
        let headers = vec![(header.to_owned(), "1".to_owned())];
        Request { method: Method::Get, url: url.to_owned(), headers, body: None }
    }

    fn response(status: u16, headers: &[(&str, &str)]) -> Response {
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Response { status, headers, body: Vec::new() }
    }

    #[test]
    fn a_validator_is_sent_back_to_the_request_that_it_came_from() {
        let asked = request("https://a/", "x");
        for (answer, expected) in [
            (response(200, &[("ETag", "\"1\"")]), vec![("if-none-match", "\"1\"".to_owned())]),
            (response(200, &[("last-modified", "today")]), vec![("if-modified-since", "today".to_owned())]),
            (
                response(200, &[("etag", "W/\"1\""), ("last-modified", "today")]),
                vec![("if-none-match", "W/\"1\"".to_owned()), ("if-modified-since", "today".to_owned())],
            ),
            (response(200, &[]), vec![]),
            (response(200, &[("etag", &"1".repeat(2_000))]), vec![]),
            (response(404, &[("etag", "\"1\"")]), vec![]),
        ] {
            let mut validators = Validators::default();
            validators.keep(&asked, &response(200, &[("etag", "old")]));
            validators.keep(&asked, &answer);
            assert_eq!(validators.conditions(&asked), expected, "{answer:?}");
            for other in [request("https://b/", "x"), request("https://a/", "y"), request("https://a/", "If-Match")] {
                assert_eq!(validators.conditions(&other), [], "{other:?}");
            }
        }
    }

    #[test]
    fn what_is_not_asked_again_or_not_held_is_forgotten() {
        let etag = response(200, &[("etag", "1")]);
        let (a, b) = (request("https://a/", "x"), request("https://b/", "x"));
        let mut validators = Validators::default();
        validators.keep(&a, &etag);
        validators.keep(&b, &etag);
        validators.retain(&[PlannedRequest { request: a.clone(), keys: Vec::new() }]);
        assert!(!validators.conditions(&a).is_empty() && validators.conditions(&b).is_empty());
        validators.forget(&a);
        assert!(validators.conditions(&a).is_empty());
        let post = Request { method: Method::Post, ..a };
        validators.keep(&post, &etag);
        assert!(validators.conditions(&post).is_empty());
    }
}
