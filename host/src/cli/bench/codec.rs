//! What stands where the plugin's codec stands: the plugin's, native code that does the same, or nothing; each with a watch
//! on how long frames take.
//!
//! Connecting and subscribing is always the plugin's, so the venue sees no difference and none of its words stand here.
//! Only frames that come once everything is subscribed go another way.
//!
//! A frame says in its price when it was sent, and the clock is read when the call that delivers it ends: once a call, in
//! the same way for plugin and native code, and on the thread that does the work, so that nothing is woken and no processor
//! is kept busy by looking. What is not in it is the write into the slot that follows, which is the same for both.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use feedgate_tests::{load, native};

use crate::contract::codec::{
    CodecError, Context, Death, Event, Frame, HttpCodec, Incoming, OpenCodec, Outcome, PlannedRequest, Response, Step,
    Subscription, WebSocketCodec,
};
use crate::contract::observation::{Decimal, Key, Observation, UnixNanos, Value, ValueKind};
use crate::plugin::{Configured, PluginInstance};

/// Who reads the frames.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Reader {
    /// Nobody: what is left is the socket and the host.
    Null,
    /// `serde_json::from_slice`, typed and borrowing.
    Native,
    Plugin,
}

impl Reader {
    pub(super) const ALL: [Self; 3] = [Self::Null, Self::Native, Self::Plugin];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Null => "nothing",
            Self::Native => "native",
            Self::Plugin => "plugin",
        }
    }
}

/// How many nanoseconds frames took, while somebody wants to know.
#[derive(Default, Debug)]
pub(super) struct Watch {
    on: AtomicBool,
    taken: Mutex<Vec<u64>>,
}

impl Watch {
    /// From here on.
    pub(super) fn start(&self, frames: usize) {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.clear();
        taken.reserve(frames);
        drop(taken);
        self.on.store(true, Ordering::Relaxed);
    }

    /// Until here.
    pub(super) fn stop(&self) -> Vec<u64> {
        self.on.store(false, Ordering::Relaxed);
        std::mem::take(&mut *self.taken.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn see(&self, events: &[Event]) {
        if !self.on.load(Ordering::Relaxed) {
            return;
        }
        let now = load::monotonic();
        let took = |event: &Event| match event {
            Event::Observed(Observation { value: Value::Decimal(price), .. }) => since_sent(*price, now),
            _ => None,
        };
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.extend(events.iter().filter_map(took));
    }
}

/// How many nanoseconds before `now` the frame with this price was sent.
pub(super) fn since_sent(price: Decimal, now: u64) -> Option<u64> {
    let (_, coefficient, exponent) = price.parts();
    load::since_sent(u64::try_from(coefficient).ok()?, exponent, now)
}

#[derive(Clone, Debug)]
pub(super) struct Open {
    pub(super) plugin: Configured,
    pub(super) reader: Reader,
    pub(super) watch: Arc<Watch>,
}

impl OpenCodec for Open {
    type Codec = Codec;

    async fn open(&self) -> Result<(Codec, ValueKind), Death> {
        let (plugin, kind) = self.plugin.open().await?;
        let (reader, watch) = (self.reader, self.watch.clone());
        Ok((Codec { plugin, reader, watch, keys: HashMap::new(), unconfirmed: 0 }, kind))
    }
}

pub(super) struct Codec {
    plugin: PluginInstance,
    reader: Reader,
    watch: Arc<Watch>,
    keys: HashMap<Arc<str>, Key>,
    /// How many ids the venue has not confirmed: until then frames are the plugin's.
    unconfirmed: usize,
}

impl Codec {
    fn read(&self, frames: &[Incoming<'_>]) -> Vec<Event> {
        let mut events = Vec::with_capacity(frames.len());
        for (index, frame) in frames.iter().enumerate() {
            events.push(match native::mini_ticker(frame.bytes()) {
                Ok(price) => self.event(price),
                Err(error) => {
                    Event::Malformed { index: u32::try_from(index).unwrap_or_default(), text: error.to_string() }
                }
            });
        }
        events
    }

    fn event(&self, price: native::Price<'_>) -> Event {
        // Nobody asked for it.
        let Some(&key) = self.keys.get(price.symbol) else { return Event::Alive };
        match Decimal::new(price.coefficient, price.exponent) {
            Ok(value) => Event::Observed(Observation {
                key,
                value: Value::Decimal(value),
                observed_at: price.millis.map(|millis| UnixNanos(millis.saturating_mul(1_000_000))),
                sequence: price.sequence,
            }),
            Err(error) => Event::Unusable { key, why: error.to_string() },
        }
    }
}

impl WebSocketCodec for Codec {
    async fn connect(
        &mut self,
        context: Context,
        subscriptions: &[Subscription],
        previous: Option<&Response>,
    ) -> Result<Step, CodecError> {
        self.plugin.connect(context, subscriptions, previous).await
    }

    async fn subscribe(&mut self, context: Context, subscriptions: &[Subscription]) -> Result<Vec<Frame>, CodecError> {
        self.keys.extend(subscriptions.iter().map(|subscription| (subscription.id.clone(), subscription.key)));
        self.unconfirmed += subscriptions.len();
        self.plugin.subscribe(context, subscriptions).await
    }

    async fn unsubscribe(
        &mut self,
        context: Context,
        subscriptions: &[Subscription],
    ) -> Result<Vec<Frame>, CodecError> {
        self.plugin.unsubscribe(context, subscriptions).await
    }

    async fn heartbeat(&mut self, context: Context) -> Result<Vec<Frame>, CodecError> {
        self.plugin.heartbeat(context).await
    }

    async fn handle_messages(&mut self, context: Context, frames: &[Incoming<'_>]) -> Result<Vec<Event>, CodecError> {
        let events = if self.unconfirmed > 0 {
            let events = self.plugin.handle_messages(context, frames).await?;
            let confirmed = events.iter().filter(|event| matches!(event, Event::Subscribed(_))).count();
            self.unconfirmed = self.unconfirmed.saturating_sub(confirmed);
            events
        } else {
            match self.reader {
                Reader::Null => Vec::new(),
                Reader::Native => self.read(frames),
                Reader::Plugin => self.plugin.handle_messages(context, frames).await?,
            }
        };
        self.watch.see(&events);
        Ok(events)
    }
}

/// The venue that is measured streams.
impl HttpCodec for Codec {
    async fn create_requests(
        &mut self,
        context: Context,
        subscriptions: &[Subscription],
    ) -> Result<Vec<PlannedRequest>, CodecError> {
        self.plugin.create_requests(context, subscriptions).await
    }

    async fn parse_response(
        &mut self,
        context: Context,
        keys: &[Key],
        response: &Response,
    ) -> Result<Vec<Outcome>, CodecError> {
        self.plugin.parse_response(context, keys, response).await
    }
}
