//! What instances died of: told by whoever ran them, decided by `logic::faults`, kept for whoever looks.
//!
//! One log for each run of a provider, shared by its connections and its poller. What a build died of before it was
//! quarantined is written down, to be read by people and to be tried again.

use std::collections::VecDeque;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use std::{fmt, io};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Serialize};

use crate::contract::codec::{
    CodecError, Context, Death, Frame, HttpCodec as _, Incoming, OpenCodec, Response, WebSocketCodec as _,
};
use crate::contract::digest::Digest;
use crate::contract::observation::{Key, UnixNanos};

use crate::logic::faults::{After, Faults};
use crate::store::state_dir::StateDir;
use crate::store::wall_clock;

/// So many inputs are kept, each up to [`LONGEST_INPUT`] bytes.
const KEPT: usize = 16;
const LONGEST_INPUT: usize = 64 << 10;

/// Far more than is kept.
const MAX_FILE: u64 = 8 << 20;

/// How long somebody waits whose build is quarantined: until the supervisor has stopped it.
const UNTIL_STOPPED: Duration = Duration::from_secs(3_600);

/// What an instance was given when it died.
#[derive(Clone, PartialEq, Eq)]
pub enum Input {
    Frames(Vec<Frame>),
    Response(Vec<Key>, Response),
}

impl fmt::Debug for Input {
    /// A venue's words may be long, and hold what is nobody's business.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Frames(frames) => write!(f, "Input({} frames)", frames.len()),
            Self::Response(keys, response) => write!(f, "Input(status {} for {} ids)", response.status, keys.len()),
        }
    }
}

impl Input {
    /// `None`: too long to be kept.
    pub(crate) fn frames(frames: &[Incoming<'_>]) -> Option<Self> {
        let owned = |frame: &Incoming<'_>| match frame {
            Incoming::Text(text) => Frame::Text((*text).to_owned()),
            Incoming::Binary(bytes) => Frame::Binary(bytes.to_vec()),
        };
        let fits = frames.iter().map(|frame| frame.bytes().len()).sum::<usize>() <= LONGEST_INPUT;
        fits.then(|| Self::Frames(frames.iter().map(owned).collect()))
    }

    /// `None`: too long to be kept.
    pub(crate) fn response(keys: &[Key], response: &Response) -> Option<Self> {
        (response.body.len() <= LONGEST_INPUT).then(|| Self::Response(keys.to_vec(), response.clone()))
    }

    /// Of what came from outside; headers carry the time of day.
    fn hash(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        match self {
            Self::Frames(frames) => frames.iter().for_each(|frame| match frame {
                Frame::Text(text) => text.hash(&mut hasher),
                Frame::Binary(bytes) | Frame::Ping(bytes) => bytes.hash(&mut hasher),
            }),
            Self::Response(_, response) => response.body.hash(&mut hasher),
        }
        hasher.finish()
    }
}

/// An input as it is written down: text where it is text, otherwise base64.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
enum Written {
    Text(String),
    Base64(String),
}

impl Written {
    fn of(bytes: &[u8]) -> Self {
        match std::str::from_utf8(bytes) {
            Ok(text) => Self::Text(text.to_owned()),
            Err(_) => Self::Base64(BASE64_STANDARD.encode(bytes)),
        }
    }

    fn bytes(self) -> Result<Vec<u8>, String> {
        match self {
            Self::Text(text) => Ok(text.into_bytes()),
            Self::Base64(text) => BASE64_STANDARD.decode(text).map_err(|e| e.to_string()),
        }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    at: String,
    provider: String,
    call: String,
    death: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    frames: Option<Vec<Written>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    response: Option<ResponseRecord>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ResponseRecord {
    keys: Vec<u32>,
    status: u16,
    headers: Vec<(String, String)>,
    body: Written,
}

/// One file for each quarantined build, named after its digest.
fn file_name(build: Digest) -> String {
    format!("{}.json", build)
}

/// Writes down what a build died of.
pub(crate) fn keep(state: &StateDir, build: Digest, faults: &[Fault]) -> io::Result<()> {
    let record = |fault: &Fault| {
        let (frames, response) = match &fault.input {
            None => (None, None),
            Some(Input::Frames(frames)) => {
                let written = frames.iter().map(|frame| match frame {
                    Frame::Text(text) => Written::of(text.as_bytes()),
                    Frame::Binary(bytes) | Frame::Ping(bytes) => Written::Base64(BASE64_STANDARD.encode(bytes)),
                });
                (Some(written.collect()), None)
            }
            Some(Input::Response(keys, response)) => {
                let keys = keys.iter().map(|key| key.0).collect();
                let (status, headers) = (response.status, response.headers.clone());
                (None, Some(ResponseRecord { keys, status, headers, body: Written::of(&response.body) }))
            }
        };
        let (at, death) = (fault.at.to_rfc3339(), fault.death.to_string());
        Record { at, provider: fault.provider.to_string(), call: fault.call.to_owned(), death, frames, response }
    };
    let records: Vec<Record> = faults.iter().map(record).collect();
    state.inside("faults")?.write(&file_name(build), &serde_json::to_vec_pretty(&records)?)
}

/// What a build died of, as far as it was written down. The error is that the file is not as it was written.
pub(crate) fn kept(state: &StateDir, build: Digest) -> Result<Vec<Input>, String> {
    let read = state.inside("faults").and_then(|faults| faults.read(&file_name(build), MAX_FILE));
    let Some(bytes) = read.map_err(|e| e.to_string())? else { return Ok(Vec::new()) };
    let records: Vec<Record> = serde_json::from_slice(&bytes).map_err(|e| e.to_string())?;
    let frame = |written: Written| match written {
        Written::Text(text) => Ok(Frame::Text(text)),
        written => written.bytes().map(Frame::Binary),
    };
    let input = |record: Record| match (record.frames, record.response) {
        (Some(frames), _) => Some(frames.into_iter().map(frame).collect::<Result<_, String>>().map(Input::Frames)),
        (None, Some(response)) => Some(response.body.bytes().map(|body| {
            let keys = response.keys.into_iter().map(Key).collect();
            Input::Response(keys, Response { status: response.status, headers: response.headers, body })
        })),
        (None, None) => None,
    };
    records.into_iter().filter_map(input).collect()
}

/// One death.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fault {
    pub at: UnixNanos,
    pub provider: Arc<str>,
    /// The export that was called.
    pub call: &'static str,
    pub death: Death,
    /// `None` where it was given nothing from outside, or too much to keep.
    pub input: Option<Input>,
}

/// The faults of one run of a provider.
#[derive(Debug, Default)]
pub struct FaultLog(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    machine: Faults,
    kept: VecDeque<Fault>,
    count: u64,
    told: u64,
    repeated: Option<String>,
    quarantine: Option<String>,
}

impl FaultLog {
    /// Notes a death. Answers how long to wait before the next instance, if at all.
    pub fn note(
        &self,
        provider: &Arc<str>,
        call: &'static str,
        death: &Death,
        input: Option<Input>,
    ) -> Option<Duration> {
        // What the operator wrote is not the build's fault.
        if matches!(death, Death::Settings { .. }) {
            return None;
        }
        let now = tokio::time::Instant::now().into_std();
        let mut inner = self.lock();
        inner.count += 1;
        let hash = input.as_ref().map(Input::hash);
        if inner.kept.len() == KEPT {
            inner.kept.pop_front();
        }
        let fault = Fault { at: wall_clock(), provider: provider.clone(), call, death: death.clone(), input };
        inner.kept.push_back(fault);
        match inner.machine.handle_fault(hash, now) {
            After::Retry => None,
            After::Pause(pause) => {
                inner.repeated = Some(format!("its instances die, the last in {call}: {death}"));
                Some(pause)
            }
            After::Quarantine(why) => {
                let words = format!("{why}, last in {call} of provider {provider}: {death}");
                inner.quarantine.get_or_insert(words);
                Some(UNTIL_STOPPED)
            }
        }
    }

    /// Why no instance of this build is to live, when that is so.
    pub fn quarantine(&self) -> Option<String> {
        self.lock().quarantine.clone()
    }

    /// Why another build had better run, when instances died so often that the next one had to wait.
    pub fn repeated(&self) -> Option<String> {
        self.lock().repeated.clone()
    }

    /// How often an instance died.
    pub fn count(&self) -> u64 {
        self.lock().count
    }

    /// The last deaths, oldest first.
    pub fn kept(&self) -> Vec<Fault> {
        self.lock().kept.iter().cloned().collect()
    }

    /// How often since this was last asked.
    pub fn take_new(&self) -> u64 {
        let mut inner = self.lock();
        let new = inner.count - inner.told;
        inner.told = inner.count;
        new
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Gives a build once more what it died of, each time to a fresh instance. Answers in words if it dies again.
pub(crate) async fn dies_again(open: &impl OpenCodec, inputs: &[Input]) -> Option<String> {
    let context = Context { now_ms: u64::try_from(wall_clock().0 / 1_000_000).unwrap_or(0), nonce: 0 };
    for input in inputs {
        let mut codec = match open.open().await {
            Ok((codec, _)) => codec,
            Err(death) => return Some(death.to_string()),
        };
        let died = match input {
            Input::Frames(frames) => {
                let incoming = frames.iter().filter_map(|frame| match frame {
                    Frame::Text(text) => Some(Incoming::Text(text)),
                    Frame::Binary(bytes) => Some(Incoming::Binary(bytes)),
                    Frame::Ping(_) => None,
                });
                codec.handle_messages(context, &incoming.collect::<Vec<_>>()).await.err()
            }
            Input::Response(keys, response) => codec.parse_response(context, keys, response).await.err(),
        };
        if let Some(CodecError::Dead(death)) = died {
            return Some(format!("it still dies of what it died of: {death}"));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_a_build_died_of_is_kept_within_bounds() {
        let log = FaultLog::default();
        let provider: Arc<str> = "p".into();
        let trap = Death::Trap("unreachable".to_owned());
        let settings = Death::Settings { field: String::new(), why: "no".to_owned() };
        assert_eq!(log.note(&provider, "configure", &settings, None), None);
        assert_eq!(log.count(), 0);
        let frames = |text: &str| Input::frames(&[Incoming::Text(text)]);
        assert_eq!(frames(&"x".repeat(LONGEST_INPUT + 1)), None);
        for number in 0..20 {
            tokio::time::advance(Duration::from_secs(100)).await;
            assert_eq!(log.note(&provider, "handle-messages", &trap, frames(&format!("frame {number}"))), None);
        }
        assert_eq!((log.count(), log.kept().len()), (20, KEPT));
        assert_eq!((log.repeated(), log.quarantine()), (None, None));
        assert_eq!(log.kept()[0].input, frames("frame 4"));
        assert!(log.note(&provider, "handle-messages", &trap, frames("frame 19")).is_some());
        let why = log.quarantine().expect("the same twice");
        assert_eq!(why, "it died twice of the same input, last in handle-messages of provider p: trap: unreachable");
        assert_eq!((log.take_new(), log.take_new()), (21, 0));

        let log = FaultLog::default();
        let waits: Vec<_> = (0..3).map(|_| log.note(&provider, "connect", &trap, None)).collect();
        assert_eq!(waits, [None, None, Some(Duration::from_secs(1))]);
        assert_eq!(log.repeated().as_deref(), Some("its instances die, the last in connect: trap: unreachable"));
    }

    #[test]
    fn what_a_build_died_of_is_written_down_and_read_again() {
        let directory = tempfile::TempDir::new().expect("a temporary directory");
        let state = StateDir::open(directory.path()).expect("it is there");
        let build = Digest::from([7; 32]);
        assert_eq!(kept(&state, build), Ok(Vec::new()));
        let frames = Input::frames(&[Incoming::Text("a \"b\""), Incoming::Binary(&[0xff, 0])]);
        let response = Response { status: 200, headers: vec![("a".into(), "b".into())], body: b"{}".to_vec() };
        let response = Input::response(&[Key(3)], &response);
        let fault = |input: &Option<Input>| Fault {
            at: UnixNanos(0),
            provider: "p".into(),
            call: "handle-messages",
            death: Death::StackOverflow,
            input: input.clone(),
        };
        let faults = [fault(&frames), fault(&None), fault(&response)];
        keep(&state, build, &faults).expect("writable");
        assert_eq!(kept(&state, build), Ok([frames, response].into_iter().flatten().collect()));
        state.inside("faults").and_then(|faults| faults.write(&file_name(build), b"[{}]")).expect("writable");
        assert!(kept(&state, build).is_err());
    }
}
