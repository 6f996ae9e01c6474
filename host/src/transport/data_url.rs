//! A `data:` URL, read: what a plugin answers itself through the host, without any venue. Nothing here sends anything.

use base64::Engine as _;
use base64::alphabet::STANDARD as ALPHABET;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use percent_encoding::percent_decode_str;

use crate::contract::codec::{Method, Request, Response};

/// Padding may be left out, as in a browser.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &ALPHABET,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// What the URL says when it names no type (RFC 2397).
const DEFAULT_TYPE: &str = "text/plain;charset=US-ASCII";

/// Why a `data:` URL gives no answer.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(super) enum BadData {
    #[error("a data: URL is answered to GET only")]
    Method,
    #[error("a data: URL has a comma before its data")]
    NoComma,
    #[error("the data of a data: URL is not base64, as it says")]
    Base64,
    #[error("the type of a data: URL is not a header's value")]
    Type,
    #[error("longer than {} KiB (knob: http.max_body_kib)", .0 >> 10)]
    TooLarge(usize),
}

/// The answer to a request for a `data:` URL, with a body of at most `max` bytes; `None` for every other URL.
pub(super) fn answer(request: &Request, max: usize) -> Option<Result<Response, BadData>> {
    let (scheme, rest) = request.url.split_at_checked(5)?;
    if !scheme.eq_ignore_ascii_case("data:") {
        return None;
    }
    Some(if request.method == Method::Get { read(rest, max) } else { Err(BadData::Method) })
}

fn read(rest: &str, max: usize) -> Result<Response, BadData> {
    let (kind, data) = rest.split_once(',').ok_or(BadData::NoComma)?;
    let data = data.split('#').next().unwrap_or_default();
    // A `%` that begins no pair of digits stands for itself.
    let bytes: Vec<u8> = percent_decode_str(data).collect();
    let (kind, body) = match kind.len().checked_sub(";base64".len()).and_then(|at| kind.split_at_checked(at)) {
        Some((kind, end)) if end.eq_ignore_ascii_case(";base64") => {
            (kind, BASE64.decode(bytes).map_err(|_| BadData::Base64)?)
        }
        _ => (kind, bytes),
    };
    if body.len() > max {
        return Err(BadData::TooLarge(max));
    }
    if kind.chars().any(|c| c.is_control() || !c.is_ascii()) {
        return Err(BadData::Type);
    }
    let kind = match kind {
        "" => DEFAULT_TYPE.to_owned(),
        parameters if parameters.starts_with(';') => format!("text/plain{parameters}"),
        kind => kind.to_owned(),
    };
    Ok(Response { status: 200, headers: vec![("content-type".to_owned(), kind)], body })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get(url: &str) -> Request {
        Request { method: Method::Get, url: url.to_owned(), headers: Vec::new(), body: None }
    }

    #[test]
    fn a_data_url_is_its_own_answer() {
        for (url, kind, body) in [
            ("data:,hello", DEFAULT_TYPE, "hello"),
            ("data:,", DEFAULT_TYPE, ""),
            ("DATA:application/json,{\"a\":1}", "application/json", "{\"a\":1}"),
            ("data:application/json,%7B%22a%22%3a1%7D", "application/json", "{\"a\":1}"),
            ("data:text/plain;charset=utf-8,a,b c%2", "text/plain;charset=utf-8", "a,b c%2"),
            ("data:;charset=utf-8,%C3%A9", "text/plain;charset=utf-8", "é"),
            ("data:;base64,aGVsbG8=", DEFAULT_TYPE, "hello"),
            ("data:application/json;BASE64,e30", "application/json", "{}"),
            ("data:;base64,aGVsbG8%3D", DEFAULT_TYPE, "hello"),
            ("data:,100%zz%4", DEFAULT_TYPE, "100%zz%4"),
            ("data:,a#fragment", DEFAULT_TYPE, "a"),
        ] {
            let found = answer(&get(url), 16).expect("a data: URL").expect("a good one");
            assert_eq!((found.status, found.body.as_slice()), (200, body.as_bytes()), "{url}");
            assert_eq!(found.headers, [("content-type".to_owned(), kind.to_owned())], "{url}");
        }
    }

    #[test]
    fn what_is_no_good_data_url_says_why_and_what_is_none_is_left_alone() {
        for (url, why) in [
            ("data:hello", BadData::NoComma),
            ("data:;base64,a*b", BadData::Base64),
            ("data:text/pl\nain,a", BadData::Type),
            ("data:,0123456789abcdefg", BadData::TooLarge(16)),
            ("data:;base64,MDEyMzQ1Njc4OWFiY2RlZmc=", BadData::TooLarge(16)),
        ] {
            assert_eq!(answer(&get(url), 16), Some(Err(why)), "{url}");
        }
        let post = Request { method: Method::Post, ..get("data:,a") };
        assert_eq!(answer(&post, 16), Some(Err(BadData::Method)));
        for url in ["https://data.example.com/,a", "data", "", "é", "database:,a"] {
            assert_eq!(answer(&get(url), 16), None, "{url}");
        }
    }
}
