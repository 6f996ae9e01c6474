//! JSON without losing a digit.

use std::{borrow::Cow, collections::BTreeMap, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{Error as _, MapAccess, Visitor},
};
use serde_json::value::RawValue;

use crate::{Malformed, Value, number};

/// Reads one object into a struct.
///
/// Use it instead of [`serde_json::from_str`], which fills a struct from an *array* as well, by position: a payload of
/// another kind would pass for the expected one, with values in the wrong places.
pub fn object<'a, T: Deserialize<'a>>(text: &'a str) -> serde_json::Result<T> {
    if !text.trim_ascii_start().starts_with('{') {
        return Err(serde_json::Error::custom("expected an object"));
    }
    serde_json::from_str(text)
}

/// A number as the payload spells it: a JSON number, or a string that holds one. Borrows from the payload.
///
/// Never goes through `f64`: 0.1 stays 0.1, `65114.20` keeps its zero. Use `Option<Number>` where there may be `null`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Number<'a>(Cow<'a, str>);

impl Number<'_> {
    pub fn text(&self) -> &str {
        &self.0
    }

    /// The exact value; see [`decimal`](crate::decimal).
    pub fn value(&self) -> Result<Value, Malformed> {
        number::decimal(&self.0)
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
        fits.ok_or_else(|| Malformed::new(format!("not a whole number that fits: {:?}", number::beginning(&self.0))))
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Number<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = <&'de RawValue>::deserialize(deserializer)?.get();
        match raw.as_bytes().first() {
            Some(b'-' | b'0'..=b'9') => Ok(Self(raw.into())),
            Some(b'"') if raw.contains('\\') => {
                serde_json::from_str(raw).map(|text: String| Self(text.into())).map_err(D::Error::custom)
            }
            Some(b'"') => Ok(Self(raw[1..raw.len() - 1].into())),
            _ => Err(D::Error::custom("expected a number, or a string that holds one")),
        }
    }
}

/// An object whose names are data, such as ids. A name that stands twice is an error, since nobody can know which of
/// the two values was meant.
#[derive(Debug, Default)]
pub struct Object<'a>(BTreeMap<String, &'a RawValue>);

impl<'a> Object<'a> {
    /// The member's JSON text.
    pub fn get(&self, name: &str) -> Option<&'a str> {
        self.0.get(name).map(|raw| raw.get())
    }

    /// Each member's name and JSON text, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &'a str)> {
        self.0.iter().map(|(name, raw)| (name.as_str(), raw.get()))
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Object<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;

        impl<'de> Visitor<'de> for Members {
            type Value = BTreeMap<String, &'de RawValue>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = BTreeMap::new();
                while let Some((name, value)) = map.next_entry::<String, &'de RawValue>()? {
                    if members.contains_key(&name) {
                        return Err(A::Error::custom(format_args!("`{name}` stands twice")));
                    }
                    members.insert(name, value);
                }
                Ok(members)
            }
        }

        deserializer.deserialize_map(Members).map(Self)
    }
}

/// For `#[serde(default, deserialize_with = "json::present")]` on an `Option`: tells `null` (`Some`) from absent
/// (`None`), where plain serde gives `None` for both.
pub fn present<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
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

    #[test]
    fn an_array_is_no_object() {
        #[derive(Debug, Deserialize)]
        struct Price {
            price: u8,
        }
        assert_eq!(object::<Price>(r#" {"price":7}"#).unwrap().price, 7);
        assert_eq!(serde_json::from_str::<Price>("[7]").unwrap().price, 7);
        assert!(object::<Price>(" [7]").is_err());
    }

    #[test]
    fn objects() {
        let object: Object<'_> = serde_json::from_str(r#"{"b":{"x":1},"a":2}"#).unwrap();
        assert_eq!(object.iter().collect::<Vec<_>>(), [("a", "2"), ("b", r#"{"x":1}"#)]);
        assert_eq!(object.get("b"), Some(r#"{"x":1}"#));
        assert!(serde_json::from_str::<Object<'_>>("[1]").is_err());
        let twice = serde_json::from_str::<Object<'_>>(r#"{"a":1,"a":2}"#).unwrap_err();
        assert!(twice.to_string().starts_with("`a` stands twice"), "{twice}");
    }

    #[test]
    fn null_is_not_absent() {
        #[derive(Deserialize)]
        struct Ack<'a> {
            #[serde(borrow, default, deserialize_with = "present")]
            result: Option<&'a RawValue>,
        }
        let result = |json| serde_json::from_str::<Ack<'_>>(json).unwrap().result.map(RawValue::get);
        assert_eq!(result(r#"{"result":null}"#), Some("null"));
        assert_eq!(result("{}"), None);
    }
}
