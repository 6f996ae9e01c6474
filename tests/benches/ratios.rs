//! What has a target, side by side: one message into the store by a plugin and by a native parser of the same bytes, a
//! read of the store beside a writer and alone, a swap of a cached plugin, many of them at a start. What is compared takes
//! turns, so that a busy machine is busy for all of it; what is printed are the medians of the rounds, and of each round's
//! ratio to the native parser. The same code is the plugin's, compiled for this machine. The floor is the plugin's core
//! module, called without the component model, its results thrown away. With the argument `rest` only what comes after the
//! messages.

#![expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]

#[path = "shared/mod.rs"]
mod shared;

use std::cell::RefCell;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use feedgate::contract::codec::{Incoming, OpenCodec, Subscription, WebSocketCodec};
use feedgate::contract::observation::Key;
use feedgate::daemon::{ConfigSource, Daemon, Options};
use feedgate::plugin::{Compiler, Plugin};
use feedgate::store::Store;
use feedgate::store::state_dir::StateDir;

use shared::{CONTEXT, Floor, Shape, Ways, at_once, engine, file, shapes, write, write_on};

const ROUNDS: usize = 1_001;

/// One turn of one of those that are compared: so short that hardly one is interrupted, on a busy machine either.
const TURN: Duration = Duration::from_micros(50);

fn main() {
    if std::env::args().all(|argument| argument != "rest") {
        println!("one message into the store: ns, and times the native parser\n");
        println!(
            "{:<40} {:>9} {:>9} {:>9} {:>6} {:>7} {:>6} {:>9} {:>9}",
            "", "native", "plugin", "same code", "ratio", "target", "floor", "16 a call", "64 a call"
        );
        for shape in shapes() {
            messages(&shape);
        }
    }
    println!("\nthe rest\n");
    reads();
    swap();
    many();
}

fn messages(shape: &Shape) {
    let ways = RefCell::new(Ways::new(shape));
    let by_plugin = |frames| ways.borrow_mut().by_plugin(frames);
    let batches: &[usize] = if shape.is_streamed() { &[1, 16, 64] } else { &[1] };
    let natively = Contender { pieces: 1, turn: Box::new(|| ways.borrow_mut().natively()) };
    let same = Contender { pieces: 1, turn: Box::new(|| ways.borrow_mut().by_same_code()) };
    let by_plugin = batches.iter().map(|&pieces| Contender { pieces, turn: Box::new(move || by_plugin(pieces)) });
    let mut floor = Floor::new(shape).expect("the module runs");
    let floor = Contender { pieces: 1, turn: Box::new(move || floor.read()) };
    let measured = in_turns([natively, same, floor].into_iter().chain(by_plugin).collect());
    let target = shape.target.map_or_else(|| "-".to_owned(), |target| format!("≤ {target:.2}"));
    let [native, same, floor, plugin, batched @ ..] = &measured[..] else { unreachable!("at least four") };
    let batched: String = batched.iter().map(|one| format!(" {:>9.2}", one.ratio)).collect();
    let (name, ratio) = (shape.to_string(), plugin.ratio);
    let (native, plugin, same, floor) = (native.nanos, plugin.nanos, same.ratio, floor.ratio);
    println!("{name:<40} {native:>9.0} {plugin:>9.0} {same:>9.2} {ratio:>6.2} {target:>7} {floor:>6.2}{batched}");
}

/// One of those that are compared.
struct Contender<'a> {
    /// What one turn handles.
    pieces: usize,
    turn: Box<dyn FnMut() + 'a>,
}

struct Measured {
    /// For one piece.
    nanos: f64,
    /// Times what the first contender takes in the same round.
    ratio: f64,
}

fn in_turns(mut contenders: Vec<Contender<'_>>) -> Vec<Measured> {
    let calls: Vec<u32> = contenders.iter_mut().map(|contender| calls_in_a_turn(&mut contender.turn)).collect();
    let mut rounds = vec![Vec::with_capacity(ROUNDS); contenders.len()];
    for _ in 0..ROUNDS {
        for ((contender, calls), rounds) in contenders.iter_mut().zip(&calls).zip(&mut rounds) {
            let started = Instant::now();
            for _ in 0..*calls {
                (contender.turn)();
            }
            rounds.push(started.elapsed().as_nanos() as f64 / (*calls as usize * contender.pieces) as f64);
        }
    }
    let of_first = |one: &[f64]| median(one.iter().zip(&rounds[0]).map(|(one, first)| one / first));
    rounds.iter().map(|one| Measured { nanos: median(one.iter().copied()), ratio: of_first(one) }).collect()
}

/// The clock is read at both ends of a turn only. The quickest of some calls says how many fit.
fn calls_in_a_turn(mut call: impl FnMut()) -> u32 {
    let quickest = (0..20).map(|_| {
        let started = Instant::now();
        call();
        started.elapsed()
    });
    let quickest = quickest.min().unwrap_or_default().as_nanos().max(1);
    u32::try_from(TURN.as_nanos() / quickest).unwrap_or(u32::MAX).max(1)
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_unstable_by(f64::total_cmp);
    values[values.len() / 2]
}

/// A read beside a writer of a hundred thousand values a second, and alone.
fn reads() {
    let store = Store::default();
    let slots = store.provider("bench");
    slots.set_ids(&[("BTCUSDT".into(), Duration::from_secs(60))]);
    write(&slots, 1);
    let one = || _ = std::hint::black_box(store.read("bench", "BTCUSDT"));
    let calls = calls_in_a_turn(one);
    let read = || {
        let started = Instant::now();
        (0..calls).for_each(|_| one());
        started.elapsed().as_nanos() as f64 / f64::from(calls)
    };
    let (mut alone, mut beside) = (Vec::new(), Vec::new());
    // Fewer rounds: each starts a thread.
    for _ in 0..ROUNDS / 10 {
        alone.push(read());
        let stop = AtomicBool::new(false);
        beside.push(std::thread::scope(|scope| {
            let held = || store.read("bench", "BTCUSDT").and_then(|reading| reading.held).map(|held| held.received_at);
            let before = held();
            scope.spawn(|| write_on(&slots, &stop));
            while held() == before {
                std::hint::spin_loop();
            }
            let nanos = read();
            stop.store(true, Ordering::Relaxed);
            nanos
        }));
    }
    let ratio = median(beside.iter().zip(&alone).map(|(beside, alone)| beside / alone));
    let (alone, beside) = (median(alone.into_iter()), median(beside.into_iter()));
    println!("a read of the store alone {alone:.0} ns, beside a writer {beside:.0} ns: {ratio:.2} (target ≤ 1.05)");
}

/// A build that was compiled before: from its file's bytes at hand to its first message read.
fn swap() {
    let directory = tempfile::TempDir::new().expect("a temporary directory");
    let state = StateDir::open(directory.path()).expect("writable");
    let (engine, file) = (engine(Some(&state)), file("binance"));
    engine.load_blocking(file).expect("a good plugin");
    let (frame, ids) = (shared::mini_ticker(0), [Subscription { key: Key(0), id: "BTCUSDT".into() }]);
    let swapped = (0..ROUNDS / 5).map(|_| {
        let started = Instant::now();
        // Nobody has it in memory: it was dropped with the instance of the last round.
        let plugin = engine.load_blocking(file).expect("a good plugin");
        let open = plugin.configured("bench".into(), "{}".to_owned());
        let (mut codec, _) = at_once(open.open()).expect("it opens");
        at_once(codec.connect(CONTEXT, &ids, None)).expect("it dials");
        at_once(codec.subscribe(CONTEXT, &ids)).expect("it subscribes");
        let events = at_once(codec.handle_messages(CONTEXT, &[Incoming::Text(&frame)])).expect("it reads");
        assert_eq!(events.len(), 1);
        started.elapsed().as_secs_f64() * 1e3
    });
    println!("a cached plugin, from its file's bytes to its first message: {:.2} ms (target ≤ 1)", median(swapped));
}

/// A start with so many cached plugins: from each file's bytes to an instance that has its settings, and a whole daemon.
#[cfg(unix)]
fn many() {
    const PLUGINS: usize = 50;
    let names = ["binance", "bitfinex", "bitstamp", "bybit", "coinbase", "coingecko", "coinmarketcap", "dydx", "gate"];
    let others = ["geckoterminal", "htx", "kraken", "kucoin", "mexc", "okx", "polymarket"];
    let directory = tempfile::TempDir::new().expect("a temporary directory");
    let state = StateDir::open(&directory.path().join("state")).expect("writable");
    let plugins = directory.path().join("plugins");
    std::fs::create_dir(&plugins).expect("writable");
    // Nobody connects anywhere.
    let config = directory.path().join("feedgate.toml");
    std::fs::write(&config, "autostart = false\napi = { enabled = false }\n").expect("writable");
    let engine = engine(Some(&state));
    // A note makes each a file of its own.
    let names = names.iter().chain(&others).cycle().take(PLUGINS);
    let files: Vec<_> = names.zip(0..).map(|(name, number)| [file(name), &[0, 3, 2, b'#', number]].concat()).collect();
    let load = |file: &Vec<u8>| engine.load_blocking(file).expect("a good plugin");
    for (number, file) in files.iter().enumerate() {
        load(file);
        std::fs::write(plugins.join(format!("p{number}.wasm")), file).expect("writable");
    }
    let rounds = (0..ROUNDS / 50).map(|_| {
        let start = used();
        let loaded: Vec<_> = files.iter().map(load).collect();
        let between = used();
        let configured = |plugin: &Plugin| plugin.configured("bench".into(), "{}".to_owned());
        let open: Vec<_> = loaded.iter().map(|plugin| at_once(configured(plugin).open()).expect("it opens")).collect();
        let end = used();
        drop(open);
        (between - start, end - between)
    });
    let (loaded, opened): (Vec<_>, Vec<_>) = rounds.unzip();
    let (loaded, opened) = (median(loaded.into_iter()), median(opened.into_iter()));
    let runtime = tokio::runtime::Runtime::new().expect("threads");
    let starts = (0..ROUNDS / 100).map(|_| runtime.block_on(start(&config, PLUGINS))).collect::<Vec<_>>();
    println!(
        "{PLUGINS} cached plugins, ms of processor time: to load {loaded:.0}, to open and configure one of each {opened:.0}; \
         a daemon from its start until all are loaded {:.0} (target ≤ 200)",
        median(starts.into_iter())
    );
}

/// Milliseconds of processor time that a daemon takes until it has all of its plugins.
#[cfg(unix)]
async fn start(config: &std::path::Path, plugins: usize) -> f64 {
    let started = used();
    // Whatever is not kept is not compiled either.
    let compiler = Compiler::Child { program: "/nonexistent/feedgate".into() };
    let source = ConfigSource::File(config.to_owned());
    let daemon = Daemon::start_with(source, Options { compiler }).await.expect("a good configuration");
    let status = daemon.status().clone();
    let loaded = || status.plugins().iter().filter(|(_, plugin)| plugin.loaded.is_some()).count();
    let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
    while loaded() < plugins {
        assert!(tokio::time::Instant::now() < deadline, "{} of {plugins} plugins are loaded", loaded());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let taken = used() - started;
    assert!(daemon.stop().await, "something did not stop in time");
    taken
}

/// Milliseconds of processor time of this process.
#[cfg(unix)]
fn used() -> f64 {
    let used = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    used.tv_sec as f64 * 1e3 + used.tv_nsec as f64 / 1e6
}

#[cfg(not(unix))]
fn many() {}
