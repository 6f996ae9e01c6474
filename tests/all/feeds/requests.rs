//! How requests go out and answers come in: what is not sent, what is sent once, and what is sent in turns. The guest
//! (`tests/guest`) is the plugin; its venue speaks `KEY VALUE`.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use feedgate::status::Status;
use feedgate::store::State;
use feedgate_tests::{Reply, Request, Response, ScriptedHttp, ScriptedWs};

use super::ids_line;
use crate::support::{Running, shown};

/// A section for the guest, polling.
fn guest(name: &str, settings: &str, http: &str, more: &str) -> String {
    format!(
        "[provider.{name}]\nplugin = \"guest\"\ntransports = [\"http\"]\nloosen_limits = true\n\
         settings = {{ {settings} }}\nhttp = {{ poll_interval_ms = 50, backoff_first_ms = 20, backoff_max_ms = 100{http} }}\n{more}\n"
    )
}

/// Nothing is granted and nothing listens, so any connection would be an error.
#[tokio::test(flavor = "multi_thread")]
async fn a_data_url_is_answered_without_a_venue() {
    let config = [
        guest("plain", r#"url = "data:,0%201.50%0A1%202.50""#, "", ""),
        guest("packed", r#"url = "data:text/plain;base64,MCAxLjUwCjEgMi41MAo=""#, "", ""),
        guest("broken", r#"url = "data:;base64,~""#, "", ""),
        guest("long", &format!(r#"url = "data:,{}""#, "0".repeat(2_000)), ", max_body_kib = 1", ""),
    ];
    let running = Running::start(&config.concat(), &["guest"]).await;
    for name in ["plain", "packed"] {
        running.value(name, "a", "1.50").await;
        running.value(name, "b", "2.50").await;
    }
    for (name, words) in [("broken", "not base64"), ("long", "longer than 1 KiB")] {
        let says =
            |reading: &feedgate::store::Reading| reading.state == State::ProviderDown && reading.reason.contains(words);
        running.reading(name, "a", words, says).await;
    }
    running.stop().await;
}

/// The line that sends the guest to a scripted server.
fn redirect(server: &ScriptedHttp) -> String {
    format!("redirect_origins = {{ \"https://guest.example.com\" = \"{}\" }}", server.origin())
}

async fn server(script: impl Fn(Request) -> Reply + Send + Sync + 'static) -> ScriptedHttp {
    ScriptedHttp::start(script).await.expect("loopback has a free port")
}

fn plain(body: impl Into<Vec<u8>>) -> Response {
    Response::new(200, "text/plain", body)
}

/// The requests of one provider, `metric="result"`.
fn counted(running: &Running, provider: &str, result: &str) -> u64 {
    let line = format!("feedgate_requests_total{{provider=\"{provider}\",cause=\"{result}\"}} ");
    let text = running.metrics();
    text.lines().find_map(|found| found.strip_prefix(&line)?.parse().ok()).unwrap_or(0)
}

/// The validators of an answer are sent with the next request, and a 304 keeps its values fresh without being parsed.
/// What the plugin writes itself, and an answer that left an id out, are asked in full.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_has_not_changed_is_confirmed() {
    let body = Arc::new(Mutex::new("0 1.50\n1 2.50"));
    let seen: Arc<Mutex<BTreeMap<String, Vec<Option<String>>>>> = Arc::default();
    let (bodies, notes) = (body.clone(), seen.clone());
    let server = server(move |request| {
        let path = request.path().to_owned();
        let condition = ["if-none-match", "if-modified-since"].into_iter().find_map(|name| request.header(name));
        notes.lock().expect("no panic").entry(path.clone()).or_default().push(condition.map(str::to_owned));
        let body = *bodies.lock().expect("no panic");
        let (name, tag) = if path == "/dated" {
            ("last-modified", "Sun, 06 Nov 1994 08:49:37 GMT".to_owned())
        } else {
            ("etag", format!("\"{}\"", body.replace('\n', "-")))
        };
        let response = if condition == Some(&*tag) { Response::new(304, "text/plain", "") } else { plain(body) };
        Reply::Send(response.with_header(name, tag))
    })
    .await;
    // A value that nothing confirmed would be old after half a second. `parse` would trap at the second call.
    let short = format!("max_age_ms = 500\n{}", redirect(&server));
    let once = r#"on = "parse", how = "trap", after = 1"#;
    let url = |path: &str| format!("url = \"https://guest.example.com/{path}\"");
    let config = [
        guest("tagged", &format!("{once}, {}", url("tagged")), "", &short),
        guest("dated", &format!("{once}, {}", url("dated")), "", &short),
        guest("own", &format!("header = [\"If-None-Match\", \"\\\"x\\\"\"], {}", url("own")), "", &short),
        guest("partly", &url("partly"), "", &format!("ids = [\"a\", \"b\", \"c\"]\n{short}")),
    ];
    let running = Running::start(&config.concat(), &["guest"]).await;
    for name in ["tagged", "dated"] {
        running.until("confirmed", |_| counted(&running, name, "not-modified") >= 30).await;
        let reading = running.state(name, "a", State::Fresh).await;
        let held = reading.held.as_ref().expect("fresh").clone();
        assert_eq!(shown(&reading).as_deref(), Some("1.50"), "{name}");
        assert!(held.age < Duration::from_millis(500), "{name}: {held:?}");
    }
    running.until("asked", |_| counted(&running, "own", "ok") >= 3 && counted(&running, "partly", "ok") >= 3).await;
    for name in ["own", "partly"] {
        assert_eq!(counted(&running, name, "not-modified"), 0, "{name}");
    }
    let seen = seen.lock().expect("no panic").clone();
    let first = |path: &str| seen[path].iter().take(3).cloned().collect::<Vec<_>>();
    let tag = Some("\"0 1.50-1 2.50\"".to_owned());
    let date = Some("Sun, 06 Nov 1994 08:49:37 GMT".to_owned());
    assert_eq!(first("/tagged"), [None, tag.clone(), tag]);
    assert_eq!(first("/dated"), [None, date.clone(), date]);
    assert_eq!(first("/own"), vec![Some("\"x\"".to_owned()); 3]);
    assert_eq!(first("/partly"), [None, None, None]);
    running.stop().await;
    server.shutdown().await;
}

/// A new instance knows nothing of what the last one was told, so it asks in full; and a change is seen.
#[tokio::test(flavor = "multi_thread")]
async fn a_validator_does_not_outlive_its_codec() {
    let body = Arc::new(Mutex::new("0 1.50\n1 2.50"));
    let bodies = body.clone();
    let server = server(move |request| {
        let body = *bodies.lock().expect("no panic");
        let tag = format!("\"{}\"", body.replace('\n', "-"));
        let unchanged = request.header("if-none-match") == Some(&tag);
        let response = if unchanged { Response::new(304, "text/plain", "") } else { plain(body) };
        Reply::Send(response.with_header("etag", tag))
    })
    .await;
    // It traps when it is asked to plan for the fourth time, and then every fourth time.
    let dies = r#"on = "create", how = "trap", after = 3"#;
    let running = Running::start(&guest("p", dies, "", &redirect(&server)), &["guest"]).await;
    running.until("two lives", |_| counted(&running, "p", "ok") >= 3).await;
    assert!(counted(&running, "p", "not-modified") >= 2);
    *body.lock().expect("no panic") = "0 7.50\n1 8.50";
    running.value("p", "a", "7.50").await;
    running.stop().await;
    server.shutdown().await;
}

/// Twelve requests, two at once: the first values come in rounds without a pause, then every id once in six intervals,
/// in turns. An id whose turn it is not stays as it is.
#[tokio::test(flavor = "multi_thread")]
async fn requests_take_turns_and_no_id_waits_longer_than_a_cycle() {
    let seen: Arc<Mutex<Vec<String>>> = Arc::default();
    let asked = seen.clone();
    let server = server(move |request| {
        let keys = request.parameter("keys").unwrap_or_default();
        let lines: Vec<_> = keys.split(',').map(|key| format!("{key} 1.50")).collect();
        asked.lock().expect("no panic").push(keys);
        Reply::Send(plain(lines.join("\n")))
    })
    .await;
    let ids: Vec<String> = (0..24).map(|number| format!("id{number}")).collect();
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    let more = format!("{}{}", ids_line(&ids), redirect(&server));
    // An hour between two polls: whatever arrives soon came without waiting.
    let hourly = guest("hourly", "batch = 2", "", &more).replace("poll_interval_ms = 50", "poll_interval_ms = 3600000");
    let running = Running::start(&hourly, &["guest"]).await;
    for id in &ids {
        running.state("hourly", id, State::Fresh).await;
    }
    assert_eq!(server.requests(), 12);
    let poller = running.status().provider("hourly").info().poller.expect("it polls");
    assert_eq!((poller.polls, poller.cycle), (6, Some(Duration::from_secs(6 * 3_600))));
    // Three cycles, since nobody said otherwise.
    let reading = running.read("hourly", ids[0]).expect("known");
    assert_eq!(reading.max_age, Duration::from_secs(18 * 3_600));
    running.stop().await;

    let running = Running::start(&guest("often", "batch = 2", "", &more), &["guest"]).await;
    server.requested(12 + 60).await;
    running
        .until("every id has a value", |_| {
            ids.iter().all(|id| running.read("often", id).is_some_and(|reading| reading.held.is_some()))
        })
        .await;
    for id in &ids {
        let reading = running.read("often", id).expect("known");
        assert!(reading.state == State::Fresh && reading.reason.is_empty(), "{reading:?}");
    }
    running.stop().await;
    let seen = seen.lock().expect("no panic").clone();
    // Two of a poll may overtake each other, so a cycle may begin one request early.
    for window in seen[12..].windows(14) {
        let different: std::collections::BTreeSet<_> = window.iter().collect();
        assert_eq!(different.len(), 12, "{window:?}");
    }
    server.shutdown().await;
}

/// Three failed polls, and the next one sends one request only, until that is answered.
#[tokio::test(flavor = "multi_thread")]
async fn a_circuit_opens_and_one_request_on_trial_closes_it() {
    let ill = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let seen: Arc<Mutex<Vec<(Instant, bool)>>> = Arc::default();
    let (is_ill, asked) = (ill.clone(), seen.clone());
    let relaxed = std::sync::atomic::Ordering::Relaxed;
    let server = server(move |request| {
        let ill = is_ill.load(relaxed);
        asked.lock().expect("no panic").push((Instant::now(), ill));
        let keys = request.parameter("keys").unwrap_or_default();
        if ill { Reply::Close } else { Reply::Send(plain(format!("{keys} 1.50"))) }
    })
    .await;
    let more = format!("max_age_ms = 200\nids = [\"a\", \"b\"]\n{}", redirect(&server));
    let running = Running::start(&guest("p", "batch = 1", "", &more), &["guest"]).await;
    running.state("p", "b", State::Fresh).await;
    ill.store(true, relaxed);
    running.until("the circuit opens", |status| circuit(status) == "open").await;
    assert!(running.metrics().contains("poll_circuit{provider=\"p\"} 2"));
    for id in ["a", "b"] {
        running.state("p", id, State::ProviderDown).await;
    }
    // From here on each failed poll is one request.
    let polls = |running: &Running| running.status().provider("p").info().poller.expect("it polls").polls;
    let before = (polls(&running), server.requests());
    running
        .until("trials fail", |status| status.provider("p").info().poller.is_some_and(|it| it.polls >= before.0 + 4))
        .await;
    let after = (polls(&running), server.requests());
    // A trial may have been sent and not be counted yet, at either end.
    assert!((after.1 - before.1).abs_diff(after.0 - before.0) <= 1, "{before:?} {after:?}");
    ill.store(false, relaxed);
    running.until("the circuit closes", |status| circuit(status) == "closed").await;
    for id in ["a", "b"] {
        running.state("p", id, State::Fresh).await;
    }
    running.stop().await;
    server.shutdown().await;
}

fn circuit(status: &Status) -> &'static str {
    status.provider("p").info().poller.map_or("none", |poller| poller.circuit.as_str())
}

/// One provider is told to wait; its neighbour at the same venue waits too, and so does the one itself after a restart.
#[tokio::test(flavor = "multi_thread")]
async fn a_venue_that_asks_one_to_wait_is_left_alone_by_all() {
    let server = server(|_| Reply::Send(Response::new(429, "text/plain", "").with_header("retry-after", "3600"))).await;
    let other = self::server(|_| Reply::Send(plain("0 1.50\n1 2.50"))).await;
    let told = guest("told", "", "", &redirect(&server));
    let running = Running::start(&told, &["guest"]).await;
    let asked = |status: &Status| status.provider("told").info().poller.is_some_and(|poller| poller.failures == 1);
    running.until("it was told", asked).await;
    // The same venue at another address, where it would answer: what counts is the origin as plugins know it.
    let neighbour = guest("neighbour", "", "", &redirect(&other));
    running.write_config(&format!("{told}{neighbour}"));
    let says =
        |reading: &feedgate::store::Reading| reading.reason.contains("https://guest.example.com asked for no requests");
    running.reading("neighbour", "a", "paused", says).await;
    // Anything that differs beyond ids restarts the provider.
    running.write_config(&format!("{}{neighbour}", told.replace("poll_interval_ms = 50", "poll_interval_ms = 60")));
    running.reading("told", "a", "paused", says).await;
    assert_eq!((server.requests(), other.requests()), (1, 0));
    let info = running.status().provider("neighbour").info().poller.expect("it polls");
    let next = info.next_poll.expect("planned").saturating_duration_since(tokio::time::Instant::now());
    assert!(next > Duration::from_secs(3_000), "{next:?}");
    running.stop().await;
    server.shutdown().await;
    other.shutdown().await;
}

/// The same for connections: one handshake was refused, and nobody dials. Another origin is none of its business.
#[tokio::test(flavor = "multi_thread")]
async fn a_handshake_that_is_told_to_wait_holds_up_every_dial() {
    let server = server(|_| Reply::Send(Response::new(429, "text/plain", "").with_header("retry-after", "3600"))).await;
    let other = ScriptedWs::start(|mut peer| async move {
        while let Some(text) = peer.recv().await {
            if text.starts_with("subscribe 0 ") && peer.send("0 1.50").await.is_err() {
                return;
            }
        }
    });
    let other = other.await.expect("loopback has a free port");
    let streamed = |name: &str, real: &str, to: &str, settings: &str| {
        format!(
            "[provider.{name}]\nplugin = \"guest\"\ntransports = [\"websocket\"]\nsettings = {{ {settings} }}\n\
             redirect_origins = {{ \"{real}\" = \"{to}\" }}\nwebsocket = {{ backoff_first_ms = 20, backoff_max_ms = 100 }}\n"
        )
    };
    let told = streamed("told", "wss://guest.example.com", &server.origin().replace("http:", "ws:"), "");
    let running = Running::start(&told, &["guest"]).await;
    let ended = |status: &Status| first_connection(status, "told").is_some_and(|it| it.last_end.is_some());
    running.until("it was told", ended).await;
    let neighbour = streamed("neighbour", "wss://guest.example.com", &other.origin(), "");
    let control = streamed("control", "wss://localhost:1", &other.origin(), r#"url = "wss://localhost:1/""#);
    running.write_config(&format!("{told}{neighbour}{control}"));
    // The URL is known once a dial is booked.
    let booked = |status: &Status| first_connection(status, "neighbour").is_some_and(|it| !it.url.is_empty());
    running.until("the neighbour wants to dial", booked).await;
    running.state("control", "a", State::Fresh).await;
    assert_eq!((server.requests(), other.connects()), (1, 1));
    running.stop().await;
    server.shutdown().await;
    other.shutdown().await;
}

fn first_connection(status: &Status, provider: &str) -> Option<feedgate::status::ConnectionInfo> {
    status.provider(provider).info().connections.get(&0).cloned()
}

/// Packs a body as its content coding says.
fn packed(coding: &str, content: &[u8]) -> Vec<u8> {
    match coding {
        "gzip" => {
            let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
            packed.write_all(content).and_then(|()| packed.finish()).expect("a Vec takes all")
        }
        "br" => {
            let mut packed = brotli::CompressorWriter::new(Vec::new(), 4096, 5, 22);
            packed.write_all(content).expect("a Vec takes all");
            packed.into_inner()
        }
        "zstd" => zstd::encode_all(content, 3).expect("a Vec takes all"),
        _ => panic!("{coding}"),
    }
}

/// The cap is on what comes out, not on what goes in.
#[tokio::test(flavor = "multi_thread")]
async fn packed_bodies_are_unpacked_up_to_the_cap() {
    const CODINGS: [&str; 3] = ["gzip", "br", "zstd"];
    let offers: Arc<Mutex<String>> = Arc::default();
    let (mut config, mut servers) = (String::new(), Vec::new());
    for coding in CODINGS {
        let (small, bomb) = (packed(coding, b"0 1.50\n1 2.50"), packed(coding, &vec![b'0'; 64 << 20]));
        assert!(bomb.len() < 100 << 10, "{coding}: {}", bomb.len());
        let offered = offers.clone();
        let server = server(move |request| {
            *offered.lock().expect("no panic") = request.header("accept-encoding").unwrap_or_default().to_owned();
            let body = if request.path() == "/bomb" { bomb.clone() } else { small.clone() };
            Reply::Send(plain(body).with_header("content-encoding", coding))
        })
        .await;
        let bomb = r#"url = "https://guest.example.com/bomb""#;
        config += &guest(&format!("small-{coding}"), "", "", &redirect(&server));
        config += &guest(&format!("bomb-{coding}"), bomb, ", max_body_kib = 1024", &redirect(&server));
        servers.push(server);
    }
    let running = Running::start(&config, &["guest"]).await;
    for coding in CODINGS {
        running.value(&format!("small-{coding}"), "b", "2.50").await;
        let says = |reading: &feedgate::store::Reading| reading.reason.contains("longer than 1024 KiB");
        running.reading(&format!("bomb-{coding}"), "a", "too long", says).await;
        let offered = offers.lock().expect("no panic").clone();
        assert!(offered.contains(coding), "{coding} is not in {offered:?}");
    }
    running.stop().await;
    for server in servers {
        server.shutdown().await;
    }
}

/// One connection serves poll after poll.
#[tokio::test(flavor = "multi_thread")]
async fn connections_are_used_again() {
    let server = server(|_| Reply::Send(plain("0 1.50\n1 2.50"))).await;
    let running = Running::start(&guest("p", "", "", &redirect(&server)), &["guest"]).await;
    server.requested(10).await;
    assert_eq!(server.connections(), 1);
    running.stop().await;
    server.shutdown().await;
}

/// The first request of each pair hangs; the copy is answered long before it would time out.
#[tokio::test(flavor = "multi_thread")]
async fn a_slow_request_is_sent_a_second_time_where_the_operator_wants_it() {
    let count = std::sync::atomic::AtomicU64::new(0);
    let server = server(move |_| {
        let nth = count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        if nth.is_multiple_of(2) { Reply::Hang } else { Reply::Send(plain("0 1.50\n1 2.50")) }
    })
    .await;
    let hedged = ", timeout_ms = 60000, hedge_after_ms = 20";
    let running = Running::start(&guest("p", "", hedged, &redirect(&server)), &["guest"]).await;
    running.value("p", "a", "1.50").await;
    running.until("more polls", |_| counted(&running, "p", "hedged") >= 3).await;
    running.stop().await;
    server.shutdown().await;
}
