//! A serde `Deserializer` that goes over JSON text once, from left to right, and borrows from it.
//!
//! What a type does not ask for is passed over, not read: there the brackets must match and strings must end, and that is
//! all. Everything that is asked for is as strict as `serde_json`, which reads what is rare here: floats, enums, values of
//! any kind.

use std::borrow::Cow;

use serde::{
    Deserializer,
    de::{
        DeserializeSeed, Error as _, MapAccess, SeqAccess, Unexpected, Visitor,
        value::{BorrowedStrDeserializer, CowStrDeserializer},
    },
};

use super::{
    item, number,
    scan::{self, Window},
};
use crate::Malformed;

/// How deep the values that are read may lie in each other. What is passed over may be as deep as it likes.
const DEEPEST: u32 = 128;

/// What `serde_json::value::RawValue` calls itself.
const RAW: &str = "$serde_json::private::RawValue";

/// What is wrong, small enough to be handed up through every result.
#[derive(Debug)]
#[expect(clippy::box_collection, reason = "one word instead of three in every result")]
pub(super) struct Fault(Box<String>);

impl serde::de::Error for Fault {
    #[cold]
    fn custom<T: std::fmt::Display>(text: T) -> Self {
        Self(Box::new(text.to_string()))
    }
}

impl std::error::Error for Fault {}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

type Result<T> = std::result::Result<T, Fault>;

#[cold]
fn fault<T>(text: &str) -> Result<T> {
    Err(Fault::custom(text))
}

pub(super) struct Reader<'a> {
    text: &'a str,
    /// Of the next byte.
    at: usize,
    depth: u32,
}

impl<'a> Reader<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, at: 0, depth: 0 }
    }

    /// Nothing but white space may follow.
    pub(super) fn end(&mut self) -> Result<()> {
        if self.peek().is_some() { fault("trailing characters") } else { Ok(()) }
    }

    /// The fault with its place.
    #[cold]
    pub(super) fn place(&self, fault: &Fault) -> Malformed {
        Malformed::new(format!("{fault} at byte {}", self.at.min(self.text.len())))
    }

    /// The next byte that is no white space.
    #[inline]
    pub(super) fn peek(&mut self) -> Option<u8> {
        loop {
            match *self.text.as_bytes().get(self.at)? {
                b' ' | b'\n' | b'\r' | b'\t' => self.at += 1,
                byte => return Some(byte),
            }
        }
    }

    #[inline]
    fn expect(&mut self, byte: u8, otherwise: &'static str) -> Result<()> {
        if self.peek() != Some(byte) {
            return fault(otherwise);
        }
        self.at += 1;
        Ok(())
    }

    #[inline]
    fn since(&self, start: usize) -> &'a str {
        // Both ends lie beside ASCII.
        self.text.get(start..self.at).unwrap_or_default()
    }

    #[inline]
    fn window(&self) -> Window {
        Window::at(self.text.as_bytes(), self.at)
    }

    /// Goes to the end of the string whose opening quote was passed. Says whether it has escapes; they are checked
    /// where they are read.
    #[inline]
    fn pass_string(&mut self) -> Result<bool> {
        let mut escapes = false;
        loop {
            let Some(found) = self.window().in_string() else {
                self.at += Window::SIZE;
                continue;
            };
            self.at += found;
            match self.text.as_bytes().get(self.at) {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(escapes);
                }
                Some(b'\\') => {
                    escapes = true;
                    self.at += 2;
                }
                Some(_) => return fault("a control character in a string"),
                None => return fault("EOF while parsing a string"),
            }
        }
    }

    /// A string without its quotes.
    #[inline]
    pub(super) fn string(&mut self) -> Result<Cow<'a, str>> {
        self.at += 1;
        let start = self.at;
        if self.pass_string()? {
            return unescaped(self.text.get(start - 1..self.at).unwrap_or_default());
        }
        Ok(Cow::Borrowed(self.text.get(start..self.at - 1).unwrap_or_default()))
    }

    /// A number or a word: all up to what may follow one.
    #[inline]
    fn scalar(&mut self) -> &'a str {
        let start = self.at;
        loop {
            match self.window().in_scalar() {
                Some(found) => break self.at = (self.at + found).min(self.text.len()),
                None => self.at += Window::SIZE,
            }
        }
        self.since(start)
    }

    /// A number, in JSON's spelling.
    #[inline]
    pub(super) fn number(&mut self) -> Result<&'a str> {
        let number = self.scalar();
        if scan::is_number(number.as_bytes()) { Ok(number) } else { fault("invalid number") }
    }

    /// Goes to the end of the object or array that begins here.
    fn pass_brackets(&mut self) -> Result<()> {
        let (mut objects, mut arrays) = (0_u32, 0_u32);
        loop {
            let Some(found) = self.window().in_brackets() else {
                self.at += Window::SIZE;
                if self.at >= self.text.len() {
                    return fault("EOF while parsing a value");
                }
                continue;
            };
            self.at += found;
            let Some(&byte) = self.text.as_bytes().get(self.at) else {
                return fault("EOF while parsing a value");
            };
            self.at += 1;
            match byte {
                b'"' => _ = self.pass_string()?,
                b'{' => objects += 1,
                b'[' => arrays += 1,
                b'}' | b']' => {
                    let open = if byte == b'}' { &mut objects } else { &mut arrays };
                    let Some(left) = open.checked_sub(1) else { return fault("a bracket that closes nothing") };
                    *open = left;
                    if objects + arrays == 0 {
                        return Ok(());
                    }
                }
                // What only looked like one of them.
                _ => {}
            }
        }
    }

    /// Goes to the end of the value that begins here. `strict`: it was asked for, so that what is no value is refused.
    #[inline]
    fn pass(&mut self, strict: bool) -> Result<&'a str> {
        let Some(byte) = self.peek() else { return fault("EOF while parsing a value") };
        let start = self.at;
        match byte {
            b'"' => {
                self.at += 1;
                if self.pass_string()? && strict {
                    unescaped(self.since(start))?;
                }
            }
            b'{' | b'[' => self.pass_brackets()?,
            _ => {
                let scalar = self.scalar();
                let sound = if strict { scan::is_scalar(scalar.as_bytes()) } else { !scalar.is_empty() };
                if !sound {
                    self.at = start;
                    return fault("expected value");
                }
            }
        }
        Ok(self.since(start))
    }

    /// Whether the value that begins here is this word, which is passed then.
    #[inline]
    fn is(&mut self, word: &str) -> bool {
        let is = self.text.as_bytes().get(self.at..self.at + word.len()) == Some(word.as_bytes());
        if is {
            self.at += word.len();
        }
        is
    }

    fn deeper(&mut self) -> Result<()> {
        self.at += 1;
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

    /// What is rare is left to `serde_json`.
    #[cold]
    fn slow<T>(
        &mut self,
        read: impl FnOnce(&mut serde_json::Deserializer<serde_json::de::StrRead<'a>>) -> serde_json::Result<T>,
    ) -> Result<T> {
        let mut json = serde_json::Deserializer::from_str(self.pass(false)?);
        let value = read(&mut json).map_err(Fault::custom)?;
        json.end().map_err(Fault::custom)?;
        Ok(value)
    }
}

/// The string that this JSON text, in quotes, spells.
#[cold]
fn unescaped<'a>(quoted: &str) -> Result<Cow<'a, str>> {
    serde_json::from_str(quoted).map(Cow::Owned).map_err(Fault::custom)
}

macro_rules! integers {
    ($($method:ident)+) => {
        $(
            #[inline]
            fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
                match self.peek() {
                    Some(b'-' | b'0'..=b'9') => {}
                    _ => return self.unexpected(&visitor),
                }
                let number = self.number()?;
                if let Some(digits) = number.strip_prefix('-') {
                    let size = scan::digits(digits.as_bytes()).and_then(|size| i64::try_from(size).ok());
                    // `-0` is no integer.
                    if let Some(size) = size.filter(|size| *size != 0) {
                        return visitor.visit_i64(-size);
                    }
                } else if let Some(size) = scan::digits(number.as_bytes()) {
                    return visitor.visit_u64(size);
                }
                // Fractions and what has more digits: the words for it are the same.
                serde_json::Deserializer::from_str(number).$method(visitor).map_err(Fault::custom)
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

    #[inline]
    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        if self.peek() != Some(b'"') {
            return self.unexpected(&visitor);
        }
        match self.string()? {
            Cow::Borrowed(text) => visitor.visit_borrowed_str(text),
            Cow::Owned(text) => visitor.visit_string(text),
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
            RAW => visitor.visit_map(Raw(Some(self.pass(true)?))),
            number::NAME => match self.peek() {
                Some(b'"') => match self.string()? {
                    Cow::Borrowed(text) => visitor.visit_borrowed_str(text),
                    Cow::Owned(text) => visitor.visit_string(text),
                },
                Some(b'-' | b'0'..=b'9') => visitor.visit_borrowed_str(self.number()?),
                _ => fault(number::EXPECTED),
            },
            item::NAME => {
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
        let value = visitor.visit_map(Members { reader: &mut *self, first: true })?;
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

    #[inline]
    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        self.pass(false)?;
        visitor.visit_unit()
    }
}

/// The members of an object, up to its bracket.
struct Members<'r, 'a> {
    reader: &'r mut Reader<'a>,
    first: bool,
}

impl<'de> MapAccess<'de> for Members<'_, 'de> {
    type Error = Fault;

    #[inline]
    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>> {
        match self.reader.peek() {
            Some(b'}') => return Ok(None),
            Some(b',') if !self.first => {
                self.reader.at += 1;
                if self.reader.peek() != Some(b'"') {
                    return fault("key must be a string");
                }
            }
            Some(b'"') if self.first => {}
            None => return fault("EOF while parsing an object"),
            Some(_) => return fault(if self.first { "key must be a string" } else { "expected `,` or `}`" }),
        }
        self.first = false;
        let name = self.reader.string()?;
        self.reader.expect(b':', "expected `:`")?;
        match name {
            Cow::Borrowed(name) => seed.deserialize(BorrowedStrDeserializer::new(name)),
            Cow::Owned(_) => seed.deserialize(CowStrDeserializer::new(name)),
        }
        .map(Some)
    }

    #[inline]
    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value> {
        seed.deserialize(&mut *self.reader)
    }
}

/// The items of an array, up to its bracket.
struct Items<'r, 'a> {
    reader: &'r mut Reader<'a>,
    first: bool,
}

impl<'de> SeqAccess<'de> for Items<'_, 'de> {
    type Error = Fault;

    #[inline]
    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>> {
        match self.reader.peek() {
            Some(b']') => return Ok(None),
            Some(b',') if !self.first => self.reader.at += 1,
            Some(_) if self.first => {}
            None => return fault("EOF while parsing a list"),
            Some(_) => return fault("expected `,` or `]`"),
        }
        self.first = false;
        seed.deserialize(&mut *self.reader).map(Some)
    }
}

/// A raw value, as `serde_json` hands it to its own type: a map of one.
struct Raw<'a>(Option<&'a str>);

impl<'de> MapAccess<'de> for Raw<'de> {
    type Error = Fault;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>> {
        seed.deserialize(BorrowedStrDeserializer::new(RAW)).map(Some)
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
