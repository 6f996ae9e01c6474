//! Strings that are borrowed from the payload.

use std::{borrow::Cow, fmt, ops::Deref};

use serde::{Deserialize, Deserializer, de::Visitor};

/// A string of the payload: borrowed from it, unless it has escapes. serde's own `Cow` is borrowed only where it is a
/// struct's field itself, and copied to the heap in an `Option`, a list or an object.
///
/// ```
/// # use feedgate_sdk::json::{Text, object};
/// # use serde::Deserialize;
/// #[derive(Deserialize)]
/// struct Message<'a> {
///     #[serde(borrow)]
///     channel: Option<Text<'a>>,
/// }
/// # fn main() -> Result<(), feedgate_sdk::Malformed> {
/// let message: Message<'_> = object(r#"{"channel":"ticker"}"#)?;
/// assert_eq!(message.channel.as_deref(), Some("ticker"));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Text<'a>(Cow<'a, str>);

impl Text<'_> {
    /// Copied, where it is not already.
    pub fn into_owned(self) -> String {
        self.0.into_owned()
    }
}

impl Deref for Text<'_> {
    type Target = str;

    #[inline]
    fn deref(&self) -> &str {
        &self.0
    }
}

impl PartialEq<&str> for Text<'_> {
    fn eq(&self, other: &&str) -> bool {
        **self == **other
    }
}

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    #[inline]
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read;

        impl<'de> Visitor<'de> for Read {
            type Value = Text<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            #[inline]
            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }

            fn visit_string<E>(self, text: String) -> Result<Self::Value, E> {
                Ok(Text(Cow::Owned(text)))
            }
        }

        deserializer.deserialize_str(Read)
    }
}

#[cfg(test)]
mod tests {
    use super::{super::read::read, *};

    #[test]
    fn only_what_has_escapes_is_copied() {
        let texts: Vec<Option<Text<'_>>> = read(r#"["plain", "esc\u0061ped", null]"#).unwrap();
        assert!(
            matches!(&texts[..], [Some(Text(Cow::Borrowed("plain"))), Some(Text(Cow::Owned(_))), None]),
            "{texts:?}"
        );
        assert_eq!(texts[1].as_deref(), Some("escaped"));
        let no_string = read::<Text<'_>>("7").unwrap_err();
        assert!(no_string.0.contains("expected a string"), "{no_string:?}");
    }
}
