//! Streaming: the trait of a plugin that exports `websocket`, its types as the contract has them, and the list of
//! events that it fills.

pub use crate::bindings::feedgate::provider::streaming::{
    Endpoint, Event, Gap, MalformedFrame, Received, Reconnect, Step,
};
use crate::{Context, Error, Frame, Key, Malformed, Observation, Plugin, Rejection, Response, Subscription};

/// A plugin that streams.
pub trait WebSocket: Plugin {
    /// Where to connect. Called again with the answer after each [`Step::Fetch`].
    fn connect(
        &mut self,
        context: &Context,
        subscriptions: &[Subscription],
        previous: Option<Response>,
    ) -> Result<Step, Error>;

    /// The frames that subscribe to these ids. Called again when ids are added, and for ids that were not answered, were
    /// refused [for now](Rejection::for_now), or of which nothing was heard.
    fn subscribe(&mut self, context: &Context, subscriptions: &[Subscription]) -> Result<Vec<Frame>, Error>;

    /// The frames that end these subscriptions.
    fn unsubscribe(&mut self, context: &Context, subscriptions: &[Subscription]) -> Result<Vec<Frame>, Error>;

    /// The frames of a heartbeat, for the venues that want one from the client.
    fn heartbeat(&mut self, context: &Context) -> Vec<Frame> {
        let _ = context;
        Vec::new()
    }

    /// Reads one frame. A frame that means nothing to the host gives no event. An error makes the frame `malformed`
    /// and costs only what of the frame was not read yet: events pushed before it stay.
    fn handle(&mut self, context: &Context, frame: Incoming<'_>, events: &mut Events) -> Result<(), Malformed>;
}

/// A frame that came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Incoming<'a> {
    Text(&'a str),
    Binary(&'a [u8]),
}

impl<'a> Incoming<'a> {
    /// The text of a frame that must be one.
    pub fn text(self) -> Result<&'a str, Malformed> {
        match self {
            Self::Text(text) => Ok(text),
            Self::Binary(_) => Err(Malformed::new("a binary frame where the venue sends text")),
        }
    }
}

/// The events of one call, in order.
#[derive(Debug, Default)]
pub struct Events(Vec<Event>);

impl Events {
    pub fn observed(&mut self, observation: Observation) {
        self.0.push(Event::Observed(observation));
    }

    /// The venue confirms the value that the host already has.
    pub fn unchanged(&mut self, key: Key) {
        self.0.push(Event::Unchanged(key));
    }

    /// The venue accepted the subscription.
    pub fn subscribed(&mut self, key: Key) {
        self.0.push(Event::Subscribed(key));
    }

    /// The venue refused the subscription.
    pub fn rejected(&mut self, rejection: Rejection) {
        self.0.push(Event::Rejected(rejection));
    }

    /// Send this to the venue.
    pub fn reply(&mut self, frame: Frame) {
        self.0.push(Event::Reply(frame));
    }

    /// The venue is ready to be subscribed to.
    pub fn ready(&mut self) {
        self.0.push(Event::Ready);
    }

    /// The connection is alive, which says nothing of any id.
    pub fn alive(&mut self) {
        self.0.push(Event::Alive);
    }

    /// Replace the connection.
    pub fn reconnect(&mut self, when: Reconnect) {
        self.0.push(Event::Reconnect(when));
    }

    /// So many messages never arrived, of one id or, with `None`, of the connection: the venue's numbers jumped. It is
    /// counted and shown. A plugin whose values build on each other asks to [`reconnect`](Self::reconnect) as well.
    pub fn gap(&mut self, key: Option<Key>, missing: u64) {
        self.0.push(Event::Gap(Gap { key, missing }));
    }

    /// Reads frames with a plugin. The macros call it; so may tests.
    pub fn read<'a>(
        plugin: &mut impl WebSocket,
        context: &Context,
        frames: impl ExactSizeIterator<Item = Incoming<'a>>,
    ) -> Vec<Event> {
        let mut events = Self(Vec::with_capacity(frames.len()));
        for (index, frame) in (0..).zip(frames) {
            if let Err(malformed) = plugin.handle(context, frame, &mut events) {
                let text = malformed.0.into_owned();
                events.0.push(Event::Malformed(MalformedFrame { index, text }));
            }
        }
        events.0
    }

    /// The same of frames as the contract hands them in. Wrong ends would be the host's fault; they end the call.
    #[doc(hidden)]
    pub fn read_received(
        plugin: &mut impl WebSocket,
        context: &Context,
        received: &Received,
        ends: Option<&[u32]>,
    ) -> Vec<Event> {
        let length = match received {
            Received::Text(text) => text.len(),
            Received::Binary(bytes) => bytes.len(),
        };
        let lone = [u32::try_from(length).expect("an address has 32 bits")];
        let mut start = 0;
        let frames = ends.unwrap_or(&lone).iter().map(|end| {
            let frame = start..*end as usize;
            start = frame.end;
            match received {
                Received::Text(text) => Incoming::Text(&text[frame]),
                Received::Binary(bytes) => Incoming::Binary(&bytes[frame]),
            }
        });
        Self::read(plugin, context, frames)
    }
}
