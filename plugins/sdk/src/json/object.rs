//! Objects whose members are looked up by name. An object with known members is read into a struct instead.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{Error as _, MapAccess, Visitor},
};
use serde_json::value::RawValue;

use super::text::Text;

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

    /// Whether it has no member.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects() {
        let object: Object<'_> = serde_json::from_str(r#"{"b":{"x":1},"a":2}"#).unwrap();
        assert_eq!(object.iter().collect::<Vec<_>>(), [("a", "2"), ("b", r#"{"x":1}"#)]);
        assert_eq!(object.get("b"), Some(r#"{"x":1}"#));
        assert!(!object.is_empty() && serde_json::from_str::<Object<'_>>("{}").unwrap().is_empty());
        assert!(serde_json::from_str::<Object<'_>>("[1]").is_err());
        let twice = serde_json::from_str::<Object<'_>>(r#"{"a":1,"a":2}"#).unwrap_err();
        assert!(twice.to_string().starts_with("`a` stands twice"), "{twice}");
    }
}
