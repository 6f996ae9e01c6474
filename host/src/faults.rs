//! What instances died of: told by whoever ran them, decided by `logic::faults`, kept for whoever looks.
//!
//! One log for each run of a provider, shared by its connections and its poller.

use std::collections::VecDeque;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::codec::{
    CodecError, Context, Death, Frame, HttpCodec as _, Incoming, OpenCodec, Response, WebSocketCodec as _,
};
use crate::logic::faults::{After, Faults};
use crate::observation::{Key, UnixNanos};
use crate::store::wall_clock;

/// So many inputs are kept, each up to [`LONGEST_INPUT`] bytes.
const KEPT: usize = 16;
const LONGEST_INPUT: usize = 64 << 10;

/// How long somebody waits whose build is quarantined: until the supervisor has stopped it.
const UNTIL_STOPPED: Duration = Duration::from_secs(3_600);

/// What an instance was given when it died.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Input {
    Frames(Vec<Frame>),
    Response(Vec<Key>, Response),
}

impl Input {
    /// `None`: too long to be kept.
    pub(crate) fn frames(frames: &[Incoming<'_>]) -> Option<Self> {
        let len = |frame: &Incoming<'_>| match frame {
            Incoming::Text(text) => text.len(),
            Incoming::Binary(bytes) => bytes.len(),
        };
        let owned = |frame: &Incoming<'_>| match frame {
            Incoming::Text(text) => Frame::Text((*text).to_owned()),
            Incoming::Binary(bytes) => Frame::Binary(bytes.to_vec()),
        };
        let fits = frames.iter().map(len).sum::<usize>() <= LONGEST_INPUT;
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
            After::Pause(pause) => Some(pause),
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
        assert_eq!((log.count(), log.kept().len(), log.quarantine()), (20, KEPT, None));
        assert_eq!(log.kept()[0].input, frames("frame 4"));
        assert!(log.note(&provider, "handle-messages", &trap, frames("frame 19")).is_some());
        let why = log.quarantine().expect("the same twice");
        assert_eq!(why, "it died twice of the same input, last in handle-messages of provider p: trap: unreachable");
        assert_eq!((log.take_new(), log.take_new()), (21, 0));
    }
}
