//! Secrets, and the placeholders that stand for them in what a plugin writes.
//!
//! A secret is put in after the origin check and lives only in the request that is sent. Nothing here can be printed.

use std::collections::BTreeMap;
use std::fmt;

const OPEN: &str = "${secret.";

/// One provider's secrets, by name.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Secrets(BTreeMap<String, String>);

/// A placeholder that cannot be filled.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the plugin asks for secret {0:?}, which is not configured (add it to the provider's secrets)")]
pub struct MissingSecret(pub String);

impl Secrets {
    pub fn new(secrets: BTreeMap<String, String>) -> Self {
        Self(secrets)
    }

    pub fn contains(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// `text` with every `${secret.NAME}` filled in. What is filled in is not looked at again.
    pub fn fill(&self, text: &str) -> Result<String, MissingSecret> {
        self.fill_as(text, str::to_owned)
    }

    /// As [`Secrets::fill`], for a URL: a secret's own `/`, `&` or `#` must not change what the URL means.
    pub fn fill_url(&self, url: &str) -> Result<String, MissingSecret> {
        self.fill_as(url, |secret| {
            url::form_urlencoded::byte_serialize(secret.as_bytes()).collect::<String>().replace('+', "%20")
        })
    }

    fn fill_as(&self, text: &str, encode: impl Fn(&str) -> String) -> Result<String, MissingSecret> {
        let mut filled = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = rest.find(OPEN) {
            let (before, after) = rest.split_at(at);
            filled.push_str(before);
            let after = &after[OPEN.len()..];
            let end = after.find('}').ok_or_else(|| MissingSecret(after.chars().take(40).collect()))?;
            let name = &after[..end];
            let secret = self.0.get(name).ok_or_else(|| MissingSecret(name.chars().take(40).collect()))?;
            filled.push_str(&encode(secret));
            rest = &after[end + 1..];
        }
        filled.push_str(rest);
        Ok(filled)
    }

    /// Whether `text` names any secret.
    pub fn named_in(text: &str) -> bool {
        text.contains(OPEN)
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_filled_once() {
        let secrets = Secrets::new([("key".into(), "s3".into()), ("echo".into(), "${secret.key}".into())].into());
        let check = |text: &str, expected: Result<&str, &str>| {
            let found = secrets.fill(text);
            assert_eq!(found.as_deref().map_err(|e| &*e.0), expected, "{text}");
        };
        check("plain", Ok("plain"));
        check("a=${secret.key}&b=${secret.key}", Ok("a=s3&b=s3"));
        check("${secret.echo}", Ok("${secret.key}"));
        check("${secret.other}", Err("other"));
        check("${secret.key", Err("key"));
        check("${env.HOME}", Ok("${env.HOME}"));
        assert!(!format!("{secrets:?}").contains("s3"));
        let odd = Secrets::new([("key".into(), "a/b?c&d+e f#".into())].into());
        assert_eq!(odd.fill_url("https://x/?k=${secret.key}").as_deref(), Ok("https://x/?k=a%2Fb%3Fc%26d%2Be%20f%23"));
    }
}
