//! Lists in which one bad item does not cost the others.

use std::{fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{Error as _, IgnoredAny, SeqAccess, Visitor},
};

use super::names;
use crate::Malformed;

/// One item of a list: read, or what is wrong with it. `Vec<Item<Ticker>>` holds what could be read of a frame of several,
/// where a `Vec<Ticker>` is refused as a whole.
///
/// Only for [`object`](super::object()) and [`read`](super::read()).
#[derive(Debug, Clone, PartialEq)]
pub struct Item<T>(pub Result<T, Malformed>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Item<T> {
    #[inline]
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Read<T> {
            type Value = Item<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value that can be read twice")
            }

            #[inline]
            fn visit_seq<A: SeqAccess<'de>>(self, mut value: A) -> Result<Self::Value, A::Error> {
                let fault = match value.next_element() {
                    Ok(Some(read)) => return Ok(Item(Ok(read))),
                    Ok(None) => return Err(A::Error::custom("no item")),
                    Err(error) => Malformed::new(error.to_string()),
                };
                // The same once more, only passed over. If not even that is possible, the list has no next item.
                value.next_element::<IgnoredAny>()?;
                Ok(Item(Err(fault)))
            }
        }

        deserializer.deserialize_newtype_struct(names::ITEM, Read(PhantomData))
    }
}
