//! The calls that a plugin reads JSON with: a whole text into a type. How it is read is `deserialize`'s.

use serde::Deserialize;

use super::{deserialize, reader::Reader};
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
}
