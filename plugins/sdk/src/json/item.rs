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

/// Hands out each item that could be read. One that could not, or that `take` finds wrong, does not cost the others: the
/// first fault is returned at the end.
///
/// ```
/// # use feedgate_sdk::json;
/// # fn main() -> Result<(), feedgate_sdk::Malformed> {
/// let mut sum = 0;
/// let read = json::each_item(json::read(r#"[1, "two", 3]"#)?, |item: u8| {
///     sum += item;
///     Ok(())
/// });
/// assert_eq!((sum, read.is_err()), (4, true));
/// # Ok(())
/// # }
/// ```
pub fn each_item<T>(items: Vec<Item<T>>, mut take: impl FnMut(T) -> Result<(), Malformed>) -> Result<(), Malformed> {
    let mut first_fault = Ok(());
    for Item(item) in items {
        first_fault = first_fault.and(item.and_then(&mut take));
    }
    first_fault
}

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
