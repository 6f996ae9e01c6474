//! A batch of messages made ready for the codec: unpacked where the venue packs, and without what is the socket's own.
//! Nothing is sent, stored or counted in metrics here.

use tokio_tungstenite::tungstenite::Message;

use crate::builds::inflate::{InflateError, inflate};
use crate::contract::codec::Incoming;
use crate::contract::description::Compression;

/// What of a batch is for the codec, and what there is to count.
pub(super) struct Frames<'a> {
    pub(super) frames: Vec<Incoming<'a>>,
    /// Of all messages, as they came.
    pub(super) bytes: usize,
    /// The socket has answered these.
    pub(super) pings: usize,
}

/// The content of each packed message, empty where it cannot be unpacked: `failed` is told why. Empty as a whole where
/// the venue packs nothing.
pub(super) fn unpack(
    messages: &[Message],
    compression: Compression,
    max: usize,
    mut failed: impl FnMut(InflateError),
) -> Vec<Vec<u8>> {
    let mut unpacked = Vec::new();
    if compression != Compression::None {
        for message in messages {
            if let Message::Binary(packed) = message {
                unpacked.push(inflate(packed, compression, max).unwrap_or_else(|error| {
                    failed(error);
                    Vec::new()
                }));
            }
        }
    }
    unpacked
}

impl<'a> Frames<'a> {
    /// `unpacked` is what [`unpack`] made of the same messages.
    pub(super) fn new(messages: &'a [Message], unpacked: &'a [Vec<u8>], compression: Compression) -> Self {
        let mut unpacked = unpacked.iter();
        let mut frames = Vec::with_capacity(messages.len());
        let (mut bytes, mut pings) = (0, 0);
        for message in messages {
            bytes += message.len();
            match message {
                Message::Text(text) => frames.push(Incoming::Text(text)),
                Message::Binary(binary) if compression == Compression::None => frames.push(Incoming::Binary(binary)),
                Message::Binary(_) => match unpacked.next() {
                    Some(content) if !content.is_empty() => {
                        frames.push(match std::str::from_utf8(content) {
                            Ok(text) => Incoming::Text(text),
                            Err(_) => Incoming::Binary(content),
                        });
                    }
                    _ => {}
                },
                Message::Ping(_) => pings += 1,
                Message::Pong(_) | Message::Close(_) | Message::Frame(_) => {}
            }
        }
        Self { frames, bytes, pings }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::write::ZlibEncoder;

    use super::*;

    fn packed(content: &[u8]) -> Message {
        let mut zlib = ZlibEncoder::new(Vec::new(), flate2::Compression::default());
        zlib.write_all(content).expect("into memory");
        Message::binary(zlib.finish().expect("into memory"))
    }

    /// What the codec gets of these messages, how many pings are counted, and how many messages stay packed.
    #[track_caller]
    fn check(messages: &[Message], compression: Compression, expected: &[Incoming<'_>], pings: usize, failures: usize) {
        let mut failed = 0;
        let unpacked = unpack(messages, compression, 8, |_| failed += 1);
        let made = Frames::new(messages, &unpacked, compression);
        assert_eq!(made.frames, expected);
        assert_eq!((made.pings, failed), (pings, failures));
        assert_eq!(made.bytes, messages.iter().map(Message::len).sum::<usize>());
    }

    #[test]
    fn the_codec_gets_content_in_the_order_it_came_in() {
        let ping = Message::Ping(Vec::new().into());
        let plain = [Message::text("a"), ping.clone(), Message::binary(b"b".to_vec()), ping.clone()];
        check(&plain, Compression::None, &[Incoming::Text("a"), Incoming::Binary(b"b")], 2, 0);
        let (long, broken) = (packed(b"too long by far"), Message::binary(b"nothing packed".to_vec()));
        let mixed = [packed(b"a"), Message::text("b"), broken, packed(b"\xff"), long, packed(b""), ping, packed(b"c")];
        let expected = [Incoming::Text("a"), Incoming::Text("b"), Incoming::Binary(b"\xff"), Incoming::Text("c")];
        check(&mixed, Compression::Zlib, &expected, 1, 2);
    }
}
