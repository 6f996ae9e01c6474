//! Plugins that misbehave, in a real daemon against scripted servers: each costs its own connection or poll, says why,
//! and nobody else notices.
//!
//! The guest (`tests/guest`) does as its settings say. Its venue speaks `KEY VALUE`.

use std::io::Write as _;

use feedgate::contract::codec::{Context, Incoming, OpenCodec, Subscription, WebSocketCodec};
use feedgate::contract::limits::PluginLimits;
use feedgate::contract::observation::Key;
use feedgate::plugin::{Compiler, Engine};
use feedgate::store::State;
use feedgate_tests::{Message, Reply, Request, Response, ScriptedHttp, ScriptedWs};
use futures_util::FutureExt;

use crate::support::{Running, bytes_of, shown};

/// A venue that answers every subscription with a value at once and goes on doing so.
async fn streaming() -> ScriptedWs {
    let script = |mut peer: feedgate_tests::Peer| async move {
        let mut keys = Vec::new();
        while let Some(text) = peer.recv().await {
            if let Some(rest) = text.strip_prefix("subscribe ") {
                keys.extend(rest.split(' ').next().map(str::to_owned));
            }
            for key in &keys {
                if peer.send(format!("{key} 1.50")).await.is_err() {
                    return;
                }
            }
        }
    };
    ScriptedWs::start(script).await.expect("a free port")
}

async fn polled(body: &'static str) -> ScriptedHttp {
    let answer = move |_: Request| Reply::Send(Response::new(200, "text/plain", body));
    ScriptedHttp::start(answer).await.expect("a free port")
}

fn section(name: &str, transport: &str, origin: &str, settings: &str) -> String {
    let scheme = if transport == "http" { "https" } else { "wss" };
    format!(
        "[provider.{name}]\nplugin = \"guest\"\ntransports = [\"{transport}\"]\n\
         redirect_origins = {{ \"{scheme}://guest.example.com\" = \"{origin}\" }}\n\
         websocket = {{ backoff_first_ms = 20, backoff_max_ms = 200 }}\n\
         http = {{ backoff_first_ms = 20, backoff_max_ms = 200 }}\nsettings = {settings}\n"
    )
}

const LIMITS: &str =
    "[plugin_limits]\ninit_ms = 300\nbuild_ms = 100\nparse_ms = 100\nmax_memory_mib = 16\nmax_result_kib = 1024\n";

/// The provider misbehaves as told; its neighbour on the same plugin stays fresh, and the reason names the trouble.
async fn check(transport: &str, settings: &str, words: &[&str]) {
    check_within(LIMITS, transport, settings, words).await;
}

async fn check_within(limits: &str, transport: &str, settings: &str, words: &[&str]) {
    let (stream, http) = (streaming().await, polled("0 1.50\n1 1.50").await);
    let origin = if transport == "http" { http.origin() } else { stream.origin() };
    let config =
        [limits.to_owned(), section("good", transport, &origin, "{}"), section("bad", transport, &origin, settings)];
    let running = Running::start(&config.concat(), &["guest"]).await;
    running
        .reading("bad", "a", &format!("told of {words:?}"), |reading| {
            words.iter().all(|word| reading.reason.contains(word))
        })
        .await;
    let good = running.state("good", "a", State::Fresh).await;
    assert_eq!(shown(&good).as_deref(), Some("1.50"));
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_never_ends_is_ended() {
    for call in ["connect", "subscribe", "handle", "heartbeat"] {
        let knob = if call == "handle" { "parse_ms" } else { "build_ms" };
        let settings = format!("{{ on = \"{call}\", how = \"loop\" }}");
        check("websocket", &settings, &["spent its time budget of 100 ms", knob]).await;
    }
    for (call, knob) in [("create", "build_ms"), ("parse", "parse_ms")] {
        let settings = format!("{{ on = \"{call}\", how = \"loop\" }}");
        check("http", &settings, &["spent its time budget of 100 ms", knob]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trap_says_what_it_was() {
    for (transport, call, how, word) in [
        ("websocket", "connect", "trap", "unreachable"),
        ("websocket", "handle", "trap", "unreachable"),
        ("websocket", "handle", "recurse", "call stack exhausted"),
        ("websocket", "handle", "allocate", "max_memory_mib"),
        ("http", "parse", "trap", "unreachable"),
        ("http", "parse", "allocate", "16 MiB of memory"),
    ] {
        check(transport, &format!("{{ on = \"{call}\", how = \"{how}\" }}"), &[word]).await;
    }
}

/// Good at first: what it had is kept, and the fresh instance is good again until its own time comes.
#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_that_goes_wrong_later_is_told_and_its_neighbour_stays_fresh() {
    for (how, words) in [("leak", ["16 MiB of memory", "max_memory_mib"]), ("trap", ["trap", "unreachable"])] {
        check("websocket", &format!("{{ on = \"handle\", how = \"{how}\", after = 3 }}"), &words).await;
        check("http", &format!("{{ on = \"parse\", how = \"{how}\", after = 3 }}"), &words).await;
    }
}

/// So that a connection whose plugin leaks is replaced before it dies.
#[test]
fn an_instance_that_leaks_says_in_time_that_it_is_worn() {
    let ids = [Subscription { key: Key(0), id: "a".into() }];
    for (how, limit, worn) in [("seep", 16 << 20, true), ("seep", 64 << 20, false), ("nothing", 16 << 20, false)] {
        let limits = PluginLimits { max_memory_bytes: limit, ..PluginLimits::default() };
        let engine = Engine::new(limits, Compiler::InThisProcess, None).expect("this machine runs WebAssembly");
        let plugin = engine.load_blocking(&bytes_of("guest")).expect("a good plugin");
        let open = plugin.configured("p".into(), format!(r#"{{"on":"handle","how":"{how}"}}"#));
        let (mut codec, _) = open.open().now_or_never().expect("synchronous").expect("it opens");
        codec.connect(Context::default(), &ids, None).now_or_never().expect("synchronous").expect("it dials");
        let mut frames = 0;
        while frames < 220 && !codec.is_worn() {
            let call = codec.handle_messages(Context::default(), &[Incoming::Text("0 1")]);
            call.now_or_never().expect("synchronous").expect("it lives");
            frames += 1;
        }
        assert_eq!((codec.is_worn(), frames < 220), (worn, worn), "{how} of {limit} after {frames} frames");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_million_records_are_refused() {
    let limits = "[plugin_limits]\nparse_ms = 10000\nmax_memory_mib = 256\nmax_result_kib = 1024\n";
    for transport in ["websocket", "http"] {
        check_within(limits, transport, "{ how = \"many\" }", &["result over the limit", "max_result_kib"]).await;
    }
    // A million does not come so far.
    check("websocket", "{ how = \"million\" }", &["16 MiB of memory", "max_memory_mib"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn values_that_cannot_be_true_are_refused_and_told() {
    for (how, words) in [
        ("seconds", &["time", "out of range"][..]),
        ("millis-as-nanos", &["1970-01-01", "not plausible"]),
        ("future", &["not plausible"]),
        ("exponent", &["exponent beyond"]),
    ] {
        check("websocket", &format!("{{ how = \"{how}\" }}"), words).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_literal_that_is_no_number_costs_its_own_id() {
    let http = polled("0 NaN\n1 65114.20").await;
    let running = Running::start(&section("p", "http", &http.origin(), "{}"), &["guest"]).await;
    let bad = running.state("p", "a", State::Unresolved).await;
    assert!(bad.reason.contains("NaN") && bad.reason.contains("not a finite decimal"), "{}", bad.reason);
    running.value("p", "b", "65114.20").await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_nobody_asked_for_are_counted_and_dropped() {
    for transport in ["websocket", "http"] {
        let (stream, http) = (streaming().await, polled("0 1.50").await);
        let origin = if transport == "http" { http.origin() } else { stream.origin() };
        let config = section("p", transport, &origin, "{ how = \"key\" }");
        let running = Running::start(&config, &["guest"]).await;
        running.until("an unknown key is counted", |_| running.outcomes("p", "unknown-key") > 0).await;
        assert!(running.read("p", "a").is_some_and(|reading| reading.held.is_none()));
        running.stop().await;
    }
}

/// Messages that never arrived count with the id that the plugin names. A number that cannot be does not drown the
/// others.
#[tokio::test(flavor = "multi_thread")]
async fn gaps_are_counted_with_their_id() {
    let script = |mut peer: feedgate_tests::Peer| async move {
        let _ = peer.recv().await;
        for frame in ["gap 0 3", "gap 0 2", "gap 7000 9", "gap 1 18446744073709551615", "0 1.50"] {
            let _ = peer.send(frame).await;
        }
        peer.gone().await;
    };
    let venue = ScriptedWs::start(script).await.expect("a free port");
    let running = Running::start(&section("p", "websocket", &venue.origin(), "{}"), &["guest"]).await;
    let reading = running.value("p", "a", "1.50").await;
    assert_eq!((reading.missed, running.outcomes("p", "unknown-key")), (5, 1));
    let most = running.read("p", "b").map(|reading| reading.missed).unwrap_or_default();
    assert!(most > 5 && most < u64::MAX, "{most}");
    assert!(running.metrics().contains("feedgate_id_missed{provider=\"p\",id=\"a\"} 5"));
    assert_eq!(venue.connects(), 1, "nothing was worth a connection");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn values_of_every_type_are_kept() {
    for (how, expected) in [("text", "Text(\"1.50\")"), ("flag", "Flag(false)"), ("bytes", "Bytes([49, 46, 53, 48])")] {
        let venue = streaming().await;
        let config = section("p", "websocket", &venue.origin(), &format!("{{ how = \"{how}\" }}"));
        let running = Running::start(&config, &["guest"]).await;
        running.value("p", "a", expected).await;
        running.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_that_the_plugin_refuses_leaves_the_others_running() {
    let venue = streaming().await;
    let running =
        Running::start(&section("p", "websocket", &venue.origin(), "{ how = \"refuse-a\" }"), &["guest"]).await;
    let refused = running.state("p", "a", State::Rejected).await;
    assert_eq!(&*refused.reason, "no a here");
    running.state("p", "b", State::Fresh).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_cannot_connect_where_it_was_not_granted() {
    for (transport, url, word) in [
        ("websocket", "wss://other.example.com/", "not granted"),
        ("websocket", "ws://guest.example.com/", "not granted"),
        ("websocket", "https://guest.example.com.evil.com/", "not granted"),
        ("websocket", "wss://user:pw@guest.example.com/", "credentials"),
        ("websocket", "file:///etc/passwd", "scheme"),
        ("websocket", "nonsense", "absolute URL"),
        ("http", "https://guest.example.com:8443/", "not granted"),
        ("http", "https://169.254.169.254/latest/meta-data", "not granted"),
        ("http", "http://127.0.0.1:1/", "not granted"),
        ("http", "gopher://guest.example.com/", "scheme"),
    ] {
        let settings = format!("{{ url = \"{url}\" }}");
        let running = Running::start(&section("p", transport, unused(transport), &settings), &["guest"]).await;
        running.reading("p", "a", word, |reading| reading.reason.contains(word)).await;
        running.stop().await;
    }
}

/// An origin for a redirection that no test follows.
fn unused(transport: &str) -> &'static str {
    if transport == "http" { "http://127.0.0.1:9" } else { "ws://127.0.0.1:9" }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_described_name_must_not_lead_to_a_private_address() {
    // The guest describes `localhost`, so the name is granted; its address is not.
    for (transport, scheme) in [("websocket", "wss"), ("http", "https")] {
        let settings = format!("{{ url = \"{scheme}://localhost:1/\" }}");
        let config = section("p", transport, unused(transport), &settings);
        let running = Running::start(&config, &["guest"]).await;
        let word = "not a public address";
        running.reading("p", "a", word, |reading| reading.reason.contains(word)).await;
        running.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_header_that_a_plugin_may_not_write_is_sent_nowhere() {
    for transport in ["websocket", "http"] {
        for (header, words) in [
            // It would write another one.
            (r#"["x-a", "1\r\nx-b: 2"]"#, "header \"x-a\" has a name or a value that HTTP does not allow"),
            // Behind a shared front it would reach another site, with the secrets of this one.
            (r#"["Host", "inner.example"]"#, "header \"Host\" is written by the host"),
            (r#"["connection", "close"]"#, "header \"connection\" is written by the host"),
            (r#"["Sec-WebSocket-Key", "x"]"#, "header \"Sec-WebSocket-Key\" is written by the host"),
        ] {
            let (stream, http) = (streaming().await, polled("0 1").await);
            let origin = if transport == "http" { http.origin() } else { stream.origin() };
            let settings = format!("{{ header = {header} }}");
            let running = Running::start(&section("p", transport, &origin, &settings), &["guest"]).await;
            running.reading("p", "a", words, |reading| reading.reason.contains(words)).await;
            assert_eq!(http.requests(), 0);
            running.stop().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_of_nobody_is_not_sent() {
    let http = polled("0 1").await;
    let settings = "{ header = [\"x-key\", \"${secret.other}\"] }";
    let running = Running::start(&section("p", "http", &http.origin(), settings), &["guest"]).await;
    running.reading("p", "a", "a missing secret", |reading| reading.reason.contains("secret \"other\"")).await;
    assert_eq!(http.requests(), 0);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_that_the_plugin_refuses_stop_the_provider_with_its_words() {
    for (settings, word) in [
        ("{ how = \"refuse\" }", "refused as it was told"),
        ("{ unknown = 1 }", "unknown"),
        ("{ on = \"configure\", how = \"loop\" }", "init_ms"),
        ("{ on = \"configure\", how = \"trap\" }", "trap"),
    ] {
        let config = format!("{LIMITS}{}", section("p", "websocket", "ws://127.0.0.1:9", settings));
        let running = Running::start(&config, &["guest"]).await;
        running
            .until(word, |status| {
                let info = status.provider("p").info();
                info.state.as_str() == "failed" && info.reason.contains(word)
            })
            .await;
        running.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_that_asks_for_requests_without_end_is_stopped() {
    let http = polled("token").await;
    let config = format!(
        "[provider.p]\nplugin = \"guest\"\ntransports = [\"websocket\"]\n\
         redirect_origins = {{ \"https://guest.example.com\" = \"{}\" }}\nsettings = {{ on = \"connect\", how = \"fetch\" }}\n",
        http.origin()
    );
    let running = Running::start(&config, &["guest"]).await;
    running.reading("p", "a", "8 requests", |reading| reading.reason.contains("more than 8 requests")).await;
    assert!(http.requests() >= 8);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn logging_without_end_is_cut_and_the_feed_goes_on() {
    let venue = streaming().await;
    let settings = "{ on = \"subscribe\", how = \"log\" }";
    let running = Running::start(&section("p", "websocket", &venue.origin(), settings), &["guest"]).await;
    running.state("p", "a", State::Fresh).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn packed_frames_are_unpacked_and_bombs_are_not() {
    fn gzip(content: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(content).expect("into memory");
        encoder.finish().expect("into memory")
    }
    let bomb = gzip(&vec![b'0'; 64 << 20]);
    let script = move |mut peer: feedgate_tests::Peer| {
        let bomb = bomb.clone();
        async move {
            let _ = peer.recv().await;
            for packed in [bomb, b"no gzip".to_vec(), gzip(b"0 7.25")] {
                let _ = peer.send(Message::binary(packed)).await;
            }
            peer.gone().await;
        }
    };
    let venue = ScriptedWs::start(script).await.expect("a free port");
    let running = Running::start(&section("p", "websocket", &venue.origin(), "{}"), &["guest"]).await;
    running.value("p", "a", "7.25").await;
    assert_eq!(running.outcomes("p", "malformed"), 2);
    assert_eq!(venue.connects(), 1, "neither was worth a connection");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn heartbeats_go_out_while_nothing_comes_in() {
    let (beats, mut heard) = tokio::sync::watch::channel(0);
    let script = move |mut peer: feedgate_tests::Peer| {
        let beats = beats.clone();
        async move {
            // Says nothing, ever: a host that only writes between two reads would write nothing.
            while let Some(text) = peer.recv().await {
                beats.send_modify(|count| *count += u32::from(text == "heartbeat"));
            }
        }
    };
    let venue = ScriptedWs::start(script).await.expect("a free port");
    let running = Running::start(&section("p", "websocket", &venue.origin(), "{}"), &["guest"]).await;
    heard.wait_for(|count| *count >= 5).await.expect("the script runs");
    assert_eq!(venue.connects(), 1);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_that_wants_to_reconnect_all_the_time_makes_no_storm() {
    let script = |mut peer: feedgate_tests::Peer| async move {
        let _ = peer.recv().await;
        let _ = peer.send("reconnect").await;
        peer.gone().await;
    };
    let venue = ScriptedWs::start(script).await.expect("a free port");
    let config =
        section("p", "websocket", &venue.origin(), "{}").replace("backoff_max_ms = 200", "backoff_max_ms = 5000");
    let started = std::time::Instant::now();
    let running = Running::start(&config, &["guest"]).await;
    venue.connected(6).await;
    // First waits of 20, 40, 80, 160, 320 ms at most, and never below half of the first.
    assert!(started.elapsed() >= std::time::Duration::from_millis(50));
    let provider = running.status().provider("p").info();
    assert!(provider.connections.values().all(|connection| connection.failures >= 4), "{provider:?}");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotated_secret_is_used_after_a_reload() {
    let (keys, mut seen) = tokio::sync::watch::channel(String::new());
    let answer = move |request: Request| {
        keys.send_replace(request.header("x-key").unwrap_or_default().to_owned());
        Reply::Send(Response::new(200, "text/plain", "0 1.50"))
    };
    let http = ScriptedHttp::start(answer).await.expect("a free port");
    let directory = tempfile::TempDir::new().expect("a temporary directory");
    let file = directory.path().join("key");
    std::fs::write(&file, "first\n").expect("writable");
    let settings = "{ header = [\"x-key\", \"${secret.key}\"] }";
    let section = section("p", "http", &http.origin(), settings);
    let running = Running::start(&format!("{section}secrets.key.file = {file:?}\n"), &["guest"]).await;
    seen.wait_for(|key| key == "first").await.expect("the script runs");
    std::fs::write(&file, "second\n").expect("writable");
    running.daemon.control().reload().await.expect("it runs");
    seen.wait_for(|key| key == "second").await.expect("the script runs");
    // A file that is gone changes nothing.
    std::fs::remove_file(&file).expect("it was there");
    running.daemon.control().reload().await.expect("it runs");
    let asked = http.requests();
    http.requested(asked + 3).await;
    assert_eq!(*seen.borrow(), "second");
    running.stop().await;
}
