//! What the benchmarks share: messages in the shapes that venues send, and three ways from one of them into the store's
//! slots: a native parser, the plugin's own code compiled for this machine, and the compiled plugin through the host.

#![allow(dead_code, reason = "each benchmark uses a part of it")]

#[path = "core.rs"]
mod core;
#[path = "same.rs"]
mod same;

use std::collections::HashMap;
use std::fmt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use feedgate::authoring::build;
use feedgate::contract::codec::{
    Context, Event, HttpCodec, Incoming, OpenCodec, Outcome, Response, Subscription, WebSocketCodec,
};
use feedgate::contract::limits::PluginLimits;
use feedgate::contract::observation::{Decimal, Key, Observation, Receipt, UnixNanos, Value};
use feedgate::plugin::{Compiler, Engine, PluginInstance};
use feedgate::store::state_dir::StateDir;
use feedgate::store::{ProviderSlots, SlotTable, Store};
use feedgate_tests::native::{self, Price};
use foldhash::fast::RandomState;
use futures_util::FutureExt;

use self::core::Core;

pub(crate) const CONTEXT: Context = Context { now_ms: 1_763_700_000_000, nonce: 1 };

/// The bases of what a connection is subscribed to.
const BASES: [&str; 8] = ["BTC", "ETH", "SOL", "XRP", "ADA", "LTC", "DOT", "UNI"];

/// Different payloads of one shape, taken in turns.
const FRAMES: u64 = 64;
const ANSWERS: u64 = 4;

/// The channel of the first base.
const FIRST_CHANNEL: u64 = 224_550;

/// One message that some venue sends all the time.
pub(crate) struct Shape {
    name: &'static str,
    plugin: &'static str,
    settings: &'static str,
    ids: Vec<String>,
    /// What the venue says before.
    opening: Vec<String>,
    polled: bool,
    /// The payload with a number; its prices differ with it.
    payload: fn(u64) -> String,
    parse: Parse,
    /// At most so many times what the native parser takes, for one payload a call.
    pub(crate) target: Option<f64>,
}

impl Shape {
    pub(crate) fn is_streamed(&self) -> bool {
        !self.polled
    }
}

type Parse = fn(&[u8], &mut dyn FnMut(Price<'_>)) -> Result<(), serde_json::Error>;

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = (self.payload)(0).len();
        write!(f, "{} {bytes} B, {}", self.plugin, self.name)
    }
}

/// The shapes of five venues, small to large.
pub(crate) fn shapes() -> Vec<Shape> {
    let pairs = |spell: fn(&str) -> String| BASES.iter().map(|base| spell(base)).collect::<Vec<_>>();
    let usdt = || pairs(|base| format!("{base}USDT"));
    let streamed = |name, plugin, ids, payload, parse| Shape {
        name,
        plugin,
        settings: "{}",
        ids,
        opening: Vec::new(),
        polled: false,
        payload,
        parse,
        target: None,
    };
    vec![
        Shape {
            opening: bitfinex_opening(),
            ..streamed(
                "a ticker in an array",
                "bitfinex",
                pairs(|base| format!("t{base}USD")),
                bitfinex,
                |bytes, each| native::bitfinex(bytes, symbol_of).map(each),
            )
        },
        Shape {
            settings: r#"{"price":"mid"}"#,
            target: Some(2.0),
            ..streamed("a book ticker", "binance", usdt(), book_ticker, |bytes, each| {
                native::book_ticker(bytes).map(each)
            })
        },
        streamed("a mini ticker", "binance", usdt(), mini_ticker, |bytes, each| native::mini_ticker(bytes).map(each)),
        streamed("a ticker", "kraken", pairs(|base| format!("{base}/USD")), kraken, |bytes, each| {
            native::kraken(bytes).map(each)
        }),
        streamed("a ticker", "bybit", usdt(), bybit, |bytes, each| native::bybit(bytes).map(each)),
        Shape {
            target: Some(1.6),
            ..streamed("a ticker", "coinbase", pairs(|base| format!("{base}-USD")), coinbase, |bytes, each| {
                native::coinbase(bytes).map(|prices| prices.for_each(each))
            })
        },
        Shape {
            settings: r#"{"price":"mid"}"#,
            polled: true,
            target: Some(1.15),
            ..streamed("20 books of a poll", "binance", symbols(20), polled_books, |bytes, each| {
                native::polled_books(bytes).map(|prices| prices.for_each(each))
            })
        },
        Shape {
            polled: true,
            target: Some(1.0),
            ..streamed("2,500 prices of a poll", "binance", symbols(2_500), polled_prices, |bytes, each| {
                native::polled_prices(bytes).map(|prices| prices.for_each(each))
            })
        },
    ]
}

fn base(number: u64) -> &'static str {
    BASES[number as usize % BASES.len()]
}

fn bitfinex_opening() -> Vec<String> {
    let channels = BASES.iter().zip(FIRST_CHANNEL..).map(|(base, channel)| {
        format!(
            r#"{{"event":"subscribed","channel":"ticker","chanId":{channel},"symbol":"t{base}USD","pair":"{base}USD"}}"#
        )
    });
    [r#"{"event":"info","version":2,"serverId":"6b2a7c1e","platform":{"status":1}}"#.to_owned()]
        .into_iter()
        .chain([r#"{"event":"conf","status":"OK","flags":65536}"#.to_owned()])
        .chain(channels)
        .collect()
}

fn symbol_of(channel: u64) -> Option<&'static str> {
    const SYMBOLS: [&str; 8] = ["tBTCUSD", "tETHUSD", "tSOLUSD", "tXRPUSD", "tADAUSD", "tLTCUSD", "tDOTUSD", "tUNIUSD"];
    SYMBOLS.get(usize::try_from(channel.checked_sub(FIRST_CHANNEL)?).ok()?).copied()
}

fn bitfinex(number: u64) -> String {
    let channel = FIRST_CHANNEL + number % BASES.len() as u64;
    let cents = 10 + number % 90;
    format!(
        "[{channel},[91250.5,31.89055171,91251.5,43.35811863,-550.8,-0.0674,91250.{cents},8314.71200815,92057.8,90500],{number}]"
    )
}

fn book_ticker(number: u64) -> String {
    let (base, update, cents) = (base(number), 400_900_217 + number, 10 + number % 80);
    let stream = base.to_lowercase();
    format!(
        r#"{{"stream":"{stream}usdt@bookTicker","data":{{"u":{update},"s":"{base}USDT","b":"91250.{cents}000000","B":"1.25000000","a":"91250.95000000","A":"0.75000000"}}}}"#
    )
}

pub(crate) fn mini_ticker(number: u64) -> String {
    let (base, cents) = (base(number), 10 + number % 90);
    let stream = base.to_lowercase();
    format!(
        r#"{{"stream":"{stream}usdt@miniTicker","data":{{"e":"24hrMiniTicker","E":1763700000251,"s":"{base}USDT","c":"91250.{cents}000000","o":"91000.00000000","h":"92000.00000000","l":"90000.00000000","v":"12345.67890000","q":"1126543210.12"}}}}"#
    )
}

fn kraken(number: u64) -> String {
    let (base, cents) = (base(number), 10 + number % 90);
    format!(
        r#"{{"channel":"ticker","type":"update","data":[{{"symbol":"{base}/USD","bid":91250.0,"bid_qty":0.74,"ask":91250.1,"ask_qty":1.36144813,"last":91250.{cents},"volume":997.03898383,"vwap":91014.8,"low":89979.3,"high":92285.0,"change":-170.2,"change_pct":-0.17,"timestamp":"2025-11-21T04:40:00.654321Z"}}]}}"#
    )
}

fn bybit(number: u64) -> String {
    let (base, cents, sequence) = (base(number), 10 + number % 90, 2_588_407_389 + number);
    format!(
        r#"{{"topic":"tickers.{base}USDT","ts":1763700000251,"type":"snapshot","cs":{sequence},"data":{{"symbol":"{base}USDT","lastPrice":"91250.{cents}","highPrice24h":"92426.99","lowPrice24h":"90575","prevPrice24h":"90704.93","volume24h":"6780.866843","turnover24h":"141946527.22907118","price24hPcnt":"0.0196","usdIndexPrice":"91240.2400136"}}}}"#
    )
}

fn coinbase(number: u64) -> String {
    let (base, cents) = (base(number), 10 + number % 90);
    format!(
        r#"{{"channel":"ticker","client_id":"","timestamp":"2025-11-21T04:40:00.251359596Z","sequence_num":{number},"events":[{{"type":"update","tickers":[{{"type":"ticker","product_id":"{base}-USD","price":"91250.{cents}","volume_24_h":"16038.28770938","low_24_h":"90835.29","high_24_h":"92011.18","low_52_w":"54600","high_52_w":"126240","price_percent_chg_24_h":"-4.15775596190603","best_bid":"91250.05","best_bid_quantity":"0.08000021","best_ask":"91250.99","best_ask_quantity":"0.08038077"}}]}}]}}"#
    )
}

/// Symbols that no venue has, as long as real ones.
fn symbols(count: usize) -> Vec<String> {
    let letter = |number: usize| char::from(b'A' + (number % 26) as u8);
    (0..count).map(|n| format!("{}{}{}USDT", letter(n / 676), letter(n / 26), letter(n))).collect()
}

fn polled_books(number: u64) -> String {
    let cents = 10 + number % 80;
    let books = symbols(20).into_iter().map(|symbol| {
        format!(
            r#"{{"symbol":"{symbol}","bidPrice":"4.{cents}000000","bidQty":"431.00000000","askPrice":"4.95000200","askQty":"9.00000000"}}"#
        )
    });
    format!("[{}]", books.collect::<Vec<_>>().join(","))
}

fn polled_prices(number: u64) -> String {
    let cents = 10 + number % 90;
    let prices =
        symbols(2_500).into_iter().map(|symbol| format!(r#"{{"symbol":"{symbol}","price":"0.{cents}340000"}}"#));
    format!("[{}]", prices.collect::<Vec<_>>().join(","))
}

/// The file of a plugin.
pub(crate) fn file(plugin: &str) -> &'static [u8] {
    static FILES: OnceLock<HashMap<String, Vec<u8>>> = OnceLock::new();
    let files = FILES.get_or_init(|| {
        let plugins = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../plugins"));
        let built = build::build(plugins, |line| eprintln!("{line}")).expect("the plugins build");
        let read = |path: &Path| std::fs::read(path).expect("readable");
        built.iter().map(|path| (path.file_stem().expect("a file").to_string_lossy().into(), read(path))).collect()
    });
    files.get(plugin).expect("it is one of them")
}

/// An engine that compiles without a child.
pub(crate) fn engine(state: Option<&StateDir>) -> Engine {
    Engine::new(PluginLimits::default(), Compiler::InThisProcess, state).expect("this machine runs WebAssembly")
}

/// What calls answer at once: those of a plugin that imports nothing.
pub(crate) fn at_once<T>(future: impl Future<Output = T>) -> T {
    future.now_or_never().expect("synchronous")
}

fn subscriptions(shape: &Shape) -> Vec<Subscription> {
    let ids = shape.ids.iter().map(|id| Arc::<str>::from(id.as_str()));
    (0..).map(Key).zip(ids).map(|(key, id)| Subscription { key, id }).collect()
}

/// One shape with both of its ways into a store, each with slots of its own.
pub(crate) struct Ways {
    payloads: Vec<String>,
    responses: Vec<Response>,
    next: usize,
    parse: Parse,
    symbols: HashMap<Box<str>, Key, RandomState>,
    keys: Vec<Key>,
    codec: PluginInstance,
    polled: bool,
    same: same::Read,
    /// What is read natively, by the plugin's own code, and by the plugin.
    natively: Delivery,
    by_same_code: Delivery,
    by_plugin: Delivery,
}

impl Ways {
    /// Loads the plugin, subscribes, and makes sure that all ways store the same.
    pub(crate) fn new(shape: &Shape) -> Self {
        let plugin = engine(None).load_blocking(file(shape.plugin)).expect("a good plugin");
        let open = plugin.configured("bench".into(), shape.settings.to_owned());
        let (mut codec, _) = at_once(open.open()).expect("it opens");
        let subscriptions = subscriptions(shape);
        if shape.polled {
            at_once(codec.create_requests(CONTEXT, &subscriptions)).expect("it asks");
        } else {
            at_once(codec.connect(CONTEXT, &subscriptions, None)).expect("it dials");
            at_once(codec.subscribe(CONTEXT, &subscriptions)).expect("it subscribes");
            let opening: Vec<_> = shape.opening.iter().map(|text| Incoming::Text(text)).collect();
            at_once(codec.handle_messages(CONTEXT, &opening)).expect("it reads");
        }
        let count = if shape.polled { ANSWERS } else { FRAMES };
        let payloads: Vec<_> = (0..count).map(|number| (shape.payload)(number)).collect();
        let response = |body: &String| Response { status: 200, headers: Vec::new(), body: body.clone().into_bytes() };
        let mut ways = Self {
            responses: if shape.polled { payloads.iter().map(response).collect() } else { Vec::new() },
            payloads,
            next: 0,
            parse: shape.parse,
            symbols: subscriptions.iter().map(|subscription| ((*subscription.id).into(), subscription.key)).collect(),
            keys: subscriptions.iter().map(|subscription| subscription.key).collect(),
            codec,
            polled: shape.polled,
            same: same::read(shape, &subscriptions),
            natively: Delivery::new(&subscriptions),
            by_same_code: Delivery::new(&subscriptions),
            by_plugin: Delivery::new(&subscriptions),
        };
        ways.compare(shape);
        ways
    }

    fn compare(&mut self, shape: &Shape) {
        for _ in 0..self.payloads.len() {
            self.natively();
        }
        self.next = 0;
        for _ in 0..self.payloads.len() {
            self.by_same_code();
        }
        self.next = 0;
        for _ in 0..self.payloads.len() {
            self.by_plugin(1);
        }
        let held = |delivery: &Delivery| {
            let readings = delivery.slots.read_all().into_iter();
            let held = readings.map(|reading| reading.held.expect("every id has a value"));
            // What the native parsers read has milliseconds.
            let millis = |time: UnixNanos| time.0 / 1_000_000;
            held.map(|held| (held.value, held.observed_at.map(millis), held.sequence)).collect::<Vec<_>>()
        };
        assert_eq!(held(&self.natively), held(&self.by_plugin), "{shape}");
        assert_eq!(held(&self.by_same_code), held(&self.by_plugin), "{shape}");
    }

    fn turn(&mut self, payloads: usize) -> std::ops::Range<usize> {
        let from = if self.next + payloads > self.payloads.len() { 0 } else { self.next };
        self.next = from + payloads;
        from..self.next
    }

    /// The next payload: parsed natively, its symbols looked up, stored.
    pub(crate) fn natively(&mut self) {
        let at = self.turn(1).start;
        let receipt = self.natively.receipt();
        let mut each = |price: Price<'_>| {
            let Some(key) = self.symbols.get(price.symbol) else { return };
            let value = Decimal::new(price.coefficient, price.exponent).expect("in range");
            let observed_at = price.millis.map(|millis| UnixNanos(millis * 1_000_000));
            let value = Value::Decimal(value);
            self.natively.store(Observation { key: *key, value, observed_at, sequence: price.sequence }, receipt);
        };
        (self.parse)(self.payloads[at].as_bytes(), &mut each).expect("it reads");
    }

    /// The next payload: read by the plugin's own code, stored here.
    pub(crate) fn by_same_code(&mut self) {
        let at = self.turn(1).start;
        let receipt = self.by_same_code.receipt();
        let delivery = &self.by_same_code;
        (self.same)(&self.payloads[at], &mut |observation| delivery.store(observation, receipt));
    }

    /// The next payloads in one call of the plugin: looked up there, stored here. Answers of a poll come one by one.
    pub(crate) fn by_plugin(&mut self, payloads: usize) {
        let turn = self.turn(payloads);
        if self.polled {
            for response in &self.responses[turn] {
                let receipt = self.by_plugin.receipt();
                let outcomes = at_once(self.codec.parse_response(CONTEXT, &self.keys, response)).expect("it reads");
                for outcome in outcomes {
                    if let Outcome::Observed(observation) = outcome {
                        self.by_plugin.store(observation, receipt);
                    }
                }
            }
            return;
        }
        let receipt = self.by_plugin.receipt();
        let (lone, several);
        let frames = match &self.payloads[turn] {
            [payload] => {
                lone = [Incoming::Text(payload)];
                &lone[..]
            }
            payloads => {
                several = payloads.iter().map(|text| Incoming::Text(text)).collect::<Vec<_>>();
                &several[..]
            }
        };
        let events = at_once(self.codec.handle_messages(CONTEXT, frames)).expect("it reads");
        for event in events {
            if let Event::Observed(observation) = event {
                self.by_plugin.store(observation, receipt);
            }
        }
    }
}

/// One shape read by the plugin's core module, without the component model, and stored nowhere: the floor of a call.
pub(crate) struct Floor {
    core: Core,
    read: Read,
    payloads: Vec<String>,
    keys: Vec<u32>,
    next: usize,
}

enum Read {
    Streamed(core::HandleMessages),
    Polled(core::ParseResponse),
}

impl Floor {
    pub(crate) fn new(shape: &Shape) -> wasmtime::Result<Self> {
        let mut core = Core::open(file(shape.plugin), shape.settings)?;
        let subscriptions = subscriptions(shape);
        let (read, count) = if shape.polled {
            core.create_requests(CONTEXT, &subscriptions)?;
            (Read::Polled(core.parse_response()?), ANSWERS)
        } else {
            core.subscribe(CONTEXT, &subscriptions)?;
            let handle = core.handle_messages()?;
            for text in &shape.opening {
                core.handle(&handle, CONTEXT, text)?;
            }
            (Read::Streamed(handle), FRAMES)
        };
        let payloads = (0..count).map(|number| (shape.payload)(number)).collect();
        let keys = subscriptions.iter().map(|subscription| subscription.key.0).collect();
        Ok(Self { core, read, payloads, keys, next: 0 })
    }

    /// The next payload.
    pub(crate) fn read(&mut self) {
        let payload = &self.payloads[self.next % self.payloads.len()];
        self.next += 1;
        let read = match &self.read {
            Read::Streamed(handle) => self.core.handle(handle, CONTEXT, payload),
            Read::Polled(parse) => self.core.parse(parse, CONTEXT, &self.keys, payload.as_bytes()),
        };
        read.expect("it reads");
    }
}

/// Slots, and what their values arrive with.
struct Delivery {
    slots: Arc<ProviderSlots>,
    table: SlotTable,
    epoch: u64,
}

impl Delivery {
    fn new(subscriptions: &[Subscription]) -> Self {
        let slots = Store::default().provider("bench");
        let ids: Vec<_> = subscriptions.iter().map(|one| (one.id.clone(), Duration::from_secs(60))).collect();
        let table = slots.set_ids(&ids);
        Self { slots, table, epoch: 0 }
    }

    /// Of a connection of its own each time: sequences begin anew, so that no message is a duplicate.
    fn receipt(&mut self) -> Receipt {
        self.epoch += 1;
        self.slots.receipt(self.epoch)
    }

    fn store(&self, observation: Observation, receipt: Receipt) {
        let slot = self.table.get(observation.key).expect("subscribed");
        slot.write(observation, receipt);
    }
}

/// One write of the first id: a price with a time that grows with it.
pub(crate) fn write(provider: &ProviderSlots, price: i64) {
    let table = provider.table();
    let slot = table.get(Key(0)).expect("subscribed");
    let value = Value::Decimal(Decimal::new(price, -2).expect("in range"));
    let time = Some(UnixNanos(1_763_700_000_000_000_000 + price));
    slot.write(Observation { key: Key(0), value, observed_at: time, sequence: None }, provider.receipt(1));
}

/// A hundred thousand writes a second until it is told to stop.
pub(crate) fn write_on(provider: &ProviderSlots, stop: &AtomicBool) {
    let (mut next, mut price) = (Instant::now(), 1);
    while !stop.load(Ordering::Relaxed) {
        price += 1;
        write(provider, price);
        next += Duration::from_micros(10);
        while Instant::now() < next {
            std::hint::spin_loop();
        }
    }
}
