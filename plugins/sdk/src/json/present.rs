//! Telling a member that is `null` from one that is absent.

use serde::{Deserialize, Deserializer};

/// For `#[serde(default, deserialize_with = "json::present")]` on an `Option`: tells `null` (`Some`) from absent
/// (`None`), where plain serde gives `None` for both.
pub fn present<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

#[cfg(test)]
mod tests {
    use serde_json::value::RawValue;

    use super::*;

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
