//! The wire format of Protocol Buffers, as much as reading takes: a message is a list of numbered fields.
//!
//! Four fields of three messages are of interest here; a generator and its runtime would be more than what reads them.

use feedgate_sdk::Malformed;

/// What a field holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Value<'a> {
    Varint(u64),
    /// Text, bytes or a message.
    Bytes(&'a [u8]),
    /// Eight or four bytes, which nothing here has a use for.
    Fixed,
}

impl<'a> Value<'a> {
    pub(crate) fn text(self) -> Result<&'a str, Malformed> {
        std::str::from_utf8(self.bytes()?).map_err(|_| Malformed::new("protobuf: a text that is not UTF-8"))
    }

    pub(crate) fn bytes(self) -> Result<&'a [u8], Malformed> {
        match self {
            Self::Bytes(bytes) => Ok(bytes),
            Self::Varint(_) | Self::Fixed => Err(Malformed::new("protobuf: a number where there should be text")),
        }
    }

    pub(crate) fn integer(self) -> Result<i64, Malformed> {
        match self {
            // Negative numbers are sent as what they are in two's complement.
            Self::Varint(number) => Ok(number.cast_signed()),
            Self::Bytes(_) | Self::Fixed => {
                Err(Malformed::new("protobuf: something else where there should be a number"))
            }
        }
    }
}

/// The fields of a message, in order. After an error there are no more.
pub(crate) struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    pub(crate) fn new(message: &'a [u8]) -> Self {
        Self(message)
    }

    fn field(&mut self) -> Result<(u64, Value<'a>), Malformed> {
        let tag = self.varint()?;
        let value = match tag & 7 {
            0 => Value::Varint(self.varint()?),
            1 => self.take(8).map(|_| Value::Fixed)?,
            2 => {
                let length = self.varint()?;
                Value::Bytes(self.take(usize::try_from(length).unwrap_or(usize::MAX))?)
            }
            5 => self.take(4).map(|_| Value::Fixed)?,
            _ => return Err(Malformed::new("protobuf: a field of no known type")),
        };
        match tag >> 3 {
            0 => Err(Malformed::new("protobuf: a field without a number")),
            number => Ok((number, value)),
        }
    }

    fn varint(&mut self) -> Result<u64, Malformed> {
        let mut number = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = u64::from(*self.take(1)?.first().unwrap_or(&0));
            if shift == 63 && byte > 1 {
                break;
            }
            number |= (byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(Malformed::new("protobuf: a number of more than 64 bits"))
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(Malformed::new("protobuf: it ends in the middle"))?;
        self.0 = rest;
        Ok(taken)
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u64, Value<'a>), Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            self.0 = &[];
        }
        Some(field)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Field<'a> = (u64, Value<'a>);

    fn read(message: &[u8]) -> Result<Vec<Field<'_>>, String> {
        Fields::new(message).collect::<Result<_, _>>().map_err(|malformed| malformed.to_string())
    }

    #[test]
    fn fields() {
        let rows: &[(&[u8], &[Field<'_>])] = &[
            (b"", &[]),
            (b"\x08\x96\x01", &[(1, Value::Varint(150))]),
            (b"\x12\x07testing", &[(2, Value::Bytes(b"testing"))]),
            (b"\xaa\x13\x00\x30\x00", &[(309, Value::Bytes(b"")), (6, Value::Varint(0))]),
            (b"\x0d1234\x11abcdefgh\x08\x01", &[(1, Value::Fixed), (2, Value::Fixed), (1, Value::Varint(1))]),
            (b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", &[(1, Value::Varint(u64::MAX))]),
            // More bytes than needed are allowed.
            (b"\x88\x00\x01", &[(1, Value::Varint(1))]),
        ];
        for (message, fields) in rows {
            assert_eq!(read(message).as_deref(), Ok(*fields), "{message:?}");
        }
    }

    #[test]
    fn what_is_no_message_is_an_error() {
        let rows: &[(&[u8], &str)] = &[
            (b"\x08", "ends in the middle"),
            (b"\x12\x07test", "ends in the middle"),
            (b"\x11abc", "ends in the middle"),
            (b"\x12\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01x", "ends in the middle"),
            (b"\x08\x80\x80\x80\x80\x80\x80\x80\x80\x80\x02", "more than 64 bits"),
            (b"\x08\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01", "more than 64 bits"),
            (b"\x0b\x0c", "no known type"),
            (b"\x00\x01", "without a number"),
        ];
        for (message, words) in rows {
            assert!(read(message).is_err_and(|error| error.contains(words)), "{message:?}");
        }
    }

    #[test]
    fn any_bytes_end() {
        let mut seed = 1_u64;
        for length in 0..2000 {
            let bytes: Vec<u8> = std::iter::repeat_with(|| {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                (seed >> 56) as u8
            })
            .take(length % 40)
            .collect();
            assert!(Fields::new(&bytes).count() <= bytes.len());
        }
    }

    #[test]
    fn values_are_what_they_are() {
        assert_eq!(Value::Varint(u64::MAX).integer(), Ok(-1));
        assert_eq!(Value::Bytes(b"a").text(), Ok("a"));
        assert!(Value::Bytes(b"\xff").text().is_err());
        assert!(
            Value::Varint(1).text().is_err() && Value::Fixed.bytes().is_err() && Value::Bytes(b"1").integer().is_err()
        );
    }
}
