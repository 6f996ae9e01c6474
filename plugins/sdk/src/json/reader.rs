//! A place in a JSON text that moves over it once, from left to right. Knows strings, numbers and brackets; what they are
//! read into is `deserialize`'s.

use std::borrow::Cow;

use serde::de::Error as _;

use super::scan;
use crate::Malformed;

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

pub(super) type Result<T> = std::result::Result<T, Fault>;

#[cold]
pub(super) fn fault<T>(text: &str) -> Result<T> {
    Err(Fault::custom(text))
}

pub(super) struct Reader<'a> {
    pub(super) text: &'a str,
    /// Of the next byte: always the beginning of a character, or the text's end.
    pub(super) at: usize,
    /// How deep in objects and arrays.
    pub(super) depth: u32,
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
    #[inline(always)]
    pub(super) fn peek(&mut self) -> Option<u8> {
        match *self.text.as_bytes().get(self.at)? {
            ..=b' ' => self.peek_behind_space(),
            byte => Some(byte),
        }
    }

    #[inline(never)]
    fn peek_behind_space(&mut self) -> Option<u8> {
        let rest = self.text.as_bytes().get(self.at..)?;
        let found = rest.iter().position(|byte| !matches!(byte, b' ' | b'\n' | b'\r' | b'\t'));
        self.at += found.unwrap_or(rest.len());
        found.map(|place| rest[place])
    }

    #[inline(always)]
    pub(super) fn expect(&mut self, byte: u8, otherwise: &'static str) -> Result<()> {
        if self.peek() != Some(byte) {
            return fault(otherwise);
        }
        self.at += 1;
        Ok(())
    }

    /// Of two places that [`at`](Self::at) has had or that hold ASCII, in this order.
    #[inline(always)]
    #[expect(unsafe_code, reason = "looking at both ends of every string costs as much as finding them")]
    pub(super) fn slice(&self, start: usize, end: usize) -> &'a str {
        debug_assert!(self.text.get(start..end).is_some());
        // SAFETY: such places are the beginnings of characters, or the text's end.
        unsafe { self.text.get_unchecked(start..end) }
    }

    #[inline(always)]
    pub(super) fn since(&self, start: usize) -> &'a str {
        self.slice(start, self.at)
    }

    /// The string that begins here, without its quotes. None, and nothing passed, if it is not as simple as nearly all are:
    /// without escapes, and with an end.
    #[inline(always)]
    pub(super) fn plain_string(&mut self) -> Option<&'a str> {
        let start = self.at + 1;
        let end = scan::string_end(self.text.as_bytes(), start);
        if self.text.as_bytes().get(end) != Some(&b'"') {
            return None;
        }
        self.at = end + 1;
        Some(self.slice(start, end))
    }

    /// Any string that begins here, without its quotes.
    pub(super) fn string(&mut self) -> Result<Cow<'a, str>> {
        let start = self.at;
        if self.pass_string()? { unescaped(self.since(start)) } else { Ok(self.slice(start + 1, self.at - 1).into()) }
    }

    /// Goes to the end of the string that begins here. Says whether it has escapes; they are checked where they are read.
    pub(super) fn pass_string(&mut self) -> Result<bool> {
        let mut escapes = false;
        self.at += 1;
        loop {
            self.at = scan::string_end(self.text.as_bytes(), self.at);
            match self.text.as_bytes().get(self.at) {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(escapes);
                }
                Some(b'\\') => {
                    escapes = true;
                    self.at += 1;
                    // What else may be escaped needs no care, and is perhaps no ASCII.
                    if let Some(b'"' | b'\\') = self.text.as_bytes().get(self.at) {
                        self.at += 1;
                    }
                }
                Some(_) => return fault("a control character in a string"),
                None => return fault("EOF while parsing a string"),
            }
        }
    }

    /// A number or a word: all up to what may follow one.
    #[inline(always)]
    pub(super) fn scalar(&mut self) -> &'a str {
        let start = self.at;
        self.at = scan::scalar_end(self.text.as_bytes(), start);
        self.since(start)
    }

    /// A number, in JSON's spelling.
    #[inline]
    pub(super) fn number(&mut self) -> Result<&'a str> {
        let number = self.scalar();
        if scan::is_number(number.as_bytes()) { Ok(number) } else { fault("invalid number") }
    }

    /// Goes to the end of the object or array that begins here.
    #[inline(never)]
    fn pass_brackets(&mut self) -> Result<()> {
        let (mut objects, mut arrays) = (0_u32, 0_u32);
        loop {
            self.at = scan::bracket(self.text.as_bytes(), self.at);
            let Some(&byte) = self.text.as_bytes().get(self.at) else {
                return fault("EOF while parsing a value");
            };
            match byte {
                b'"' => {
                    if self.plain_string().is_none() {
                        self.pass_string()?;
                    }
                    continue;
                }
                b'{' => objects += 1,
                b'[' => arrays += 1,
                b'}' | b']' => {
                    let open = if byte == b'}' { &mut objects } else { &mut arrays };
                    let Some(left) = open.checked_sub(1) else { return fault("a bracket that closes nothing") };
                    *open = left;
                }
                // What only looked like one of them.
                _ => {}
            }
            self.at += 1;
            if objects + arrays == 0 {
                return Ok(());
            }
        }
    }

    /// Goes to the end of the value that begins here, which nobody asked for.
    #[inline(always)]
    pub(super) fn pass(&mut self) -> Result<()> {
        let is_string = self.text.as_bytes().get(self.at) == Some(&b'"');
        if is_string && self.plain_string().is_some() { Ok(()) } else { self.pass_any() }
    }

    #[inline(never)]
    fn pass_any(&mut self) -> Result<()> {
        match self.peek() {
            Some(b'"') => _ = self.pass_string()?,
            Some(b'{' | b'[') => self.pass_brackets()?,
            Some(_) => {
                if self.scalar().is_empty() {
                    return fault("expected value");
                }
            }
            None => return fault("EOF while parsing a value"),
        }
        Ok(())
    }

    /// The text of the value that begins here. What is no value is refused, as far as can be seen without looking into
    /// objects and arrays.
    pub(super) fn raw(&mut self) -> Result<&'a str> {
        let Some(first) = self.peek() else { return fault("EOF while parsing a value") };
        let start = self.at;
        match first {
            b'"' => {
                if self.pass_string()? {
                    unescaped(self.since(start))?;
                }
            }
            b'{' | b'[' => self.pass_brackets()?,
            _ => {
                if !scan::is_scalar(self.scalar().as_bytes()) {
                    self.at = start;
                    return fault("expected value");
                }
            }
        }
        Ok(self.since(start))
    }

    /// Whether the value that begins here is this word, which is passed then.
    #[inline]
    pub(super) fn is(&mut self, word: &str) -> bool {
        let is = self.text.as_bytes().get(self.at..self.at + word.len()) == Some(word.as_bytes());
        if is {
            self.at += word.len();
        }
        is
    }
}

/// The string that this JSON text, in quotes, spells.
#[cold]
fn unescaped<'a>(quoted: &str) -> Result<Cow<'a, str>> {
    serde_json::from_str(quoted).map(Cow::Owned).map_err(Fault::custom)
}
