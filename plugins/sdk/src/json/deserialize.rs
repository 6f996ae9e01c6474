//! Reading a JSON text into types: a serde `Deserializer` that goes over it once and borrows from it.
//!
//! What a type does not ask for is passed over, not read: there the brackets must match and strings must end, and that is
//! all. Everything that is asked for is as strict as `serde_json`, which reads what is rare here: floats, enums, values of
//! any kind.

use std::borrow::Cow;

use serde::{
    Deserialize, Deserializer,
    de::{
        DeserializeSeed, Error as _, MapAccess, SeqAccess, Unexpected, Visitor,
        value::{BorrowedStrDeserializer, CowStrDeserializer},
    },
};

use super::{
    names,
    reader::{Fault, Reader, Result, fault},
    scan,
};
use crate::{Malformed, digits::digits};

/// How deep the values that are read may lie in each other. What is passed over may be as deep as it likes.
const DEEPEST: u32 = 128;

impl<'a> Reader<'a> {
    #[inline(always)]
    fn deeper(&mut self) -> Result<()> {
        self.depth += 1;
        if self.depth > DEEPEST { fault("recursion limit exceeded") } else { Ok(()) }
    }

    /// A value that is of another type than the one asked for.
    #[cold]
    fn unexpected<T>(&mut self, expected: &dyn serde::de::Expected) -> Result<T> {
        let Some(byte) = self.peek() else { return fault("EOF while parsing a value") };
        let text;
        let found = match byte {
            b'{' => Unexpected::Map,
            b'[' => Unexpected::Seq,
            b'"' => {
                text = self.string()?;
                Unexpected::Str(&text)
            }
            _ if self.is("null") => Unexpected::Unit,
            _ if self.is("true") => Unexpected::Bool(true),
            _ if self.is("false") => Unexpected::Bool(false),
            b'-' | b'0'..=b'9' => {
                let number = self.number()?;
                number.parse().map_or(Unexpected::Other(number), Unexpected::Signed)
            }
            _ => return fault("expected value"),
        };
        Err(Fault::invalid_type(found, expected))
    }

    /// An integer that is negative or zero, or none.
    #[inline(never)]
    fn rare_integer<V: Visitor<'a>>(
        &mut self,
        visitor: V,
        read: impl FnOnce(&mut serde_json::Deserializer<serde_json::de::StrRead<'a>>, V) -> serde_json::Result<V::Value>,
    ) -> Result<V::Value> {
        match self.peek() {
            Some(b'-' | b'0'..=b'9') => {}
            _ => return self.unexpected(&visitor),
        }
        let number = self.number()?;
        let size = number.strip_prefix('-').and_then(|number| digits(number.as_bytes()));
        if let Some(size) = size.and_then(|size| i64::try_from(size).ok())
            // `-0` is no integer.
            && size != 0
        {
            return visitor.visit_i64(-size);
        }
        // Fractions and what has more digits: the words for it are the same.
        read(&mut serde_json::Deserializer::from_str(number), visitor).map_err(Fault::custom)
    }

    /// A string that is not plain.
    #[inline(never)]
    fn rare_string<V: Visitor<'a>>(&mut self, visitor: V) -> Result<V::Value> {
        match self.string()? {
            Cow::Borrowed(text) => visitor.visit_borrowed_str(text),
            Cow::Owned(text) => visitor.visit_string(text),
        }
    }

    /// What is rare is left to `serde_json`.
    #[cold]
    fn slow<T>(
        &mut self,
        read: impl FnOnce(&mut serde_json::Deserializer<serde_json::de::StrRead<'a>>) -> serde_json::Result<T>,
    ) -> Result<T> {
        self.peek();
        let start = self.at;
        self.pass()?;
        let mut json = serde_json::Deserializer::from_str(self.since(start));
        let value = read(&mut json).map_err(Fault::custom)?;
        json.end().map_err(Fault::custom)?;
        Ok(value)
    }
}

macro_rules! integers {
    ($($method:ident)+) => {
        $(
            #[inline(always)]
            fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
                if let Some(b'0'..=b'9') = self.peek() {
                    let start = self.at;
                    let number = self.scalar().as_bytes();
                    // No leading zero, and only digits: no doubt.
                    if let ([b'1'..=b'9', ..] | [_], Some(size)) = (number, digits(number)) {
                        return visitor.visit_u64(size);
                    }
                    self.at = start;
                }
                self.rare_integer(visitor, |json, visitor| json.$method(visitor))
            }
        )+
    };
}

macro_rules! rare {
    ($($method:ident)+) => {
        $(
            fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
                self.slow(|json| json.$method(visitor))
            }
        )+
    };
}

impl<'de> Deserializer<'de> for &mut Reader<'de> {
    type Error = Fault;

    integers! {
        deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64
    }

    rare! {
        deserialize_any deserialize_f32 deserialize_f64 deserialize_i128 deserialize_u128 deserialize_char
        deserialize_bytes deserialize_byte_buf deserialize_unit
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        match self.peek() {
            Some(b't') if self.is("true") => visitor.visit_bool(true),
            Some(b'f') if self.is("false") => visitor.visit_bool(false),
            _ => self.unexpected(&visitor),
        }
    }

    #[inline(always)]
    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        if self.peek() != Some(b'"') {
            return self.unexpected(&visitor);
        }
        match self.plain_string() {
            Some(text) => visitor.visit_borrowed_str(text),
            None => self.rare_string(visitor),
        }
    }

    #[inline]
    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        self.deserialize_str(visitor)
    }

    #[inline]
    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        self.deserialize_str(visitor)
    }

    #[inline]
    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        match self.peek() {
            Some(b'n') if self.is("null") => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(self, name: &'static str, visitor: V) -> Result<V::Value> {
        self.slow(|json| json.deserialize_unit_struct(name, visitor))
    }

    #[inline]
    fn deserialize_newtype_struct<V: Visitor<'de>>(self, name: &'static str, visitor: V) -> Result<V::Value> {
        match name {
            names::RAW => visitor.visit_map(Raw(Some(self.raw()?))),
            names::NUMBER => match self.peek() {
                Some(b'"') => match self.plain_string() {
                    Some(text) => visitor.visit_borrowed_str(text),
                    None => self.rare_string(visitor),
                },
                Some(b'-' | b'0'..=b'9') => visitor.visit_borrowed_str(self.number()?),
                _ => fault("expected a number, or a string that holds one"),
            },
            names::ITEM => {
                self.peek();
                let (start, depth) = (self.at, self.depth);
                visitor.visit_seq(Twice { reader: self, start, depth, again: false })
            }
            _ => visitor.visit_newtype_struct(self),
        }
    }

    #[inline]
    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        if self.peek() != Some(b'[') {
            return self.unexpected(&visitor);
        }
        self.deeper()?;
        self.at += 1;
        let value = visitor.visit_seq(Items { reader: &mut *self, first: true })?;
        // A tuple may have got enough before the end.
        self.expect(b']', "trailing characters")?;
        self.depth -= 1;
        Ok(value)
    }

    #[inline]
    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(self, _: &'static str, _: usize, visitor: V) -> Result<V::Value> {
        self.deserialize_seq(visitor)
    }

    #[inline]
    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        if self.peek() != Some(b'{') {
            return self.unexpected(&visitor);
        }
        self.deeper()?;
        let value = visitor.visit_map(Members { reader: &mut *self, before: b'{' })?;
        self.expect(b'}', "trailing characters")?;
        self.depth -= 1;
        Ok(value)
    }

    /// Never from an array, which would fill it by position.
    #[inline]
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value> {
        self.deserialize_map(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value> {
        self.slow(|json| json.deserialize_enum(name, variants, visitor))
    }

    #[inline(always)]
    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        self.pass()?;
        visitor.visit_unit()
    }
}

/// The members of an object, up to its closing bracket.
struct Members<'r, 'a> {
    reader: &'r mut Reader<'a>,
    /// What stands before the next: the opening bracket, then commas.
    before: u8,
}

impl<'de> Members<'_, 'de> {
    /// A name between white space or with escapes, or none.
    #[inline(never)]
    fn rare_key<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>> {
        let opening = self.before == b'{';
        match self.reader.peek() {
            Some(byte) if byte == self.before => self.reader.at += 1,
            Some(b'}') => return Ok(None),
            Some(_) => return fault("expected `,` or `}`"),
            None => return fault("EOF while parsing an object"),
        }
        self.before = b',';
        match self.reader.peek() {
            Some(b'"') => {}
            Some(b'}') if opening => return Ok(None),
            Some(_) => return fault("key must be a string"),
            None => return fault("EOF while parsing an object"),
        }
        let name = self.reader.string()?;
        self.reader.expect(b':', "expected `:`")?;
        match name {
            Cow::Borrowed(name) => seed.deserialize(BorrowedStrDeserializer::new(name)),
            Cow::Owned(_) => seed.deserialize(CowStrDeserializer::new(name)),
        }
        .map(Some)
    }
}

impl<'de> MapAccess<'de> for Members<'_, 'de> {
    type Error = Fault;

    #[inline(always)]
    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>> {
        let text = self.reader.text.as_bytes();
        let start = self.reader.at + 2;
        // As nearly all write it: nothing between brackets, commas, names and colons.
        if scan::two(text, self.reader.at) == Some(u16::from_le_bytes([self.before, b'"'])) {
            let end = scan::string_end(text, start);
            if scan::two(text, end) == Some(u16::from_le_bytes(*b"\":")) {
                self.before = b',';
                self.reader.at = end + 2;
                return seed.deserialize(BorrowedStrDeserializer::new(self.reader.slice(start, end))).map(Some);
            }
        }
        if self.before == b',' && text.get(self.reader.at) == Some(&b'}') {
            return Ok(None);
        }
        self.rare_key(seed)
    }

    #[inline]
    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value> {
        seed.deserialize(&mut *self.reader)
    }
}

/// Hands out the items of the array that begins here, and goes behind it.
pub(super) fn each<'a, T: Deserialize<'a>>(
    reader: &mut Reader<'a>,
    mut take: impl FnMut(std::result::Result<T, Malformed>),
) -> Result<()> {
    if reader.peek() != Some(b'[') {
        return fault("expected an array");
    }
    reader.at += 1;
    let mut items = Items { reader, first: true };
    while items.next()? {
        items.reader.peek();
        let (start, depth) = (items.reader.at, items.reader.depth);
        let item = match T::deserialize(&mut *items.reader) {
            Ok(item) => Ok(item),
            Err(fault) => {
                let malformed = items.reader.place(&fault);
                (items.reader.at, items.reader.depth) = (start, depth);
                items.reader.pass()?;
                Err(malformed)
            }
        };
        // In one place, where it becomes a part of the loop.
        take(item);
    }
    items.reader.expect(b']', "expected `,` or `]`")
}

/// The items of an array, up to its bracket.
struct Items<'r, 'a> {
    reader: &'r mut Reader<'a>,
    first: bool,
}

impl Items<'_, '_> {
    /// Goes to the next item, if there is one.
    #[inline]
    fn next(&mut self) -> Result<bool> {
        match self.reader.peek() {
            Some(b']') => return Ok(false),
            Some(b',') if !self.first => self.reader.at += 1,
            Some(_) if self.first => {}
            None => return fault("EOF while parsing a list"),
            Some(_) => return fault("expected `,` or `]`"),
        }
        self.first = false;
        Ok(true)
    }
}

impl<'de> SeqAccess<'de> for Items<'_, 'de> {
    type Error = Fault;

    #[inline]
    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>> {
        if self.next()? { seed.deserialize(&mut *self.reader).map(Some) } else { Ok(None) }
    }
}

/// A raw value, as `serde_json` hands it to its own type: a map of one.
struct Raw<'a>(Option<&'a str>);

impl<'de> MapAccess<'de> for Raw<'de> {
    type Error = Fault;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>> {
        seed.deserialize(BorrowedStrDeserializer::new(names::RAW)).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value> {
        seed.deserialize(BorrowedStrDeserializer::new(self.0.take().unwrap_or_default()))
    }
}

/// One value, which may be read a second time from its beginning.
struct Twice<'r, 'a> {
    reader: &'r mut Reader<'a>,
    start: usize,
    depth: u32,
    again: bool,
}

impl<'de> SeqAccess<'de> for Twice<'_, 'de> {
    type Error = Fault;

    #[inline]
    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>> {
        if self.again {
            (self.reader.at, self.reader.depth) = (self.start, self.depth);
        }
        self.again = true;
        seed.deserialize(&mut *self.reader).map(Some)
    }
}
