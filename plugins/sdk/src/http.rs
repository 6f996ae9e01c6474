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

/// The body of an answer that is due in JSON. A page of HTML, a notice in plain text or nothing at all is told as what it
/// is, since a parser's words would not tell it. What begins as JSON does is for the caller to read.
///
/// ```
/// # use feedgate_sdk::{Error, Response, http::json_text};
/// let answer = |body: &str| Response { status: 200, headers: Vec::new(), body: body.into() };
/// assert_eq!(json_text(&answer("[1]")), Ok("[1]"));
/// let page = answer("<html><head><title>We'll be back</title></head><body>…</body></html>");
/// assert_eq!(json_text(&page), Err(Error::Malformed("an HTML page where JSON is due: We'll be back".into())));
/// ```
pub fn json_text(response: &Response) -> Result<&str, Error> {
    let text = text(response)?;
    match text.as_bytes() {
        // As nearly all.
        [b'{' | b'[', ..] => Ok(text),
        _ => begins_otherwise(response, text),
    }
}

#[cold]
fn begins_otherwise<'a>(response: &Response, text: &'a str) -> Result<&'a str, Error> {
    // A byte order mark may stand before JSON, and is passed over.
    let trimmed = text.trim_start_matches('\u{feff}').trim_ascii();
    let what = match trimmed.as_bytes() {
        [b'{' | b'[', ..] => return Ok(trimmed),
        _ if serde_json::from_str::<serde::de::IgnoredAny>(trimmed).is_ok() => return Ok(trimmed),
        [] => "an empty body where JSON is due".to_owned(),
        [b'<', ..] if !is_html(trimmed) => format!("XML where JSON is due: {}", beginning(trimmed)),
        [b'<', ..] => {
            format!("an HTML page where JSON is due: {}", title(trimmed).unwrap_or_else(|| beginning(trimmed)))
        }
        _ => format!("text where JSON is due: {}", beginning(trimmed)),
    };
    Err(Error::Malformed(match response.status {
        200 => what,
        status => format!("status {status}: {what}"),
    }))
}

/// Whether what begins with `<` is HTML and not another kind of XML.
fn is_html(page: &str) -> bool {
    let starts = |start: &str| page.get(..start.len()).is_some_and(|found| found.eq_ignore_ascii_case(start));
    !starts("<?xml") || title(page).is_some()
}

/// The title of a page of HTML, in one line; none where it is empty.
fn title(page: &str) -> Option<String> {
    // Letters of ASCII only are made small, so that places stay.
    let small = page.to_ascii_lowercase();
    let start = small.find("<title")?;
    let start = start + small[start..].find('>')? + 1;
    let end = start + small[start..].find("</title").or_else(|| small[start..].find('<'))?;
    let words: Vec<&str> = page[start..end].split_whitespace().collect();
    Some(beginning(&words.join(" "))).filter(|title| !title.is_empty())
}

/// As much of a text as an error may repeat.
fn beginning(text: &str) -> String {
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// How many characters of a body an error repeats.
const LONGEST: usize = 120;

/// The status and the beginning of the body, or the title where the body is a page of HTML: for an error's text.
pub fn excerpt(Response { status, body, .. }: &Response) -> String {
    let text = String::from_utf8_lossy(&body[..body.len().min(EXAMINED)]);
    let page = text.trim_ascii_start();
    match page.starts_with('<').then(|| title(page)).flatten() {
        Some(title) => format!("status {status}: an HTML page: {title}"),
        None if text.is_empty() => format!("status {status}"),
        None => format!("status {status}: {}", beginning(&text)),
    }
}

/// Where a page's title stands, it stands before this.
const EXAMINED: usize = 4_096;

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
    fn what_is_no_json_is_told_as_what_it_is() {
        for (status, body, said) in [
            (
                200,
                "<!DOCTYPE html>\n<html><head><TITLE lang=en>\n Maintenance\n Mode </TITLE>",
                "an HTML page where JSON is due: Maintenance Mode",
            ),
            (200, "\n<html><body>Back soon", "an HTML page where JSON is due: <html><body>Back soon"),
            (200, "<title></title>", "an HTML page where JSON is due: <title></title>"),
            (200, "<title>cut off", "an HTML page where JSON is due: <title>cut off"),
            (404, "<html><title>Ünbekannt</title>", "status 404: an HTML page where JSON is due: Ünbekannt"),
            (200, "<?xml version=\"1.0\"?><html><title>Wartung</title>", "an HTML page where JSON is due: Wartung"),
            (
                200,
                "<?xml version=\"1.0\"?><Error>no</Error>",
                "XML where JSON is due: <?xml version=\"1.0\"?><Error>no</Error>",
            ),
            (200, "Service under maintenance", "text where JSON is due: Service under maintenance"),
            (200, "not now", "text where JSON is due: not now"),
            (200, "", "an empty body where JSON is due"),
            (200, " \r\n", "an empty body where JSON is due"),
            (204, "", "status 204: an empty body where JSON is due"),
        ] {
            assert_eq!(json_text(&response(status, &[], body)), Err(Error::Malformed(said.to_owned())), "{body:?}");
        }
        for (body, text) in [
            ("{", "{"),
            ("[1] ", "[1] "),
            (" {}", "{}"),
            ("\u{feff}{}", "{}"),
            ("null", "null"),
            (" 7", "7"),
            ("\"a\"", "\"a\""),
        ] {
            assert_eq!(json_text(&response(200, &[], body)), Ok(text), "{body:?}");
        }
    }

    #[test]
    fn excerpts_of_pages_are_their_titles() {
        let page = format!("<html><head>{}<title>502 Bad Gateway</title>", "<meta>".repeat(100));
        assert_eq!(excerpt(&response(502, &[], &page)), "status 502: an HTML page: 502 Bad Gateway");
        assert_eq!(excerpt(&response(502, &[], "<html>")), "status 502: <html>");
    }

    #[test]
    fn excerpts_end_at_a_character() {
        assert_eq!(excerpt(&response(404, &[], &"ä".repeat(500))), format!("status 404: {}…", "ä".repeat(120)));
        let broken = Response { body: vec![0xff], ..response(404, &[], "") };
        assert_eq!(excerpt(&broken), "status 404: \u{fffd}");
    }
}
