//! Numbers by their text.

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{Error as _, Visitor},
};
use serde_json::value::RawValue;

use super::{names, read::read};
use crate::{
    Malformed, Value,
    decimal::{beginning, decimal},
};

/// A number as the payload spells it: a JSON number, or a string that holds one. Borrows from the payload.
///
/// Never goes through `f64`: 0.1 stays 0.1, `65114.20` keeps its zero. Use `Option<Number>` where there may be `null`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Number<'a>(Cow<'a, str>);

impl Number<'_> {
    pub fn text(&self) -> &str {
        &self.0
    }

    /// The exact value; see [`decimal`](crate::decimal()).
    pub fn value(&self) -> Result<Value, Malformed> {
        decimal(&self.0)
    }

    /// A whole number: a time, a sequence, a code. Of whatever integer type it is wanted in, if it fits; never a float.
    ///
    /// ```
    /// # use feedgate_sdk::{Timestamp, json::Number};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let ts: Number<'_> = serde_json::from_str(r#""1763700000251""#)?;
    /// assert_eq!(ts.integer().map(Timestamp::Millis), Ok(Timestamp::Millis(1_763_700_000_251)));
    /// # Ok(())
    /// # }
    /// ```
    pub fn integer<T: TryFrom<i128>>(&self) -> Result<T, Malformed> {
        let digits = self.0.strip_prefix('-').unwrap_or(&self.0);
        let whole = digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| self.0.parse::<i128>().ok()).flatten();
        let fits = whole.and_then(|whole| T::try_from(whole).ok());
        fits.ok_or_else(|| Malformed::new(format!("not a whole number that fits: {:?}", beginning(&self.0))))
    }
}

/// The price that a payload has in a member, where it has one. There is none where the member is absent or null, and where
/// the venue writes an empty string or a zero because there was no trade yet.
///
/// ```
/// # use feedgate_sdk::{decimal, json::{self, Number}};
/// # fn main() -> Result<(), feedgate_sdk::Malformed> {
/// let prices: Vec<Option<Number<'_>>> = json::read(r#"["91250.10", "", 0.00, null]"#)?;
/// let read = |place: usize| json::price(prices[place].as_ref());
/// assert_eq!(read(0)?, Some(decimal("91250.10")?));
/// assert_eq!((read(1)?, read(2)?, read(3)?), (None, None, None));
/// # Ok(())
/// # }
/// ```
#[inline]
pub fn price(member: Option<&Number<'_>>) -> Result<Option<Value>, Malformed> {
    let Some(number) = member.filter(|number| !number.0.is_empty()) else { return Ok(None) };
    let value = number.value()?;
    Ok(if value.is_zero() { None } else { Some(value) })
}

impl<'de: 'a, 'a> Deserialize<'de> for Number<'a> {
    #[inline]
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;

        impl<'de> Visitor<'de> for Text {
            type Value = Number<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number, or a string that holds one")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Number(text.into()))
            }

            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Number(text.to_owned().into()))
            }

            // A reader to which the name says nothing.
            fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
                let raw = <&'de RawValue>::deserialize(deserializer)?.get();
                read(raw).map_err(D::Error::custom)
            }
        }

        deserializer.deserialize_newtype_struct(names::NUMBER, Text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(json: &str) -> Option<String> {
        serde_json::from_str::<Number<'_>>(json).ok().map(|number| number.text().to_owned())
    }

    #[test]
    fn numbers_keep_their_text() {
        assert_eq!(number("65114.20").as_deref(), Some("65114.20"));
        assert_eq!(number(" -1.5E-7 ").as_deref(), Some("-1.5E-7"));
        assert_eq!(number(r#""0.10""#).as_deref(), Some("0.10"));
        assert_eq!(number(r#""1\u002e5""#).as_deref(), Some("1.5"));
        assert_eq!(number("null"), None);
        assert_eq!(number("true"), None);
        assert_eq!(number("[1]"), None);
    }

    #[test]
    fn integers_are_whole_and_fit() {
        let integer = |json: &str| serde_json::from_str::<Number<'_>>(json).unwrap().integer::<u64>().ok();
        assert_eq!(integer("1763700000251"), Some(1_763_700_000_251));
        assert_eq!(integer("\"18446744073709551615\""), Some(u64::MAX));
        for bad in ["-1", "18446744073709551616", "1.0", "1e3", r#""""#, r#""-""#, r#""+1""#, r#"" 1""#] {
            assert_eq!(integer(bad), None, "{bad}");
        }
    }

    #[test]
    fn numbers_borrow() {
        let Number(text) = serde_json::from_str(r#""1.5""#).unwrap();
        assert!(matches!(text, Cow::Borrowed("1.5")));
    }
}
