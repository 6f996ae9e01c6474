//! What a plugin that burns its thread takes from another provider: the time from a frame that is sent to its value that
//! can be read, alone and beside plugins that loop or burn. Prints one table. Compare within one run.

#![expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use feedgate::authoring::build;
use feedgate::contract::codec::{Context, Incoming, OpenCodec, Subscription, WebSocketCodec};
use feedgate::contract::limits::PluginLimits;
use feedgate::contract::observation::{Key, Value};
use feedgate::daemon::{ConfigSource, Daemon, Options};
use feedgate::plugin::{Compiler, Engine};
use feedgate::status::Status;
use feedgate::store::Store;
use feedgate_tests::ScriptedWs;
use futures_util::FutureExt;

/// Between two frames of the provider that is measured.
const INTERVAL: Duration = Duration::from_millis(5);

/// Frames of the provider that is measured, in each row.
const FRAMES: usize = 1_000;

/// How long starting may take, and all frames of a row: ten times what they do on a quiet machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a burning plugin takes for one frame.
const BURNT: Duration = Duration::from_millis(50);

fn main() {
    let guest = guest();
    let spins = calibrated(&guest);
    println!("{:<44} {:>9} {:>9} {:>9}   deaths", "frame sent → value readable", "p50 µs", "p99 µs", "max µs");
    let looping = "{ on = \"handle\", how = \"loop\" }".to_owned();
    let burning = format!("{{ on = \"handle\", how = \"spin\", spins = {spins} }}");
    row("alone", &guest, 0, &looping, 0);
    for others in [1, 8] {
        row(&format!("beside {others} that loop on every frame"), &guest, others, &looping, 0);
        row(&format!("beside {others} that burn {BURNT:?} on every frame"), &guest, others, &burning, 0);
        row(&format!("beside {others} threads that only spin"), &guest, 0, &looping, others);
    }
    row("alone again", &guest, 0, &looping, 0);
}

/// The file of the misbehaving plugin.
fn guest() -> Vec<u8> {
    let directory = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/guest"));
    let built = build::build(directory, |line| eprintln!("{line}")).expect("the guest builds");
    std::fs::read(built.first().expect("it is one file")).expect("readable")
}

/// So many turns take a plugin [`BURNT`] on this machine.
fn calibrated(guest: &[u8]) -> u64 {
    const TURNS: u64 = 20_000_000;
    let limits = PluginLimits { parse: Duration::from_secs(60), ..PluginLimits::default() };
    let engine = Engine::new(limits, Compiler::InThisProcess, None).expect("this machine runs WebAssembly");
    let plugin = engine.load_blocking(guest).expect("a good plugin");
    let settings = format!("{{\"on\":\"handle\",\"how\":\"spin\",\"spins\":{TURNS}}}");
    let open = plugin.configured("bench".into(), settings);
    let (mut codec, _) = open.open().now_or_never().expect("synchronous").expect("it opens");
    let context = Context { now_ms: 1_763_700_000_000, nonce: 1 };
    let ids = [Subscription { key: Key(0), id: "a".into() }];
    codec.connect(context, &ids, None).now_or_never().expect("synchronous").expect("it dials");
    let started = Instant::now();
    codec.handle_messages(context, &[Incoming::Text("0 1")]).now_or_never().expect("synchronous").expect("it reads");
    let each = started.elapsed().as_secs_f64() / TURNS as f64;
    (BURNT.as_secs_f64() / each) as u64
}

fn section(name: &str, origin: &str, settings: &str) -> String {
    format!(
        "[provider.{name}]\nplugin = \"guest\"\nids = [\"a\"]\ntransports = [\"websocket\"]\n\
         redirect_origins = {{ \"wss://guest.example.com\" = \"{origin}\" }}\n\
         websocket = {{ backoff_first_ms = 20, backoff_max_ms = 200 }}\nsettings = {settings}\n"
    )
}

/// One daemon: the provider that is measured, and `others` with these settings, to which frames come all the time.
fn row(name: &str, guest: &[u8], others: usize, settings: &str, threads: usize) {
    let venue = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    let daemon = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let sent = Arc::new(Mutex::new(Vec::with_capacity(FRAMES)));
    let begin = Arc::new(AtomicBool::new(false));
    let (times, begun) = (sent.clone(), begin.clone());
    let measured = venue.block_on(ScriptedWs::start(move |mut peer| {
        let (times, begun) = (times.clone(), begun.clone());
        async move {
            let mut ticks = tokio::time::interval(INTERVAL);
            let mut number = 0;
            while number < FRAMES {
                ticks.tick().await;
                if !begun.load(Ordering::Relaxed) {
                    if peer.send("0 -1").await.is_err() {
                        return;
                    }
                    continue;
                }
                times.lock().expect("no one panics").push(Instant::now());
                if peer.send(format!("0 {number}")).await.is_err() {
                    return;
                }
                number += 1;
            }
            peer.gone().await;
        }
    }));
    let measured = measured.expect("a free port");
    let busy = venue.block_on(ScriptedWs::start(|mut peer| async move {
        let mut ticks = tokio::time::interval(Duration::from_millis(10));
        loop {
            ticks.tick().await;
            if peer.send("0 1").await.is_err() {
                return;
            }
        }
    }));
    let busy = busy.expect("a free port");

    let directory = tempfile::TempDir::new().expect("a temporary directory");
    std::fs::create_dir(directory.path().join("plugins")).expect("an empty directory");
    std::fs::write(directory.path().join("plugins/guest.wasm"), guest).expect("writable");
    // What burns gets the time for it, so that nobody dies and is paused; what loops does not.
    let parse_ms = if settings.contains("spin") { 60_000 } else { 100 };
    let config = format!("api = {{ enabled = false }}\n[plugin_limits]\nparse_ms = {parse_ms}\n");
    let bad: String = (0..others).map(|other| section(&format!("bad{other}"), &busy.origin(), settings)).collect();
    let file = directory.path().join("feedgate.toml");
    std::fs::write(&file, config + &section("good", &measured.origin(), "{}") + &bad).expect("writable");
    let options = Options { compiler: Compiler::InThisProcess };
    let started = daemon.block_on(Daemon::start_with(ConfigSource::File(file), options));
    let started = started.unwrap_or_else(|error| panic!("{error}"));
    let (store, status) = (started.store().clone(), started.status().clone());

    let stop = AtomicBool::new(false);
    let latencies = std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            });
        }
        let deadline = Instant::now() + PATIENCE;
        while value(&store, "good").is_none() || !others_run(&store, &status, others) {
            assert!(Instant::now() < deadline, "not every provider runs within {} s", PATIENCE.as_secs());
            std::thread::sleep(Duration::from_millis(1));
        }
        begin.store(true, Ordering::Relaxed);
        let latencies = measure(&store, &sent);
        stop.store(true, Ordering::Relaxed);
        latencies
    });
    let at = |share: f64| latencies[((latencies.len() - 1) as f64 * share) as usize].as_micros();
    let deaths: usize = (0..others).map(|other| deaths(&store, &status, &format!("bad{other}"))).sum();
    println!("{name:<44} {:>9} {:>9} {:>9}   {deaths}", at(0.5), at(0.99), at(1.0));
    drop((store, status));
    daemon.block_on(started.stop());
    venue.shutdown_background();
}

fn value(store: &Store, provider: &str) -> Option<i64> {
    match store.read(provider, "a")?.held?.value {
        Value::Decimal(decimal) => decimal.to_string().parse().ok(),
        _ => None,
    }
}

/// Whether each of them has been given a frame, or has died of one.
fn others_run(store: &Store, status: &Status, others: usize) -> bool {
    (0..others).all(|other| {
        let name = format!("bad{other}");
        value(store, &name).is_some() || deaths(store, status, &name) > 0
    })
}

fn deaths(store: &Store, status: &Status, provider: &str) -> usize {
    let rendered = status.render_metrics(store);
    let of_it = format!("provider=\"{provider}\"");
    let lines = rendered.lines().filter(|line| line.contains("plugin_deaths") && line.contains(&of_it));
    lines.filter_map(|line| line.rsplit(' ').next()?.parse::<usize>().ok()).sum()
}

/// The time of each frame until its value, or a later one, can be read; in ascending order.
fn measure(store: &Store, sent: &Mutex<Vec<Instant>>) -> Vec<Duration> {
    let mut latencies = Vec::with_capacity(FRAMES);
    let deadline = Instant::now() + PATIENCE;
    while latencies.len() < FRAMES {
        assert!(
            Instant::now() < deadline,
            "{} of {FRAMES} frames arrived within {} s",
            latencies.len(),
            PATIENCE.as_secs()
        );
        let found = value(store, "good").and_then(|value| usize::try_from(value).ok());
        let now = Instant::now();
        if let Some(found) = found {
            let sent = sent.lock().expect("no one panics");
            while latencies.len() <= found {
                latencies.push(now.saturating_duration_since(sent[latencies.len()]));
            }
        }
        std::thread::sleep(Duration::from_micros(20));
    }
    latencies.sort_unstable();
    latencies
}
