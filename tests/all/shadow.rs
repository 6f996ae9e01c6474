//! A candidate build beside the running one: providers keep what they receive, and what both builds make of it decides.
//!
//! The providers are real ones with real sockets, against every simulated venue; candidates that misbehave are the guest
//! with other settings.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use feedgate::builds::shadow::{self, Bounds};
use feedgate::builds::tape::{StreamTape, Tape};
use feedgate::config::ProviderConfig;
use feedgate::contract::limits::PluginLimits;
use feedgate::logic::shadow::{Run, Verdict};
use feedgate::plugin::{Compiler, Configured, Engine};
use feedgate::provider::Provider;
use feedgate::status::{ProviderStatus, Status};
use feedgate::store::Store;
use feedgate_tests::{Kind, Options, Peer, Reply, Request, Response, ScriptedHttp, ScriptedWs};

use crate::support::{bytes_of, eventually, plugin, redirected, venue};

/// Far more than anything here takes.
const BOUNDS: Bounds = Bounds { time: Duration::from_secs(60), inputs: 5_000, values: 200_000 };

/// A provider without a daemon around it.
struct Feeding {
    provider: Provider,
    open: Configured,
    store: Store,
    status: Arc<ProviderStatus>,
}

impl Feeding {
    /// `config` is what would stand in its section.
    fn start(plugin_name: &str, config: &str) -> Self {
        let plugin = plugin(plugin_name);
        let config = ProviderConfig::parse(config, Path::new("x.toml"), "x").unwrap_or_else(|error| panic!("{error}"));
        let open = plugin.configured("x".into(), config.settings.clone());
        let store = Store::default();
        let status = Status::default().provider("x");
        let provider = Provider::new(plugin, config, &store, status.clone(), Arc::default());
        let mut provider = provider.unwrap_or_else(|error| panic!("{plugin_name}: {error}"));
        provider.run().unwrap_or_else(|error| panic!("{plugin_name}: {error}"));
        Self { provider, open, store, status }
    }

    /// Waits for tapes that are as wanted.
    async fn tapes(&self, wanted: &str, is: impl Fn(&[Tape]) -> bool) -> Vec<Tape> {
        let look = || Some(self.provider.tapes()).filter(|tapes| is(tapes));
        let last = || format!("never: {wanted}; {:?}, {:?}", self.provider.tapes(), self.status.info());
        eventually(look, last).await
    }

    async fn stop(self) {
        self.provider.stop("the test is over").await;
    }
}

fn streams(tapes: &[Tape]) -> impl Iterator<Item = &StreamTape> {
    tapes.iter().filter_map(|tape| match tape {
        Tape::Stream(tape) => Some(tape),
        Tape::Poll(_) => None,
    })
}

/// Compared as the daemon does it: on a blocking thread.
async fn compared(old: &Configured, new: &Configured, tapes: &[Tape]) -> Verdict {
    let (old, new, tapes) = (old.clone(), new.clone(), tapes.to_vec());
    let runtime = tokio::runtime::Handle::current();
    let shadow = move || runtime.block_on(shadow::shadow_within(&old, &new, &tapes, BOUNDS));
    tokio::task::spawn_blocking(shadow).await.expect("it does not panic")
}

#[track_caller]
fn accepted(verdict: &Verdict, name: &str) {
    // How long a call takes is the machine's affair, too.
    let otherwise = verdict.lines.iter().any(|line| !line.starts_with("slower"));
    assert!(!verdict.is_refused() && !otherwise, "{name}: {verdict:#?}");
}

/// The ids that something was read of.
fn read(run: &Run) -> Vec<&str> {
    let reads = run.tapes.iter().flat_map(|tape| &tape.reads);
    let mut ids: Vec<&str> = reads.flat_map(|read| read.observed.keys().map(|id| &**id)).collect();
    ids.sort_unstable();
    ids.dedup();
    ids
}

/// What was received is enough to read every id again, exactly, whatever the venue needs before: a token, an answer to
/// wait for, channel numbers, unpacking.
async fn reads_again(kind: Kind, transport: &str) {
    let name = format!("{} {transport}", kind.name());
    let venue = venue(kind, Options { tick: Some(Duration::from_millis(20)), ..Options::default() }).await;
    let key = concat!(env!("CARGO_MANIFEST_DIR"), "/all/feeds/any.key");
    let key =
        if kind == Kind::CoinMarketCap { format!("secrets.api_key = {{ file = \"{key}\" }}") } else { String::new() };
    let config = format!(
        "loosen_limits = true\ntransports = [\"{transport}\"]\nhttp.poll_interval_ms = 1000\n{}\n{key}\n",
        redirected(&venue)
    );
    let feeding = Feeding::start(kind.name(), &config);
    let default_ids = plugin(kind.name()).description().default_ids.clone();
    let fresh = || {
        let mut readings = default_ids.iter().map(|id| feeding.store.read("x", id));
        readings.all(|reading| reading.is_some_and(|reading| reading.held.is_some())).then_some(())
    };
    eventually(fresh, || format!("{name}: {:?}", feeding.store.read_provider("x"))).await;
    let tapes = feeding.tapes("something received", |tapes| !tapes.is_empty()).await;
    let run = shadow::run(&feeding.open, &tapes, BOUNDS).await;
    let mut ids: Vec<&str> = default_ids.iter().map(String::as_str).collect();
    ids.sort_unstable();
    assert_eq!(read(&run), ids, "{name}: {run:#?}");
    for tape in &run.tapes {
        assert!(tape.deaths.is_empty() && tape.failures.is_empty() && tape.notes.is_empty(), "{name}: {tape:#?}");
        assert!(tape.reads.iter().all(|read| read.malformed.count + read.unusable.count == 0), "{name}: {tape:#?}");
        assert!(tape.memory > 0 && !tape.asks.is_empty(), "{name}: {tape:#?}");
    }
    accepted(&compared(&feeding.open, &feeding.open, &tapes).await, &name);
    feeding.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_every_venue_sent_reads_the_same_again() {
    for kind in Kind::ALL {
        if kind.has_websocket() {
            reads_again(*kind, "websocket").await;
        }
        if kind.has_http() && plugin(kind.name()).fit().http {
            reads_again(*kind, "http").await;
        }
    }
}

/// However much comes, the first and the last frames are kept, and a new connection begins a new tape.
#[tokio::test(flavor = "multi_thread")]
async fn tapes_are_bounded_and_begin_anew_with_each_connection() {
    let venue = venue(Kind::Kraken, Options { tick: Some(Duration::from_millis(1)), ..Options::default() }).await;
    let feeding = Feeding::start("kraken", &format!("websocket.backoff_first_ms = 20\n{}\n", redirected(&venue)));
    let last =
        |tapes: &[Tape]| streams(tapes).last().and_then(|tape| tape.frames.last()).map_or(0, |frame| frame.number);
    let tapes = feeding.tapes("a thousand frames", |tapes| last(tapes) > 1_000).await;
    let tape = streams(&tapes).next().expect("it is one");
    let numbers: Vec<u64> = tape.frames.iter().map(|frame| frame.number).collect();
    assert_eq!(numbers[..32], (1..=32).collect::<Vec<_>>());
    assert_eq!(numbers[32..], (last(&tapes) - 255..=last(&tapes)).collect::<Vec<_>>());
    assert_eq!(
        (tapes.len(), tape.calls.len(), tape.wanted.len(), tape.left_out),
        (1, 1, tape.calls[0].subscriptions.len(), 0)
    );
    accepted(&compared(&feeding.open, &feeding.open, &tapes).await, "kraken");
    venue.cut();
    let tapes = feeding.tapes("a new tape", |tapes| tapes.len() == 1 && last(tapes) < 500).await;
    assert_eq!(streams(&tapes).next().map(|tape| tape.frames[0].number), Some(1));
    feeding.stop().await;
}

/// A venue that answers the subscription to `b` with twenty values of each id, then waits.
async fn streaming() -> ScriptedWs {
    let script = |mut peer: Peer| async move {
        while let Some(text) = peer.recv().await {
            if text != "subscribe 1 b" {
                continue;
            }
            for n in 1..=20 {
                for key in 0..2 {
                    if peer.send(format!("{key} {n}.50")).await.is_err() {
                        return;
                    }
                }
            }
        }
    };
    ScriptedWs::start(script).await.expect("a free port")
}

/// What the guest received over a transport, and its other self with settings.
struct Guest {
    engine: Engine,
    open: Configured,
    tapes: Vec<Tape>,
}

impl Guest {
    async fn new(transport: &str) -> Self {
        let answer = |_: Request| Reply::Send(Response::new(200, "text/plain", "0 1.50\n1 2.50"));
        let (stream, http) = (streaming().await, ScriptedHttp::start(answer).await.expect("a free port"));
        let (scheme, origin) = if transport == "http" { ("https", http.origin()) } else { ("wss", stream.origin()) };
        let config = format!(
            "transports = [\"{transport}\"]\nredirect_origins = {{ \"{scheme}://guest.example.com\" = \"{origin}\" }}\n"
        );
        let feeding = Feeding::start("guest", &config);
        let is_there = |tape: &Tape| match tape {
            Tape::Stream(tape) => tape.frames.len() == 40,
            Tape::Poll(tape) => !tape.answers.is_empty(),
        };
        let tapes = feeding.tapes("everything", |tapes| tapes.iter().any(is_there)).await;
        feeding.stop().await;
        // Time is no object: what is slow is to be found slow, not dead.
        let limits =
            PluginLimits { parse: Duration::from_secs(30), init: Duration::from_secs(30), ..PluginLimits::default() };
        let engine = Engine::new(limits, Compiler::InThisProcess, None).expect("this machine runs WebAssembly");
        let load = || engine.load_blocking(&bytes_of("guest")).unwrap_or_else(|error| panic!("{error}"));
        let plugin = std::thread::scope(|scope| scope.spawn(load).join().expect("loading does not panic"));
        Self { open: plugin.configured("x".into(), "{}".to_owned()), engine, tapes }
    }

    /// The candidate is refused for each of these reasons, in order, and the diff has these lines, in order, among
    /// others.
    async fn check(&self, settings: &str, refused: &[&str], lines: &[&str]) {
        let new = self.open.plugin().configured("x".into(), settings.to_owned());
        let verdict = compared(&self.open, &new, &self.tapes).await;
        let told = verdict.refused.len() == refused.len()
            && verdict.refused.iter().zip(refused).all(|(found, words)| found.contains(words));
        assert!(told, "{settings}: expected {refused:?}, found {verdict:#?}");
        let mut found = verdict.lines.iter();
        for line in lines {
            assert!(found.any(|found| found.contains(line)), "{settings}: {line:?} is not in {verdict:#?}");
        }
        assert!(self.engine.limits().parse >= Duration::from_secs(30));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_candidate_for_a_stream_is_refused_for_what_it_does() {
    let guest = Guest::new("websocket").await;
    accepted(&compared(&guest.open, &guest.open, &guest.tapes).await, "itself");
    guest.check(r#"{"how":"forget-b"}"#, &["it loses 1 id: b"], &[]).await;
    let other = "it gives another meaning to the same bytes for 2 ids: a, b; if that is meant, `feedgate plugin pin";
    guest
        .check(
            r#"{"how":"times-ten"}"#,
            &[other],
            &["a: 1.50 → 15.0 (frame 1)", "b: 1.50 → 15.0 (frame 2)", "and 20 more"],
        )
        .await;
    guest.check(r#"{"how":"later"}"#, &[other], &["a: venue's time 2"]).await;
    guest
        .check(
            r#"{"how":"garble-b"}"#,
            &["it loses 1 id: b", "what it cannot read: 20 times, the running build 0: garbled"],
            &[],
        )
        .await;
    guest.check(r#"{"how":"key"}"#, &["it loses 2 ids: a, b", "values that cannot be stored: 40 times"], &[]).await;
    guest.check(r#"{"how":"exponent"}"#, &["it loses 2 ids", "values that cannot be stored: 40 times"], &[]).await;
    // The codec after it dies of the same: three times are enough.
    let dies = "it dies: handle-messages: plugin died: trap";
    guest
        .check(
            r#"{"on":"handle","how":"trap","after":4}"#,
            &[dies],
            &["(frame 10)", "(frame 15)", "only 15 of 40 frames"],
        )
        .await;
    guest
        .check(
            r#"{"on":"handle","how":"allocate"}"#,
            &[
                "max_memory_mib) (frame 1), and the running build does not",
                "it loses 2 ids",
                "it is slower",
                "it takes",
            ],
            &[],
        )
        .await;
    guest.check(r#"{"on":"subscribe","how":"trap"}"#, &["it dies: subscribe: plugin died: trap"], &[]).await;
    guest.check(r#"{"on":"connect","how":"trap"}"#, &["it dies: connect: plugin died: trap"], &[]).await;
    guest.check(r#"{"how":"refuse"}"#, &["it dies: when it is started: settings refused at `how`"], &[]).await;
    guest
        .check(
            r#"{"how":"refuse-a"}"#,
            &["it refuses 1 id: a, which the running build serves"],
            &["a: refused: no a here"],
        )
        .await;
    guest
        .check(r#"{"on":"connect","how":"fetch"}"#, &[], &["asks https://guest.example.com/token before it connects"])
        .await;
    guest
        .check(
            r#"{"url":"wss://localhost:1/v2"}"#,
            &[],
            &["asks wss://localhost:1/v2 (the running build: wss://guest.example.com/)"],
        )
        .await;
    guest.check(r#"{"on":"configure","how":"hoard"}"#, &["it takes 4"], &[]).await;
    guest.check(r#"{"on":"handle","how":"slow"}"#, &["it is slower: "], &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_candidate_for_a_poller_is_refused_for_what_it_does() {
    let guest = Guest::new("http").await;
    accepted(&compared(&guest.open, &guest.open, &guest.tapes).await, "itself");
    guest.check(r#"{"how":"forget-b"}"#, &["it loses 1 id: b"], &[]).await;
    guest
        .check(
            r#"{"how":"times-ten"}"#,
            &["it gives another meaning"],
            &["a: 1.50 → 15.0 (answer 1)", "b: 2.50 → 25.0"],
        )
        .await;
    guest.check(r#"{"on":"parse","how":"trap"}"#, &["it dies: parse-response: ", "it loses 2 ids: a, b"], &[]).await;
    guest.check(r#"{"on":"create","how":"trap"}"#, &["it dies: create-requests: "], &[]).await;
    guest
        .check(r#"{"url":"https://localhost:1/v2"}"#, &[], &["asks https://localhost:1/v2 (the running build: "])
        .await;
    guest.check(r#"{"on":"parse","how":"slow"}"#, &["it is slower: "], &[]).await;
}

/// A provider that has received nothing has nothing against any build.
#[tokio::test(flavor = "multi_thread")]
async fn without_tapes_every_build_is_accepted_and_that_is_said() {
    let guest = plugin("guest");
    let old = guest.configured("x".into(), "{}".to_owned());
    let new = guest.configured("x".into(), r#"{"how":"forget-b"}"#.to_owned());
    let verdict = compared(&old, &new, &[]).await;
    assert_eq!(
        (verdict.is_refused(), verdict.to_string().as_str()),
        (false, "nothing to compare: nothing has been received yet")
    );
}

/// What a run may cost is shared out fairly among the tapes, and is the same for both builds.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_is_bounded() {
    let guest = Guest::new("websocket").await;
    let tapes: Vec<Tape> = (0..4).flat_map(|_| guest.tapes.clone()).collect();
    let reads = async |bounds| {
        let run = shadow::run(&guest.open, &tapes, bounds).await;
        run.tapes.iter().map(|tape| tape.reads.len()).collect::<Vec<_>>()
    };
    assert_eq!(reads(BOUNDS).await, [40, 40, 40, 40]);
    assert_eq!(reads(Bounds { inputs: 100, ..BOUNDS }).await, [25, 25, 25, 25]);
    assert_eq!(reads(Bounds { values: 80, ..BOUNDS }).await, [20, 20, 20, 20]);
    assert_eq!(reads(Bounds { time: Duration::ZERO, ..BOUNDS }).await, [0, 0, 0, 0]);
}
