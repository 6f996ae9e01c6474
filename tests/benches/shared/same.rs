//! The plugins' own code compiled for this machine: what reading a message takes without WebAssembly, its memory and its
//! interface.

use feedgate::contract::codec::Subscription;
use feedgate::contract::observation::{Decimal, Key, Observation, UnixNanos, Value};
use feedgate_sdk::http::Outcome;
use feedgate_sdk::websocket::Event;
use feedgate_sdk::{Context, Events, Http, Incoming, Plugin, Response, Timestamp, WebSocket};

use super::Shape;

/// A plugin's source as a module of the benchmark.
macro_rules! plugin {
    ($name:ident, $path:literal) => {
        #[allow(dead_code, unused_imports, clippy::all, reason = "not this package's code")]
        #[path = $path]
        mod $name;
    };
}
plugin!(binance, "../../../plugins/binance/src/lib.rs");
plugin!(bitfinex, "../../../plugins/bitfinex/src/lib.rs");
plugin!(bybit, "../../../plugins/bybit/src/lib.rs");
plugin!(coinbase, "../../../plugins/coinbase/src/lib.rs");
plugin!(kraken, "../../../plugins/kraken/src/lib.rs");

const CONTEXT: Context = Context { now_ms: super::CONTEXT.now_ms, nonce: super::CONTEXT.nonce };

/// Reads a payload and hands on what it says.
pub(crate) type Read = Box<dyn FnMut(&str, &mut dyn FnMut(Observation))>;

/// One instance with its settings and ids, as the host would have it.
pub(crate) fn read(shape: &Shape, subscriptions: &[Subscription]) -> Read {
    match (shape.plugin, shape.polled) {
        ("binance", true) => polled::<binance::Binance>(shape, subscriptions),
        ("binance", false) => streamed::<binance::Binance>(shape, subscriptions),
        ("bitfinex", _) => streamed::<bitfinex::Bitfinex>(shape, subscriptions),
        ("bybit", _) => streamed::<bybit::Bybit>(shape, subscriptions),
        ("coinbase", _) => streamed::<coinbase::Coinbase>(shape, subscriptions),
        ("kraken", _) => streamed::<kraken::Kraken>(shape, subscriptions),
        (other, _) => unreachable!("{other} has no shape"),
    }
}

fn streamed<P: WebSocket + 'static>(shape: &Shape, subscriptions: &[Subscription]) -> Read {
    let (mut plugin, subscriptions) = configured::<P>(shape, subscriptions);
    plugin.connect(&CONTEXT, &subscriptions, None).expect("it dials");
    plugin.subscribe(&CONTEXT, &subscriptions).expect("it subscribes");
    Events::read(&mut plugin, &CONTEXT, shape.opening.iter().map(|text| Incoming::Text(text)));
    Box::new(move |payload, each| {
        // Its own copy, as a plugin has one.
        let copy = payload.to_owned();
        for event in Events::read(&mut plugin, &CONTEXT, [Incoming::Text(&copy)].into_iter()) {
            if let Event::Observed(observation) = event {
                each(observed(&observation));
            }
        }
    })
}

fn polled<P: Http + 'static>(shape: &Shape, subscriptions: &[Subscription]) -> Read {
    let (mut plugin, subscriptions) = configured::<P>(shape, subscriptions);
    plugin.create_requests(&CONTEXT, &subscriptions).expect("it asks");
    let keys: Vec<_> = subscriptions.iter().map(|subscription| subscription.key).collect();
    Box::new(move |payload, each| {
        let response = Response { status: 200, headers: Vec::new(), body: payload.as_bytes().to_vec() };
        for outcome in plugin.parse_response(&CONTEXT, &keys, &response).expect("it reads") {
            if let Outcome::Observed(observation) = outcome {
                each(observed(&observation));
            }
        }
    })
}

fn configured<P: Plugin>(shape: &Shape, subscriptions: &[Subscription]) -> (P, Vec<feedgate_sdk::Subscription>) {
    let (plugin, _) = P::configure(shape.settings).expect("good settings");
    let subscription = |s: &Subscription| feedgate_sdk::Subscription { key: s.key.0, id: s.id.to_string() };
    (plugin, subscriptions.iter().map(subscription).collect())
}

fn observed(observation: &feedgate_sdk::Observation) -> Observation {
    let feedgate_sdk::Value::Decimal(decimal) = observation.value else { unreachable!("no shape has another value") };
    let nanos = |time: Timestamp| match time {
        Timestamp::Seconds(count) => count * 1_000_000_000,
        Timestamp::Millis(count) => count * 1_000_000,
        Timestamp::Micros(count) => count * 1_000,
        Timestamp::Nanos(count) => count,
    };
    Observation {
        key: Key(observation.key),
        value: Value::Decimal(Decimal::new(decimal.coefficient, decimal.exponent).expect("in range")),
        observed_at: observation.observed_at.map(|time| UnixNanos(nanos(time))),
        sequence: observation.sequence,
    }
}
