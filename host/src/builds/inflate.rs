//! Unpacks what a venue packs before its plugin sees it, never into more than a cap: for live frames and for recordings
//! alike. Bytes in, bytes out; no I/O.

use std::io::Read;

use flate2::read::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};

use crate::contract::description::Compression;

/// Why a message stays packed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum InflateError {
    #[error("not valid {0:?}")]
    Invalid(Compression),
    #[error("unpacks to more than {} KiB (knob: websocket.max_message_kib)", .0 >> 10)]
    TooLarge(usize),
}

/// The content of one binary message.
pub(crate) fn inflate(packed: &[u8], compression: Compression, max: usize) -> Result<Vec<u8>, InflateError> {
    let mut content = Vec::new();
    // One byte more than allowed tells a full message from one that is too long.
    let limit = max as u64 + 1;
    let read = match compression {
        Compression::None => return Ok(packed.to_vec()),
        Compression::Gzip => MultiGzDecoder::new(packed).take(limit).read_to_end(&mut content),
        Compression::Zlib => ZlibDecoder::new(packed).take(limit).read_to_end(&mut content),
        Compression::RawDeflate => DeflateDecoder::new(packed).take(limit).read_to_end(&mut content),
    };
    read.map_err(|_| InflateError::Invalid(compression))?;
    if content.len() > max { Err(InflateError::TooLarge(max)) } else { Ok(content) }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};

    use super::*;

    #[test]
    fn messages_are_unpacked_within_a_cap() {
        let content = b"{\"ping\":18212558000}".repeat(100);
        let level = flate2::Compression::default();
        let mut gzip = GzEncoder::new(Vec::new(), level);
        let mut zlib = ZlibEncoder::new(Vec::new(), level);
        let mut raw = DeflateEncoder::new(Vec::new(), level);
        for encoder in [&mut gzip as &mut dyn Write, &mut zlib, &mut raw] {
            encoder.write_all(&content).expect("into memory");
        }
        for (packed, compression) in [
            (gzip.finish().expect("into memory"), Compression::Gzip),
            (zlib.finish().expect("into memory"), Compression::Zlib),
            (raw.finish().expect("into memory"), Compression::RawDeflate),
        ] {
            assert_eq!(inflate(&packed, compression, content.len()), Ok(content.clone()));
            assert_eq!(
                inflate(&packed, compression, content.len() - 1),
                Err(InflateError::TooLarge(content.len() - 1))
            );
            let cut = &packed[..packed.len() / 2];
            assert_eq!(inflate(cut, compression, content.len()), Err(InflateError::Invalid(compression)));
            assert!(inflate(b"no packed message", compression, 1000).is_err());
        }
    }
}
