//! JSON without losing a digit, and quickly.

mod block;
mod deserialize;
mod digits;
mod item;
mod number;
mod reader;
mod scan;
mod text;

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{Error as _, MapAccess, Visitor},
};
use serde_json::value::RawValue;

pub(crate) use self::digits::{TENS, digits, few_digits, place};
use self::reader::Reader;
pub use self::{item::Item, number::Number, text::Text};
use crate::Malformed;

/// Reads one object into a struct, as [`read`] does.
pub fn object<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, Malformed> {
    let mut reader = Reader::new(text);
    if reader.peek() != Some(b'{') {
        return Err(Malformed::new("expected an object"));
    }
    whole(&mut reader)
}

/// Reads any value, and nothing behind it.
///
/// Use it instead of [`serde_json::from_str`], which takes several times as long, and fills a struct from an *array* as
/// well, by position: a payload of another kind would pass for the expected one, with values in the wrong places. In
/// what the type has no field for, only brackets and strings are checked.
pub fn read<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, Malformed> {
    whole(&mut Reader::new(text))
}

/// Reads an array item by item: nothing is kept of one when the next is read, and one that cannot be read costs itself only.
/// An error says that the text is no array to its end; then what was taken is worth nothing.
///
/// ```
/// # use feedgate_sdk::json;
/// # fn main() -> Result<(), feedgate_sdk::Malformed> {
/// let mut sum = 0;
/// json::each(r#"[1, "two", 3]"#, |item| sum += item.unwrap_or(0))?;
/// assert_eq!(sum, 4);
/// # Ok(())
/// # }
/// ```
pub fn each<'a, T: Deserialize<'a>>(text: &'a str, take: impl FnMut(Result<T, Malformed>)) -> Result<(), Malformed> {
    let mut reader = Reader::new(text);
    let read = deserialize::each(&mut reader, take).and_then(|()| reader.end());
    read.map_err(|fault| reader.place(&fault))
}

fn whole<'a, T: Deserialize<'a>>(reader: &mut Reader<'a>) -> Result<T, Malformed> {
    let read = T::deserialize(&mut *reader).and_then(|value| reader.end().map(|()| value));
    read.map_err(|fault| reader.place(&fault))
}

/// An object whose names are data, such as ids. A name that stands twice is an error, since nobody can know which of
/// the two values was meant.
#[derive(Debug, Default)]
pub struct Object<'a>(Vec<(Text<'a>, &'a str)>);

impl<'a> Object<'a> {
    /// The member's JSON text.
    pub fn get(&self, name: &str) -> Option<&'a str> {
        let place = self.0.binary_search_by(|(other, _)| (**other).cmp(name)).ok()?;
        self.0.get(place).map(|(_, text)| *text)
    }

    /// Each member's name and JSON text, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &'a str)> {
        self.0.iter().map(|(name, text)| (&**name, *text))
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Object<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;

        impl<'de> Visitor<'de> for Members {
            type Value = Vec<(Text<'de>, &'de str)>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members: Self::Value = Vec::new();
                while let Some((name, value)) = map.next_entry::<Text<'de>, &'de RawValue>()? {
                    members.push((name, value.get()));
                }
                members.sort_by(|(one, _), (other, _)| one.cmp(other));
                match members.windows(2).find(|pair| pair[0].0 == pair[1].0) {
                    Some(pair) => Err(A::Error::custom(format_args!("`{}` stands twice", pair[0].0))),
                    None => Ok(members),
                }
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
