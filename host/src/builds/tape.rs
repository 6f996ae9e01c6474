//! What was received lately, kept so that another build can be tried on it: of each connection its opening and its last
//! frames, of a poller its last answers. Plain data within bounds; nothing here reads or compares anything.
//!
//! Recording stands on the message path. Frames are copied into one ring of bytes that has stopped growing long before
//! anybody looks at it: no allocation a frame, and a few small frames do not hold on to the socket's whole read buffer,
//! as their handles would. A lock belongs to one connection, which takes it once a batch; somebody else takes it only
//! while a copy is made.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use crate::contract::codec::{Context, Frame, Incoming, PlannedRequest, Response, Subscription};
use crate::contract::observation::Key;

/// The first frames of a connection: acknowledgements, channel numbers, snapshots.
const OPENING: Bounds = Bounds { count: 32, bytes: 64 << 10 };

/// The last frames of a connection.
const LATEST: Bounds = Bounds { count: 256, bytes: 256 << 10 };

/// The last answers of a poller.
const ANSWERS: Bounds = Bounds { count: 16, bytes: 1 << 20 };

/// Answers to requests before one connection.
const FETCHED: Bounds = Bounds { count: 8, bytes: 64 << 10 };

/// Calls to subscribe and unsubscribe on one connection, and the ids in them.
const CALLS: usize = 1_000;
const ASKED: usize = 20_000;

#[derive(Copy, Clone)]
struct Bounds {
    count: usize,
    bytes: usize,
}

/// What one connection or one poller received.
#[derive(Clone, Debug)]
pub enum Tape {
    Stream(StreamTape),
    Poll(PollTape),
}

/// One connection.
#[derive(Clone, Debug, Default)]
pub struct StreamTape {
    /// What `connect` was called with.
    pub context: Context,
    pub wanted: Vec<Subscription>,
    pub answers: Vec<FetchAnswer>,
    /// In order. Empty where nobody wrote down when they were made.
    pub calls: Vec<StreamCall>,
    /// The first and the last, as the codec got them.
    pub frames: Vec<TapeFrame>,
    /// Frames that were too large to keep.
    pub left_out: u64,
}

/// The answer to a request that a plugin made before its connection.
#[derive(Clone, Debug)]
pub struct FetchAnswer {
    /// Of the call that got it.
    pub context: Context,
    /// As the plugin wrote it, without secrets.
    pub url: String,
    pub response: Response,
}

/// A change of subscriptions.
#[derive(Clone, Debug)]
pub struct StreamCall {
    /// The number of the frame that came next.
    pub before: u64,
    pub context: Context,
    pub subscribes: bool,
    pub subscriptions: Vec<Subscription>,
}

/// One frame.
#[derive(Clone, Debug)]
pub struct TapeFrame {
    /// Its place on the connection, from 1.
    pub number: u64,
    pub context: Context,
    pub content: Frame,
}

/// One poller: the last answer to each set of ids.
#[derive(Clone, Debug, Default)]
pub struct PollTape {
    /// What `create-requests` was called with.
    pub context: Context,
    pub wanted: Vec<Subscription>,
    /// Oldest first.
    pub answers: VecDeque<PollAnswer>,
    /// Answers that were too large to keep.
    pub left_out: u64,
}

/// One answer.
#[derive(Clone, Debug)]
pub struct PollAnswer {
    pub context: Context,
    /// As the plugin wrote it, without secrets.
    pub url: String,
    /// Those of its request. Empty where nobody wrote them down: those of the request with this URL.
    pub keys: Vec<Key>,
    pub response: Response,
}

/// Frames within bounds, oldest out first.
#[derive(Clone, Default)]
struct Ring {
    /// All contents, one after the other.
    bytes: VecDeque<u8>,
    marks: VecDeque<Mark>,
}

/// Where one frame ends and what it is.
#[derive(Copy, Clone)]
struct Mark {
    number: u64,
    len: usize,
    is_text: bool,
    context: Context,
}

impl Ring {
    fn has_room(&self, len: usize, bounds: Bounds) -> bool {
        self.marks.len() < bounds.count && self.bytes.len() + len <= bounds.bytes
    }

    fn push(&mut self, mark: Mark, content: &[u8]) {
        self.bytes.extend(content);
        self.marks.push_back(mark);
    }

    /// Drops the oldest until there is room. The content must be within the bounds by itself.
    fn make_room(&mut self, len: usize, bounds: Bounds) {
        while !self.has_room(len, bounds)
            && let Some(oldest) = self.marks.pop_front()
        {
            self.bytes.drain(..oldest.len);
        }
    }

    fn read_into(mut self, frames: &mut Vec<TapeFrame>) {
        let mut rest: &[u8] = self.bytes.make_contiguous();
        for mark in self.marks {
            let (content, behind) = rest.split_at(mark.len.min(rest.len()));
            rest = behind;
            let content = match std::str::from_utf8(content) {
                Ok(text) if mark.is_text => Frame::Text(text.to_owned()),
                _ => Frame::Binary(content.to_vec()),
            };
            frames.push(TapeFrame { number: mark.number, context: mark.context, content });
        }
    }
}

/// One connection's tape as it is recorded.
#[derive(Clone, Default)]
struct Reel {
    context: Context,
    wanted: Vec<Subscription>,
    /// The request that is under way.
    fetching: Option<String>,
    answers: Vec<FetchAnswer>,
    calls: Vec<StreamCall>,
    /// Ids in all calls.
    asked: usize,
    opening: Ring,
    /// The opening is over.
    opened: bool,
    latest: Ring,
    received: u64,
    left_out: u64,
}

impl Reel {
    fn push(&mut self, context: Context, frame: &Incoming<'_>) {
        let (content, is_text) = match frame {
            Incoming::Text(text) => (text.as_bytes(), true),
            Incoming::Binary(binary) => (*binary, false),
        };
        self.received += 1;
        let mark = Mark { number: self.received, len: content.len(), is_text, context };
        self.opened |= !self.opening.has_room(content.len(), OPENING);
        if !self.opened {
            self.opening.push(mark, content);
        } else if content.len() <= LATEST.bytes {
            self.latest.make_room(content.len(), LATEST);
            self.latest.push(mark, content);
        } else {
            self.left_out += 1;
        }
    }

    fn call(&mut self, context: Context, subscribes: bool, subscriptions: &[Subscription]) {
        if self.calls.len() < CALLS && self.asked + subscriptions.len() <= ASKED {
            self.asked += subscriptions.len();
            let (before, subscriptions) = (self.received + 1, subscriptions.to_vec());
            self.calls.push(StreamCall { before, context, subscribes, subscriptions });
        }
    }

    fn into_tape(self) -> StreamTape {
        let mut frames = Vec::with_capacity(self.opening.marks.len() + self.latest.marks.len());
        self.opening.read_into(&mut frames);
        self.latest.read_into(&mut frames);
        let Self { context, wanted, answers, calls, left_out, .. } = self;
        StreamTape { context, wanted, answers, calls, frames, left_out }
    }
}

/// The tapes of one provider. Shared by its connections and its poller, which write, and whoever reads.
#[derive(Default)]
pub struct Tapes {
    /// Oldest first.
    reels: Mutex<Vec<Weak<Mutex<Reel>>>>,
    poll: Mutex<PollTape>,
}

impl fmt::Debug for Tapes {
    /// What venues said stays out of logs: an answer before a connection may be a token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tapes").finish_non_exhaustive()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Tapes {
    /// For one connection, across its attempts.
    pub fn recorder(self: &Arc<Self>) -> Recorder {
        Recorder { tapes: self.clone(), reel: self.reel(), before: None }
    }

    fn reel(&self) -> Arc<Mutex<Reel>> {
        let reel = Arc::default();
        let mut reels = lock(&self.reels);
        reels.retain(|reel| reel.strong_count() > 0);
        reels.push(Arc::downgrade(&reel));
        reel
    }

    /// A poll was planned for these ids.
    pub fn planned(&self, context: Context, wanted: &[Subscription]) {
        let mut poll = lock(&self.poll);
        poll.context = context;
        if poll.wanted != wanted {
            // A number that belongs to another id now would give an old answer another meaning.
            let before: BTreeMap<Key, &str> = poll.wanted.iter().map(|one| (one.key, &*one.id)).collect();
            let same = wanted.iter().filter(|one| before.get(&one.key) == Some(&&*one.id));
            let same: BTreeSet<Key> = same.map(|one| one.key).collect();
            poll.answers.retain(|answer| answer.keys.iter().all(|key| same.contains(key)));
            poll.wanted = wanted.to_vec();
        }
    }

    /// A request was answered.
    pub fn answered(&self, context: Context, planned: &PlannedRequest, response: &Response) {
        let mut poll = lock(&self.poll);
        let known = poll.answers.iter().position(|answer| answer.keys == planned.keys);
        // What says nothing of values does not push out what does.
        let is_good = |response: &Response| response.status < 300;
        if known.and_then(|at| poll.answers.get(at)).is_some_and(|known| is_good(&known.response)) && !is_good(response)
        {
            return;
        }
        if size(response) > ANSWERS.bytes {
            poll.left_out += 1;
            return;
        }
        if let Some(known) = known {
            poll.answers.remove(known);
        }
        let mut bytes: usize = poll.answers.iter().map(|answer| size(&answer.response)).sum();
        while poll.answers.len() >= ANSWERS.count || bytes + size(response) > ANSWERS.bytes {
            let Some(oldest) = poll.answers.pop_front() else { break };
            bytes -= size(&oldest.response);
        }
        let (url, keys, response) = (planned.request.url.clone(), planned.keys.clone(), response.clone());
        poll.answers.push_back(PollAnswer { context, url, keys, response });
    }

    /// A copy of all that is there. Of a connection that received nothing yet there is the one before it.
    pub fn snapshot(&self) -> Vec<Tape> {
        let reels: Vec<_> = lock(&self.reels).iter().filter_map(Weak::upgrade).collect();
        // Put together after the lock, for which a connection may be waiting, is gone.
        let reels = reels.iter().map(|reel| lock(reel).clone()).filter(|reel| reel.received > 0);
        let mut tapes: Vec<Tape> = reels.map(|reel| Tape::Stream(reel.into_tape())).collect();
        let poll = lock(&self.poll).clone();
        if !poll.answers.is_empty() {
            tapes.push(Tape::Poll(poll));
        }
        tapes
    }
}

fn size(response: &Response) -> usize {
    let headers = response.headers.iter().map(|(name, value)| name.len() + value.len());
    response.body.len() + headers.sum::<usize>()
}

/// Writes the tape of one connection.
pub struct Recorder {
    tapes: Arc<Tapes>,
    reel: Arc<Mutex<Reel>>,
    /// What was recorded before, until something comes.
    before: Option<Arc<Mutex<Reel>>>,
}

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recorder").finish_non_exhaustive()
    }
}

impl Recorder {
    /// For the connection that is to take this one's place.
    pub fn successor(&self) -> Self {
        Self { tapes: self.tapes.clone(), reel: self.tapes.reel(), before: Some(self.reel.clone()) }
    }

    /// A new attempt, with a new codec.
    pub fn begin(&mut self, context: Context, wanted: &[Subscription]) {
        if lock(&self.reel).received > 0 {
            self.before = Some(std::mem::replace(&mut self.reel, self.tapes.reel()));
        }
        *lock(&self.reel) = Reel { context, wanted: wanted.to_vec(), ..Reel::default() };
    }

    /// A request goes out before the connection.
    pub fn fetching(&mut self, url: &str) {
        lock(&self.reel).fetching = Some(url.to_owned());
    }

    /// Its answer, on its way to the codec.
    pub fn fetched(&mut self, context: Context, response: &Response) {
        let mut reel = lock(&self.reel);
        let Some(url) = reel.fetching.take() else { return };
        let bytes: usize = reel.answers.iter().map(|answer| size(&answer.response)).sum();
        if reel.answers.len() < FETCHED.count && bytes + size(response) <= FETCHED.bytes {
            reel.answers.push(FetchAnswer { context, url, response: response.clone() });
        }
    }

    pub fn subscribing(&mut self, context: Context, subscriptions: &[Subscription]) {
        lock(&self.reel).call(context, true, subscriptions);
    }

    pub fn unsubscribing(&mut self, context: Context, subscriptions: &[Subscription]) {
        lock(&self.reel).call(context, false, subscriptions);
    }

    /// Frames on their way to the codec, all in one call.
    pub fn frames(&mut self, context: Context, frames: &[Incoming<'_>]) {
        self.before = None;
        let mut reel = lock(&self.reel);
        for frame in frames {
            reel.push(context, frame);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::codec::{Method, Request};

    fn context(now_ms: u64) -> Context {
        Context { now_ms, nonce: 0 }
    }

    fn wanted(ids: &str) -> Vec<Subscription> {
        let number = |(at, id): (usize, &str)| Subscription { key: Key(at as u32), id: id.into() };
        ids.split_whitespace().enumerate().map(number).collect()
    }

    fn streams(tapes: &Tapes) -> Vec<StreamTape> {
        let stream = |tape| match tape {
            Tape::Stream(stream) => Some(stream),
            Tape::Poll(_) => None,
        };
        tapes.snapshot().into_iter().filter_map(stream).collect()
    }

    /// `"1 x"`: frame 1 with this text.
    fn frames(tape: &StreamTape) -> Vec<String> {
        let shown = |frame: &TapeFrame| match &frame.content {
            Frame::Text(text) => format!("{} {text}", frame.number),
            other => format!("{} {other:?}", frame.number),
        };
        tape.frames.iter().map(shown).collect()
    }

    /// So many frames of so many bytes: which numbers are kept, and how many frames were left out.
    #[track_caller]
    fn check(count: u64, bytes: usize, kept: &[std::ops::RangeInclusive<u64>], left_out: u64) {
        let tapes = Arc::new(Tapes::default());
        let mut recorder = tapes.recorder();
        let content = "x".repeat(bytes);
        for _ in 0..count {
            recorder.frames(context(1), &[Incoming::Text(&content)]);
        }
        let tape = streams(&tapes).pop().unwrap();
        let numbers: Vec<u64> = tape.frames.iter().map(|frame| frame.number).collect();
        assert_eq!(numbers, kept.iter().cloned().flatten().collect::<Vec<_>>());
        assert!(tape.frames.iter().all(|frame| frame.content == Frame::Text(content.clone())));
        assert_eq!(tape.left_out, left_out);
        let reel = lock(&recorder.reel);
        assert!(reel.opening.bytes.len() <= OPENING.bytes && reel.latest.bytes.len() <= LATEST.bytes);
        assert!(reel.latest.bytes.capacity() <= 2 * LATEST.bytes, "{}", reel.latest.bytes.capacity());
    }

    #[test]
    fn the_first_and_the_last_frames_are_kept() {
        check(5, 10, &[1..=5], 0);
        check(288, 10, &[1..=288], 0);
        check(1_000, 10, &[1..=32, 745..=1_000], 0);
        check(1_000, 0, &[1..=32, 745..=1_000], 0);
    }

    #[test]
    fn bytes_are_bounded_too() {
        // Two fit the opening, eight the rest.
        check(100, 32 << 10, &[1..=2, 93..=100], 0);
        check(3, 200 << 10, &[3..=3], 0);
        check(3, 300 << 10, &[], 3);
    }

    #[test]
    fn binary_stays_binary_and_knows_when_it_came() {
        let tapes = Arc::new(Tapes::default());
        let mut recorder = tapes.recorder();
        recorder.frames(context(7), &[Incoming::Binary(b"abc"), Incoming::Text("abc")]);
        let tape = streams(&tapes).pop().unwrap();
        assert_eq!(tape.frames[0].content, Frame::Binary(b"abc".to_vec()));
        assert_eq!(tape.frames[1].content, Frame::Text("abc".to_owned()));
        assert_eq!(tape.frames[0].context.now_ms, 7);
    }

    #[test]
    fn a_tape_lives_until_the_next_one_has_frames() {
        let tapes = Arc::new(Tapes::default());
        let all = || streams(&tapes).iter().map(frames).collect::<Vec<_>>();
        let mut recorder = tapes.recorder();
        recorder.begin(context(1), &wanted("a"));
        assert!(all().is_empty());
        recorder.frames(context(1), &[Incoming::Text("x")]);
        assert_eq!(all(), [["1 x"]]);
        // Two attempts that come to nothing.
        recorder.begin(context(2), &wanted("a"));
        recorder.begin(context(3), &wanted("a"));
        assert_eq!(all(), [["1 x"]]);
        recorder.frames(context(3), &[Incoming::Text("y")]);
        assert_eq!(all(), [["1 y"]]);
        // A successor that takes over before it heard anything.
        let mut successor = recorder.successor();
        successor.begin(context(4), &wanted("a"));
        drop(recorder);
        assert_eq!(all(), [["1 y"]]);
        successor.frames(context(4), &[Incoming::Text("z")]);
        assert_eq!(all(), [["1 z"]]);
        drop(successor);
        assert!(all().is_empty());
    }

    #[test]
    fn what_the_codec_was_asked_before_and_between_frames_is_kept_in_its_place() {
        let tapes = Arc::new(Tapes::default());
        let mut recorder = tapes.recorder();
        let ids = wanted("a b");
        recorder.begin(context(1), &ids);
        recorder.fetching("https://venue.example/token");
        let response = Response { status: 200, headers: Vec::new(), body: b"t".to_vec() };
        recorder.fetched(context(2), &response);
        recorder.subscribing(context(3), &ids);
        recorder.frames(context(4), &[Incoming::Text("x"), Incoming::Text("y")]);
        recorder.unsubscribing(context(5), &ids[..1]);
        let tape = streams(&tapes).pop().unwrap();
        assert_eq!((tape.context.now_ms, tape.wanted), (1, ids));
        assert_eq!((tape.answers[0].url.as_str(), tape.answers[0].context.now_ms), ("https://venue.example/token", 2));
        let calls: Vec<_> = tape.calls.iter().map(|call| (call.before, call.subscribes)).collect();
        assert_eq!(calls, [(1, true), (3, false)]);
        for _ in 0..5_000 {
            recorder.subscribing(context(6), &wanted("a"));
        }
        assert_eq!(streams(&tapes).pop().unwrap().calls.len(), CALLS);
    }

    fn planned(keys: std::ops::Range<u32>) -> PlannedRequest {
        let url = format!("https://venue.example/{}", keys.start);
        let request = Request { method: Method::Get, url, headers: Vec::new(), body: None };
        PlannedRequest { request, keys: keys.map(Key).collect() }
    }

    fn answer(status: u16, bytes: usize) -> Response {
        Response { status, headers: Vec::new(), body: vec![b'x'; bytes] }
    }

    /// First keys and body lengths of the answers that are kept.
    fn answers(tapes: &Tapes) -> Vec<(u32, usize)> {
        let poll = lock(&tapes.poll);
        poll.answers.iter().map(|answer| (answer.keys[0].0, answer.response.body.len())).collect()
    }

    #[test]
    fn of_polls_the_last_good_answer_to_each_set_of_ids_is_kept() {
        let tapes = Tapes::default();
        tapes.planned(context(1), &wanted("a b c d"));
        for (keys, status, bytes) in
            [(0..2, 200, 10), (2..4, 503, 20), (0..2, 200, 11), (0..2, 503, 12), (0..2, 304, 0)]
        {
            tapes.answered(context(1), &planned(keys), &answer(status, bytes));
        }
        assert_eq!(answers(&tapes), [(2, 20), (0, 11)]);
        tapes.planned(context(2), &wanted("a b c"));
        assert_eq!(answers(&tapes), [(0, 11)]);
        tapes.planned(context(2), &wanted("a c b"));
        assert_eq!(answers(&tapes), []);
    }

    #[test]
    fn answers_are_bounded_in_number_and_bytes() {
        let tapes = Tapes::default();
        for key in 0..100 {
            tapes.answered(context(1), &planned(key..key + 1), &answer(200, 10));
        }
        assert_eq!(answers(&tapes).len(), ANSWERS.count);
        for key in 0..3 {
            tapes.answered(context(1), &planned(key..key + 1), &answer(200, 400 << 10));
        }
        assert_eq!(answers(&tapes), [(1, 400 << 10), (2, 400 << 10)]);
        tapes.answered(context(1), &planned(7..8), &answer(200, 2 << 20));
        assert_eq!((answers(&tapes).len(), lock(&tapes.poll).left_out), (2, 1));
    }
}
