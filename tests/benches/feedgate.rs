//! What the message path costs: one frame through a real plugin, one step of a session, one read of the store beside a
//! busy writer; and what a start costs: a plugin loaded, compiled or kept from before. Compare within one run; absolute times say little about a busy machine.

#![expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use divan::Bencher;
use feedgate::codec::{Context, Incoming, OpenCodec, Subscription, WebSocketCodec};
use feedgate::logic::backoff::BackoffConfig;
use feedgate::logic::session::{Action, Overrides, Session, SessionConfig};
use feedgate::observation::{Decimal, Key, Observation, UnixNanos, Value};
use feedgate::plugin::{Compiler, Engine, PluginInstance, PluginLimits};
use feedgate::plugin_build;
use feedgate::state::StateDir;
use feedgate::store::Store;
use feedgate::tape::Tapes;
use futures_util::FutureExt;

fn main() {
    divan::main();
}

const CONTEXT: Context = Context { now_ms: 1_763_700_000_000, nonce: 1 };

/// Two tickers of the venue's documented shape, 217 bytes each with its envelope.
const FRAME: &str = r#"{"stream":"btcusdt@miniTicker","data":{"e":"24hrMiniTicker","E":1763700000251,"s":"BTCUSDT","c":"91250.10000000","o":"91000.00000000","h":"92000.00000000","l":"90000.00000000","v":"12345.67890000","q":"1126543210.12"}}"#;

/// The file of a plugin.
fn file() -> Vec<u8> {
    let plugins = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../plugins"));
    let built = plugin_build::build(plugins, |line| eprintln!("{line}")).expect("the plugins build");
    let file = built.iter().find(|file| file.ends_with("binance.wasm")).expect("it is one of them");
    std::fs::read(file).expect("readable")
}

/// An engine that compiles without a child.
fn engine(state: Option<&StateDir>) -> Engine {
    Engine::new(PluginLimits::default(), Compiler::InThisProcess, state).expect("this machine runs WebAssembly")
}

/// A codec of the compiled plugin that is subscribed to one id. Its calls are synchronous: they are ready at once.
fn codec() -> (Engine, PluginInstance) {
    let engine = engine(None);
    let plugin = engine.load_blocking(&file()).expect("a good plugin");
    let open = plugin.configured("bench".into(), "{}".to_owned());
    let (mut codec, _) = open.open().now_or_never().expect("synchronous").expect("it opens");
    let subscriptions = [Subscription { key: Key(0), id: "BTCUSDT".into() }];
    codec.connect(CONTEXT, &subscriptions, None).now_or_never().expect("synchronous").expect("it dials");
    codec.subscribe(CONTEXT, &subscriptions).now_or_never().expect("synchronous").expect("it subscribes");
    (engine, codec)
}

#[divan::bench(args = [1, 16, 64])]
fn frames_through_a_plugin(bencher: Bencher<'_, '_>, frames: usize) {
    let (_engine, mut codec) = codec();
    let batch = vec![Incoming::Text(FRAME); frames];
    bencher.counter(divan::counter::ItemsCount::new(frames)).bench_local(|| {
        let events = codec.handle_messages(CONTEXT, &batch).now_or_never().expect("synchronous");
        assert_eq!(events.expect("it reads").len(), frames);
    });
}

/// What is kept for the next build to be tried on: its part of the above is what recording costs.
#[divan::bench(args = [1, 16, 64])]
fn frames_onto_a_tape(bencher: Bencher<'_, '_>, frames: usize) {
    let mut recorder = Arc::new(Tapes::default()).recorder();
    let batch = vec![Incoming::Text(FRAME); frames];
    bencher.counter(divan::counter::ItemsCount::new(frames)).bench_local(|| recorder.frames(CONTEXT, &batch));
}

/// Read, made a component, compared with the contract, compiled, described; nothing is known of it from before.
#[divan::bench(sample_count = 10, sample_size = 1)]
fn a_plugin_loaded_cold(bencher: Bencher<'_, '_>) {
    let (engine, file) = (engine(None), file());
    bencher.bench_local(|| engine.load_blocking(&file).expect("a good plugin"));
}

/// The same, from the state directory, as often as a start with so many plugins.
#[divan::bench(args = [1, 50], sample_count = 20, sample_size = 1)]
fn plugins_loaded_from_the_state_directory(bencher: Bencher<'_, '_>, plugins: usize) {
    let directory = tempfile::TempDir::new().expect("a temporary directory");
    let state = StateDir::open(directory.path()).expect("writable");
    let (engine, file) = (engine(Some(&state)), file());
    // A note makes each a file of its own.
    let files: Vec<_> = (0..plugins).map(|number| [&file[..], &[0, 3, 2, b'#', number as u8]].concat()).collect();
    for file in &files {
        engine.load_blocking(file).expect("a good plugin");
    }
    bencher.bench_local(|| {
        let loaded = files.iter().map(|file| engine.load_blocking(file).expect("a good plugin"));
        loaded.collect::<Vec<_>>()
    });
}

#[divan::bench]
fn a_step_of_a_session(bencher: Bencher<'_, '_>) {
    let start = Instant::now();
    let config = SessionConfig {
        backoff: BackoffConfig::default(),
        connect_timeout: Duration::from_secs(20),
        idle_timeout: Duration::from_secs(60),
        heartbeat: None,
        first_send_delay: Duration::ZERO,
        waits_for_ready: false,
        ids_per_message: None,
        acknowledges: false,
        ack_timeout: Duration::from_secs(10),
        revive_gap: Duration::from_secs(30),
        first_data_timeout: None,
        max_age: None,
    };
    let mut session = Session::new(config, (0..200).map(Key).collect(), start, Duration::ZERO);
    while let Some(action) = session.poll_action(start) {
        match action {
            Action::Connect => session.handle_opened(start, Overrides::default()),
            _ => session.handle_sent(start),
        }
    }
    let mut now = start;
    bencher.bench_local(|| {
        now += Duration::from_micros(10);
        session.handle_received(now);
        assert!(session.poll_action(now).is_none());
        session.poll_timeout()
    });
}

fn written(store: &Store) -> Arc<feedgate::store::ProviderSlots> {
    let provider = store.provider("bench");
    let id: Arc<str> = "BTCUSDT".into();
    provider.set_ids(&[(id, Duration::from_secs(60))]);
    write(&provider, 1);
    provider
}

fn write(provider: &feedgate::store::ProviderSlots, price: i64) {
    let table = provider.table();
    let slot = table.get(Key(0)).expect("subscribed");
    let value = Value::Decimal(Decimal::new(price, -2).expect("in range"));
    let time = Some(UnixNanos(1_763_700_000_000_000_000 + price));
    slot.write(Observation { key: Key(0), value, observed_at: time, sequence: None }, provider.receipt(1));
}

#[divan::bench]
fn a_read_of_the_store_alone(bencher: Bencher<'_, '_>) {
    let store = Store::default();
    written(&store);
    bencher.bench(|| store.read("bench", "BTCUSDT"));
}

#[divan::bench]
fn a_read_of_the_store_beside_a_writer(bencher: Bencher<'_, '_>) {
    let store = Store::default();
    let provider = written(&store);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // A hundred thousand writes a second.
            let (mut next, mut price) = (Instant::now(), 1);
            while !stop.load(Ordering::Relaxed) {
                price += 1;
                write(&provider, price);
                next += Duration::from_micros(10);
                while Instant::now() < next {
                    std::hint::spin_loop();
                }
            }
        });
        bencher.bench(|| store.read("bench", "BTCUSDT"));
        stop.store(true, Ordering::Relaxed);
    });
}

#[divan::bench]
fn a_write_to_the_store(bencher: Bencher<'_, '_>) {
    let store = Store::default();
    let provider = written(&store);
    let mut price = 1;
    bencher.bench_local(|| {
        price += 1;
        write(&provider, price);
    });
}
