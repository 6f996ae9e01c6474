//! Recordings: lines of JSON, one for each connection, message and answer. Reading them, and turning them into tapes.
//!
//! What is read is a file of a stranger: every line is bounded, and what is wrong is said with its line. Feeding a recording
//! through live codecs is `replay`'s.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::Deserialize;
use serde_json::Value as Json;

use crate::builds::inflate::inflate;
use crate::builds::tape::{FetchAnswer, PollAnswer, PollTape, StreamTape, Tape, TapeFrame};
use crate::contract::codec::{Context, Death, Frame, Incoming, Response, Subscription};
use crate::contract::description::Compression;
use crate::contract::observation::Key;
use crate::plugin::Plugin;

/// Longest message that is unpacked.
const MAX_UNPACKED: usize = 64 << 20;

/// Longest line of a recording.
const MAX_LINE: u64 = 256 << 20;

/// Why a recording cannot be read on.
#[derive(Debug, thiserror::Error)]
pub enum RecordingError {
    #[error("cannot be read: {0}")]
    Read(#[from] std::io::Error),
    #[error("line {line}: {why}")]
    Line { line: usize, why: String },
    #[error("{0}")]
    Settings(Death),
}

/// One line.
#[derive(Deserialize)]
#[serde(tag = "t", rename_all = "lowercase")]
pub(crate) enum Record {
    Header(Header),
    Connect { conn: String, ts: serde_json::Number },
    Send {},
    Recv(Received),
    Http(Http),
}

/// One message on a connection.
#[derive(Deserialize)]
pub(crate) struct Received {
    pub(crate) conn: String,
    pub(crate) ts: serde_json::Number,
    data: Option<String>,
    b64: Option<String>,
}

/// A fixture's header says what it is for; other recordings have other things there.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Header {
    #[serde(default)]
    pub ids: Vec<String>,
    #[serde(default)]
    pub settings: Option<Json>,
}

/// One answer to a request.
#[derive(Clone, Deserialize)]
pub(crate) struct Http {
    pub(crate) conn: String,
    pub(crate) ts: serde_json::Number,
    pub(crate) url: String,
    pub(crate) status: Option<u16>,
    data: Option<String>,
    b64: Option<String>,
}

impl Received {
    /// The message as text, where it was text.
    pub(crate) fn text(&self) -> Option<&str> {
        self.data.as_deref()
    }

    /// The message, whichever it was.
    pub(crate) fn bytes(&self) -> Result<Vec<u8>, String> {
        payload(self.data.as_deref(), self.b64.as_deref())
    }
}

impl Http {
    /// The answer's body.
    pub(crate) fn body(&self) -> Result<Vec<u8>, String> {
        payload(self.data.as_deref(), self.b64.as_deref())
    }
}

fn payload(data: Option<&str>, b64: Option<&str>) -> Result<Vec<u8>, String> {
    match (data, b64) {
        (Some(data), None) => Ok(data.as_bytes().to_vec()),
        (None, Some(b64)) => BASE64.decode(b64).map_err(|e| format!("b64: {e}")),
        _ => Err("wants either data or b64".to_owned()),
    }
}

/// Reads a recording's lines, compressed with zstd or not: its first bytes tell.
pub fn open(path: &Path) -> std::io::Result<Box<dyn BufRead>> {
    let mut file = BufReader::new(std::fs::File::open(path)?);
    if file.fill_buf()?.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
        return Ok(Box::new(BufReader::new(zstd::Decoder::with_buffer(file)?)));
    }
    Ok(Box::new(file))
}

/// The header, if the recording begins with one.
pub fn header(lines: &mut dyn BufRead) -> Result<Header, RecordingError> {
    let mut records = Records::of(lines);
    match records.next()? {
        None => Err(records.bad("the recording is empty".to_owned())),
        Some(Record::Header(header)) => Ok(header),
        Some(_) => Ok(Header::default()),
    }
}

/// The records of a recording, one by one. Empty lines are passed over.
pub(crate) struct Records<'a> {
    lines: &'a mut dyn BufRead,
    line: String,
    number: usize,
}

impl<'a> Records<'a> {
    pub(crate) fn of(lines: &'a mut dyn BufRead) -> Self {
        Self { lines, line: String::new(), number: 0 }
    }

    /// `None` at the end.
    pub(crate) fn next(&mut self) -> Result<Option<Record>, RecordingError> {
        loop {
            self.line.clear();
            self.number += 1;
            // Text that is none, or a compressed recording that ends too early.
            let read = (&mut *self.lines).take(MAX_LINE).read_line(&mut self.line);
            if read.map_err(|error| self.bad(format!("cannot be read: {error}")))? == 0 {
                return Ok(None);
            }
            if !self.line.trim().is_empty() {
                let record = serde_json::from_str(&self.line);
                return record.map(Some).map_err(|error| self.bad(format!("not a record: {error}")));
            }
        }
    }

    /// The line that was read last is wrong.
    pub(crate) fn bad(&self, why: String) -> RecordingError {
        RecordingError::Line { line: self.number, why }
    }

    /// The number of the line that was read last, from 1.
    pub(crate) fn number(&self) -> usize {
        self.number
    }
}

/// The ids of a recording, numbered in their order.
pub(crate) fn subscriptions(ids: &[String]) -> Vec<Subscription> {
    let number = |number| Key(u32::try_from(number).unwrap_or(u32::MAX));
    ids.iter().enumerate().map(|(at, id)| Subscription { key: number(at), id: id.as_str().into() }).collect()
}

/// The recording as tapes, to try another build of `plugin` on: one for each connection, and one for all answers. Frames
/// that do not unpack are left out.
pub fn tapes(plugin: &Plugin, lines: &mut dyn BufRead, ids: &[String]) -> Result<Vec<Tape>, RecordingError> {
    let wanted = subscriptions(ids);
    let mut streams: Vec<(String, StreamTape)> = Vec::new();
    let mut fetched: Vec<FetchAnswer> = Vec::new();
    let mut poll = PollTape { wanted: wanted.clone(), ..PollTape::default() };
    let mut records = Records::of(lines);
    while let Some(record) = records.next()? {
        let nonce = records.number() as u64;
        let context = |ts: &serde_json::Number| Context { now_ms: millis(ts), nonce };
        match record {
            Record::Header(_) | Record::Send {} => {}
            Record::Connect { conn, ts } => {
                let (context, wanted, answers) = (context(&ts), wanted.clone(), fetched.clone());
                streams.push((conn, StreamTape { context, wanted, answers, ..StreamTape::default() }));
            }
            Record::Recv(received) => {
                let bytes = received.bytes().map_err(|why| records.bad(why))?;
                let Some((_, tape)) = streams.iter_mut().rev().find(|(name, _)| *name == received.conn) else {
                    continue;
                };
                let content = match received.text() {
                    Some(text) => Some(Frame::Text(text.to_owned())),
                    None => match unpack(plugin, Incoming::Binary(&bytes)) {
                        None => Some(Frame::Binary(bytes)),
                        Some(unpacked) => unpacked.ok().map(|content| match String::from_utf8(content) {
                            Ok(text) => Frame::Text(text),
                            Err(error) => Frame::Binary(error.into_bytes()),
                        }),
                    },
                };
                tape.left_out += u64::from(content.is_none());
                let number = tape.frames.len() as u64 + 1;
                tape.frames.extend(content.map(|content| TapeFrame {
                    number,
                    context: context(&received.ts),
                    content,
                }));
            }
            Record::Http(http) => {
                let body = http.body().map_err(|why| records.bad(why))?;
                let response = Response { status: http.status.unwrap_or(200), headers: Vec::new(), body };
                let (context, url) = (context(&http.ts), http.url);
                fetched.push(FetchAnswer { context, url: url.clone(), response: response.clone() });
                poll.context = context;
                poll.answers.push_back(PollAnswer { context, url, keys: Vec::new(), response });
            }
        }
    }
    let fit = plugin.fit();
    let streams = streams.into_iter().filter(|_| fit.websocket).map(|(_, tape)| Tape::Stream(tape));
    let polls = (fit.http && !poll.answers.is_empty()).then_some(Tape::Poll(poll));
    Ok(streams.chain(polls).collect())
}

/// A time before the epoch is none, and `as` saturates.
pub(crate) fn millis(ts: &serde_json::Number) -> u64 {
    (ts.as_f64().unwrap_or(0.0) * 1000.0).floor() as u64
}

/// What the host unpacks before the plugin sees it; `None` for what comes as it is.
pub(crate) fn unpack(plugin: &Plugin, frame: Incoming<'_>) -> Option<Result<Vec<u8>, String>> {
    let compression = plugin.description().websocket.as_ref()?.compression;
    match frame {
        Incoming::Binary(packed) if compression != Compression::None => {
            Some(inflate(packed, compression, MAX_UNPACKED).map_err(|error| error.to_string()))
        }
        _ => None,
    }
}

/// Same scheme, host and path, whatever the query.
pub(crate) fn same_path(a: &str, b: &str) -> bool {
    let path = |url: &str| url.split(['?', '#']).next().unwrap_or_default().trim_end_matches('/').to_owned();
    path(a) == path(b)
}
