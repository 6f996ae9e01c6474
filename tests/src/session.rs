//! What a venue's protocol file implements, and what it is given. No sockets and no clock: time is
//! in the [`World`].

use serde_json::Value;
use tokio_tungstenite::tungstenite::Message;

use crate::clock;
use crate::fault::Notice;
use crate::http::Response;
use crate::market::{Change, Listing, Market, Quote};
use crate::options::Options;

/// One WebSocket connection as the venue sees it. The shell tells it what happened and sends what
/// it puts out.
pub(crate) trait Session: Send {
    fn on_open(&mut self, world: &World<'_>, out: &mut Vec<Out>);
    fn on_message(&mut self, text: &str, world: &World<'_>, out: &mut Vec<Out>);
    /// Not called while the venue is silent.
    fn on_prices(&mut self, changes: &[Change], world: &World<'_>, out: &mut Vec<Out>);
    /// `deadline` has come.
    fn on_timer(&mut self, _world: &World<'_>, _out: &mut Vec<Out>) {}
    /// When `on_timer` is due, in nanoseconds since the Unix epoch.
    fn deadline(&self) -> Option<u64> {
        None
    }
    /// A ping came (answered by the shell).
    fn on_ping(&mut self, _world: &World<'_>, _out: &mut Vec<Out>) {}
    fn on_pong(&mut self, _payload: &[u8], _world: &World<'_>, _out: &mut Vec<Out>) {}
    fn on_notice(&mut self, _notice: Notice, _world: &World<'_>, _out: &mut Vec<Out>) {}
    /// The indices of the listings that are subscribed, once for each subscription.
    fn subscribed(&self) -> Vec<usize>;
}

/// What a session wants done.
#[derive(Debug, PartialEq)]
pub(crate) enum Out {
    Text(String),
    /// Sent as a binary message, packed with gzip.
    Gzip(String),
    Binary(Vec<u8>),
    /// Sent as it is, by the shell.
    Raw(Message),
    Ping(String),
    Close(u16, &'static str),
    Reset,
    /// The client broke a documented limit: count it.
    Violation(String),
}

/// Everything a protocol may know during one call.
pub(crate) struct World<'a> {
    /// Nanoseconds since the Unix epoch.
    pub(crate) now: u64,
    pub(crate) market: &'a Market,
    pub(crate) options: &'a Options,
    /// Snapshots are prices too: none is sent while this is set.
    pub(crate) silent: bool,
    pub(crate) reject_all: bool,
    pub(crate) gaps: bool,
}

impl<'a> World<'a> {
    pub(crate) fn find(&self, id: &str) -> Option<usize> {
        if self.reject_all { None } else { self.market.find(id) }
    }

    pub(crate) fn listing(&self, index: usize) -> &'a Listing {
        self.market.listing(index)
    }

    pub(crate) fn quote(&self, index: usize) -> &'a Quote {
        &self.listing(index).quote
    }

    pub(crate) fn millis(&self) -> u64 {
        self.now / 1_000_000
    }

    pub(crate) fn rfc3339(&self) -> String {
        clock::rfc3339(self.now)
    }

    /// Whether a breach of a limit has consequences. It is counted in any case.
    pub(crate) fn enforced(&self, violation: String, out: &mut Vec<Out>) -> bool {
        out.push(Out::Violation(violation));
        self.options.enforce_limits
    }

    /// How far the next number of a sequence is from the last.
    pub(crate) fn sequence_step(&self) -> u64 {
        if self.gaps { 2 } else { 1 }
    }
}

/// A protocol's answer to a WebSocket handshake.
pub(crate) type Opened = Result<Box<dyn Session>, Response>;

/// `text` as a JSON string, quotes and all.
pub(crate) fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

/// A list of strings and nothing else.
pub(crate) fn strings(list: &Value) -> Option<Vec<&str>> {
    list.as_array()?.iter().map(Value::as_str).collect()
}

/// What the tables of the protocols' tests are written with.
#[cfg(test)]
pub(crate) mod testing {
    use super::*;
    use crate::Kind;

    pub(crate) struct Bench {
        pub(crate) now: u64,
        pub(crate) market: Market,
        pub(crate) options: Options,
        pub(crate) silent: bool,
        pub(crate) reject_all: bool,
        pub(crate) gaps: bool,
    }

    impl Bench {
        pub(crate) fn new(prices: &[(&str, &str)]) -> Self {
            let prices: Vec<_> = prices.iter().map(|(id, price)| (id.to_string(), price.to_string())).collect();
            let now = 1_700_000_000_123_456_789;
            let market = Market::new(&prices, 1, 0, now).expect("valid prices");
            Self { now, market, options: Options::default(), silent: false, reject_all: false, gaps: false }
        }

        pub(crate) fn world(&self) -> World<'_> {
            let Self { now, ref market, ref options, silent, reject_all, gaps } = *self;
            World { now, market, options, silent, reject_all, gaps }
        }

        pub(crate) fn open(&self, kind: Kind, target: &str) -> Box<dyn Session> {
            match kind.open(target, 3, &self.world()) {
                Ok(session) => session,
                Err(response) => panic!("{target} was refused with {}", response.status),
            }
        }

        pub(crate) fn tell(&self, session: &mut dyn Session, message: &str) -> Vec<String> {
            collect(|out| session.on_message(message, &self.world(), out))
        }

        pub(crate) fn push(&mut self, session: &mut dyn Session, id: &str, price: &str) -> Vec<String> {
            let index = self.market.find(id).expect("a listed id");
            let change = self.market.hold(index, price, self.now);
            collect(|out| session.on_prices(&[change], &self.world(), out))
        }

        /// Moves on to the session's deadline.
        pub(crate) fn wake(&mut self, session: &mut dyn Session) -> Vec<String> {
            self.now = session.deadline().expect("a deadline");
            collect(|out| session.on_timer(&self.world(), out))
        }
    }

    pub(crate) fn collect(call: impl FnOnce(&mut Vec<Out>)) -> Vec<String> {
        let mut out = Vec::new();
        call(&mut out);
        out.into_iter()
            .map(|out| match out {
                Out::Text(text) | Out::Gzip(text) => text,
                other => format!("{other:?}"),
            })
            .collect()
    }
}
