//! Secrets, the placeholders that stand for them in what a plugin writes, and the other way round: words from outside
//! in which a secret may stand are made fit to be shown.
//!
//! A secret is put in after the origin check and lives only in the request that is sent. Nothing here can be printed, and
//! everything here is overwritten when it is dropped. What cannot be: the copies that `url`, `reqwest` and `tungstenite`
//! make of a URL, a header or a body on their way to the socket, and the process' own environment.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::Range;

use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD_NO_PAD, BASE64_URL_SAFE_NO_PAD};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use zeroize::Zeroizing;

const OPEN: &str = "${secret.";

/// A secret that is shorter may stand in any text by chance.
const LEAST_REDACTED: usize = 6;

/// One provider's secrets, by name.
#[derive(Clone, Default)]
pub struct Secrets(BTreeMap<String, Secret>);

#[derive(Clone)]
struct Secret {
    value: Zeroizing<String>,
    in_url: Zeroizing<String>,
    /// How it may stand in what comes back, in lower case: a host's name is written in no other.
    forms: Vec<Zeroizing<String>>,
}

/// A placeholder that cannot be filled.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the plugin asks for secret {0:?}, which is not configured (add it to the provider's secrets)")]
pub struct MissingSecret(pub String);

impl Secrets {
    pub fn new(secrets: BTreeMap<String, Zeroizing<String>>) -> Self {
        Self(secrets.into_iter().map(|(name, value)| (name, Secret::new(value))).collect())
    }

    pub fn contains(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// `text` with every `${secret.NAME}` filled in. What is filled in is not looked at again.
    pub fn fill(&self, text: &str) -> Result<Zeroizing<String>, MissingSecret> {
        self.fill_as(text, |secret| &secret.value)
    }

    /// As [`Secrets::fill`], for a URL: a secret's own `/`, `&` or `#` must not change what the URL means.
    pub fn fill_url(&self, url: &str) -> Result<Zeroizing<String>, MissingSecret> {
        self.fill_as(url, |secret| &secret.in_url)
    }

    fn fill_as<'a>(
        &'a self,
        text: &'a str,
        form: impl Fn(&'a Secret) -> &'a str,
    ) -> Result<Zeroizing<String>, MissingSecret> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some(at) = rest.find(OPEN) {
            let (before, after) = rest.split_at(at);
            let after = &after[OPEN.len()..];
            let end = after.find('}').ok_or_else(|| MissingSecret(after.chars().take(40).collect()))?;
            let name = &after[..end];
            let secret = self.0.get(name).ok_or_else(|| MissingSecret(name.chars().take(40).collect()))?;
            parts.extend([before, form(secret)]);
            rest = &after[end + 1..];
        }
        parts.push(rest);
        // At once in its full length: a string that grows leaves its old self behind.
        let mut filled = Zeroizing::new(String::with_capacity(parts.iter().map(|part| part.len()).sum()));
        parts.iter().for_each(|part| filled.push_str(part));
        Ok(filled)
    }

    /// Whether `text` names any secret.
    pub fn named_in(text: &str) -> bool {
        text.contains(OPEN)
    }

    /// Words from outside as they may be shown: where a secret stands in them, or the greater part of one that was cut,
    /// `[secret NAME]` stands instead. The last line of defence, for a venue that says our key back to us.
    pub fn redact<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let mut found: Vec<(Range<usize>, &str)> = Vec::new();
        if self.0.values().all(|secret| secret.forms.is_empty()) {
            return Cow::Borrowed(text);
        }
        // As long as the text, byte for byte.
        let lower = Zeroizing::new(text.to_ascii_lowercase());
        for (name, secret) in &self.0 {
            for form in &secret.forms {
                found.extend(places_of(form, &lower).map(|place| (place, name.as_str())));
            }
        }
        if found.is_empty() {
            return Cow::Borrowed(text);
        }
        found.sort_by_key(|(place, _)| (place.start, std::cmp::Reverse(place.end)));
        let (mut shown, mut end) = (String::with_capacity(text.len()), 0);
        for (place, name) in found {
            if place.start >= end {
                shown.push_str(&text[end..place.start]);
                shown.push_str("[secret ");
                shown.push_str(name);
                shown.push(']');
            }
            end = end.max(place.end);
        }
        shown.push_str(&text[end..]);
        Cow::Owned(shown)
    }
}

impl Secret {
    fn new(value: Zeroizing<String>) -> Self {
        let mut in_url = Zeroizing::new(String::with_capacity(3 * value.len()));
        for part in url::form_urlencoded::byte_serialize(value.as_bytes()) {
            in_url.push_str(if part == "+" { "%20" } else { part });
        }
        let forms = if value.len() < LEAST_REDACTED { Vec::new() } else { forms(&value, &in_url) };
        Self { value, in_url, forms }
    }
}

/// A secret as it is, in a URL, in JSON, and inside of base64, whatever stands before and behind it there.
fn forms(value: &str, in_url: &str) -> Vec<Zeroizing<String>> {
    let strict = utf8_percent_encode(value, NON_ALPHANUMERIC).to_string();
    let json = serde_json::to_string(value).unwrap_or_default();
    let json = json.trim_start_matches('"').strip_suffix('"').unwrap_or_default().to_owned();
    let mut forms = BTreeSet::from([value.to_owned(), in_url.to_owned(), in_url.replace("%20", "+")]);
    forms.extend([strict, json.replace('/', "\\/"), json]);
    for before in 0..3 {
        let bytes = Zeroizing::new([&[0; 2][..before], value.as_bytes()].concat());
        // The digits that are the secret's alone.
        let (first, last) = ((8 * before).div_ceil(6), 8 * bytes.len() / 6);
        for engine in [&BASE64_STANDARD_NO_PAD, &BASE64_URL_SAFE_NO_PAD] {
            let encoded = Zeroizing::new(engine.encode(&*bytes));
            forms.insert(encoded.get(first..last).unwrap_or_default().to_owned());
        }
    }
    let forms = forms.into_iter().map(Zeroizing::new).collect::<Vec<_>>();
    let lower: BTreeSet<_> = forms.iter().map(|form| form.to_ascii_lowercase()).collect();
    lower.into_iter().filter(|form| form.len() >= LEAST_REDACTED).map(Zeroizing::new).collect()
}

/// Where `form`, or the first two thirds of it at least, stands in `text`.
fn places_of<'a>(form: &'a str, text: &'a str) -> impl Iterator<Item = Range<usize>> {
    let least = form.ceil_char_boundary((2 * form.len()).div_ceil(3).max(LEAST_REDACTED));
    text.match_indices(&form[..least]).map(move |(start, _)| {
        let alike = form.chars().zip(text[start..].chars()).take_while(|(ours, theirs)| ours == theirs);
        start..start + alike.map(|(c, _)| c.len_utf8()).sum::<usize>()
    })
}

/// Whether they are the same is asked after a reload; nobody outside can watch how long the answer takes.
impl PartialEq for Secrets {
    fn eq(&self, other: &Self) -> bool {
        self.0.len() == other.0.len()
            && self.0.iter().zip(&other.0).all(|(ours, theirs)| ours.0 == theirs.0 && ours.1.value == theirs.1.value)
    }
}

impl Eq for Secrets {}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secrets<const N: usize>(secrets: [(&str, &str); N]) -> Secrets {
        let owned = |(name, value): (&str, &str)| (name.to_owned(), Zeroizing::new(value.to_owned()));
        Secrets::new(secrets.map(owned).into())
    }

    #[test]
    fn placeholders_are_filled_once() {
        let known = secrets([("key", "s3"), ("echo", "${secret.key}")]);
        let check = |text: &str, expected: Result<&str, &str>| {
            let found = known.fill(text);
            assert_eq!(found.as_ref().map(|text| text.as_str()).map_err(|e| &*e.0), expected, "{text}");
        };
        check("plain", Ok("plain"));
        check("a=${secret.key}&b=${secret.key}", Ok("a=s3&b=s3"));
        check("${secret.echo}", Ok("${secret.key}"));
        check("${secret.other}", Err("other"));
        check("${secret.key", Err("key"));
        check("${env.HOME}", Ok("${env.HOME}"));
        assert!(!format!("{known:?}").contains("s3"));
        let odd = secrets([("key", "a/b?c&d+e f#")]);
        let filled = odd.fill_url("https://x/?k=${secret.key}").expect("it is there");
        assert_eq!(*filled, "https://x/?k=a%2Fb%3Fc%26d%2Be%20f%23");
    }

    #[test]
    fn a_secret_that_comes_back_is_not_shown() {
        let known = secrets([
            ("key", "CG-very/secret+key"),
            ("long", "CG-very/secret+key-and-more"),
            ("odd", "pä\"ss wörd"),
            ("pin", "1234"),
        ]);
        #[track_caller]
        fn check(known: &Secrets, text: &str, expected: &str) {
            assert_eq!(known.redact(text), expected, "{text}");
        }
        check(&known, "nothing of it", "nothing of it");
        check(&known, "bad key CG-very/secret+key!", "bad key [secret key]!");
        check(&known, "?k=CG-very%2Fsecret%2Bkey&", "?k=[secret key]&");
        check(&known, "?k=CG-very%2fsecret%2bkey&", "?k=[secret key]&");
        check(&known, "?k=CG%2Dvery%2Fsecret%2Bkey&", "?k=[secret key]&");
        check(&known, "no route to cg-very/secret+key.com", "no route to [secret key].com");
        check(&known, r#"{"key":"CG-very\/secret+key"}"#, r#"{"key":"[secret key]"}"#);
        check(&known, r#"{"key":"pä\"ss wörd"}"#, r#"{"key":"[secret odd]"}"#);
        // Twice, side by side; the longer of two that begin alike.
        check(&known, "CG-very/secret+keyCG-very/secret+key", "[secret key][secret key]");
        check(&known, "CG-very/secret+key-and-more.", "[secret long].");
        // Cut by whoever said it; too little of it is left to matter.
        check(&known, "CG-very/secret", "[secret key]");
        check(&known, "CG-very/", "CG-very/");
        // Too short to be told from any other number.
        check(&known, "12345", "12345");
        let basic = |text: &str| BASE64_STANDARD_NO_PAD.encode(text);
        for before in ["", "u", "us", "me:"] {
            for after in ["", "x", "yz"] {
                let encoded = basic(&format!("{before}CG-very/secret+key{after}"));
                let shown = known.redact(&encoded).into_owned();
                assert!(shown.contains("[secret ") && shown.len() < 24, "{before:?} {after:?}: {shown}");
            }
        }
    }
}
