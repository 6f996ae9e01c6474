//! Several places that serve the same, venues that refuse us, and limits that hold whatever happens.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use feedgate::status::Trouble;
use feedgate::store::State;
use feedgate_tests::{Fault, Kind, Options, ScriptedWs};

use super::{connection, ids_line, redirected_section, section, venue};
use crate::support::Running;

/// The first place fails: the second serves, and the first is left alone while it rests.
#[tokio::test(flavor = "multi_thread")]
async fn a_failing_place_rests_and_its_mirror_serves() {
    for fault in [Fault::Refuse, Fault::Status { code: 451, retry_after: None }, Fault::CloseAfterAccept] {
        let (bad, good) =
            (venue(Kind::Kraken, Options::default()).await, venue(Kind::Kraken, Options::default()).await);
        bad.set_fault(fault.clone());
        let to = |venue: &feedgate_tests::Venue| {
            let mut origins = venue.origins().into_iter();
            origins.find(|(real, _)| real == "wss://ws.kraken.com").expect("it streams").1
        };
        let redirects = format!(
            "redirect_origins = {{ \"wss://ws.kraken.com\" = \"{}\", \"wss://mirror.kraken.com\" = \"{}\" }}\n\
             mirrors = {{ \"wss://ws.kraken.com\" = [\"wss://mirror.kraken.com\"] }}",
            to(&bad),
            to(&good)
        );
        let more = "websocket = { backoff_first_ms = 20, backoff_max_ms = 40 }";
        let daemon = Running::start(&redirected_section("p", "kraken", &redirects, more), &["kraken"]).await;
        daemon.state("p", "BTC/USD", State::Fresh).await;
        let url = connection(&daemon, "p").map(|connection| connection.url).unwrap_or_default();
        assert!(url.starts_with("wss://ws.kraken.com/v2 (at 127.0.0.1"), "{fault:?}: {url}");
        assert_eq!(bad.stats().accepts, 1, "{fault:?}");
        // It serves: nothing is held against the provider.
        assert_eq!(daemon.status().provider("p").info().trouble, None);
        // Lost after it gave data, it is the first choice again: the other one rests for half a minute.
        good.cut();
        daemon.until("it is back", |_| good.stats().connects == 2).await;
        assert_eq!(bad.stats().accepts, 1, "{fault:?}");
        daemon.stop().await;
    }
}

/// The mirrors that the plugin describes, in its order, without a word of the operator. Whoever sends an origin elsewhere
/// does not find himself at its mirrors in the open.
#[tokio::test(flavor = "multi_thread")]
async fn described_mirrors_serve_unless_their_origin_was_sent_elsewhere() {
    let rows = [
        ("ws", "websocket", "wss://stream.binance.com:9443", "wss://stream.binance.com"),
        ("http", "http", "https://api.binance.com", "https://api-gcp.binance.com"),
    ];
    let mut config = String::new();
    let mut venues = Vec::new();
    for (name, transport, origin, mirror) in rows {
        let (bad, good) =
            (venue(Kind::Binance, Options::default()).await, venue(Kind::Binance, Options::default()).await);
        bad.set_fault(Fault::Refuse);
        let to = |venue: &feedgate_tests::Venue| {
            venue.origins().into_iter().find(|(real, _)| real == origin).expect("it is its first").1
        };
        let more = format!(
            "transports = [\"{transport}\"]\nwebsocket = {{ backoff_first_ms = 20, backoff_max_ms = 40 }}\n\
             http = {{ poll_interval_ms = 100, backoff_first_ms = 20, backoff_max_ms = 40 }}"
        );
        let redirects =
            format!("redirect_origins = {{ \"{origin}\" = \"{}\", \"{mirror}\" = \"{}\" }}", to(&bad), to(&good));
        config += &redirected_section(name, "binance", &redirects, &more);
        let redirects = format!("redirect_origins = {{ \"{origin}\" = \"{}\" }}", to(&bad));
        config += &redirected_section(&format!("{name}-alone"), "binance", &redirects, &more);
        venues.push((name, bad, good));
    }
    let daemon = Running::start(&config, &["binance"]).await;
    for (name, bad, good) in &venues {
        daemon.state(name, "BTCUSDT", State::Fresh).await;
        daemon.until("the bad one is tried again and again", |_| bad.stats().accepts >= 4).await;
        let alone = format!("{name}-alone");
        let reading = daemon.read(&alone, "BTCUSDT").expect("it is asked for");
        assert!(reading.held.is_none(), "{alone}: {reading:?}");
        assert!(good.stats().accepts > 0, "{name}");
    }
    daemon.stop().await;
}

/// Mirrors count against the same limits: who was too quick at one place does not go on at another.
#[tokio::test(flavor = "multi_thread")]
async fn retry_after_holds_for_the_mirrors_too() {
    let venue = venue(Kind::Binance, Options::default()).await;
    venue.set_fault(Fault::too_many_requests("1"));
    let more = "websocket = { backoff_first_ms = 20, backoff_max_ms = 40 }";
    let daemon = Running::start(&section("p", &venue, more), &["binance"]).await;
    daemon.until("it was told", |_| connection(&daemon, "p").is_some_and(|c| c.failures == 1)).await;
    let told = Instant::now();
    venue.set_fault(Fault::None);
    daemon.state("p", "BTCUSDT", State::Fresh).await;
    assert!(told.elapsed() >= Duration::from_millis(800), "came back after {:?}", told.elapsed());
    assert_eq!(venue.stats().accepts, 2);
    daemon.stop().await;
}

/// A venue that does not want us is not asked every second; everybody can see what it is.
#[tokio::test(flavor = "multi_thread")]
async fn a_venue_that_refuses_us_is_left_alone_and_says_so_everywhere() {
    let rows = [
        (451, Trouble::GeoBlocked, true),
        (401, Trouble::Forbidden, true),
        (403, Trouble::Forbidden, true),
        (418, Trouble::Banned, true),
        (429, Trouble::RateLimited, false),
        (503, Trouble::Maintenance, false),
    ];
    let mut config = String::new();
    let mut venues = Vec::new();
    for (code, trouble, waits) in rows {
        let venue = venue(Kind::Kraken, Options::default()).await;
        venue.set_fault(Fault::Status { code, retry_after: None });
        config += &section(&format!("p{code}"), &venue, "websocket = { backoff_first_ms = 20, backoff_max_ms = 40 }");
        venues.push((code, trouble, waits, venue));
    }
    let daemon = Running::start(&config, &["kraken"]).await;
    for (code, trouble, waits, venue) in &venues {
        let name = format!("p{code}");
        let found = || daemon.status().provider(&name).info().trouble;
        daemon.until("the trouble is seen", |_| found().is_some_and(|(found, ..)| found == *trouble)).await;
        let (_, _, words) = found().expect("just seen");
        assert!(words.contains(&format!("status {code}")), "{words}");
        let metric = format!("feedgate_trouble{{provider=\"{name}\",trouble=\"{}\"}} 1", trouble.as_str());
        assert!(daemon.metrics().contains(&metric), "{metric}");
        if *waits {
            let next = connection(&daemon, &name).and_then(|connection| connection.next_attempt).expect("it waits");
            assert!(next > tokio::time::Instant::now() + Duration::from_secs(200), "{name}");
            assert_eq!(venue.stats().accepts, 1, "{name}");
        } else {
            daemon.until("it tries again", |_| venue.stats().accepts >= 3).await;
            venue.set_fault(Fault::None);
            daemon.state(&name, "BTC/USD", State::Fresh).await;
            assert_eq!(found(), None, "{name}");
        }
    }
    daemon.stop().await;
}

/// A storm: two hundred connections of two providers to one origin, cut at once. The venue never sees more than
/// the operator allows in any second.
#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_connections_that_are_cut_at_once_come_back_within_the_limit() {
    const EACH: usize = 100;
    const ALLOWED: usize = 25;
    let dials = Arc::new(Mutex::new(Vec::<Instant>::new()));
    let cut = tokio::sync::watch::Sender::new(0);
    let server = {
        let (dials, cut) = (dials.clone(), cut.clone());
        let script = move |mut peer: feedgate_tests::Peer| {
            dials.lock().expect("nobody panicked").push(Instant::now());
            let mut cut = cut.subscribe();
            async move {
                tokio::select! {
                    () = peer.gone() => return,
                    _ = cut.changed() => {}
                }
                peer.reset();
            }
        };
        ScriptedWs::start(script).await.expect("a free port")
    };
    let ids: Vec<String> = (0..EACH).map(|number| format!("ID{number}_USDT")).collect();
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    let more = format!(
        "{}limits = [{{ what = \"connect\", count = {ALLOWED}, per_ms = 1000, scope = \"origin\" }}]\n\
         websocket = {{ ids_per_connection = 1, backoff_first_ms = 20, backoff_max_ms = 200 }}",
        ids_line(&ids)
    );
    let redirects = format!("redirect_origins = {{ \"wss://api.gateio.ws\" = \"{}\" }}", server.origin());
    let config = ["p", "q"].map(|name| redirected_section(name, "gate", &redirects, &more)).concat();
    let daemon = Running::start(&config, &["gate"]).await;
    let open = |daemon: &Running| {
        let infos = ["p", "q"].map(|name| daemon.status().provider(name).info());
        infos.iter().flat_map(|info| info.connections.values()).filter(|c| c.phase == "open").count()
    };
    for round in 1..=2 {
        server.connected(round * 2 * EACH as u64).await;
        daemon.until("all are open", |_| open(&daemon) == 2 * EACH).await;
        cut.send_modify(|count| *count += 1);
    }
    daemon.stop().await;
    let mut dials = dials.lock().expect("nobody panicked").clone();
    dials.sort();
    // Over five windows: what a busy machine adds to one of them is not ours to promise.
    let most = 5 * ALLOWED;
    let quickest = dials.windows(most + 1).map(|few| few[most] - few[0]).min().expect("there were more");
    assert!(quickest >= Duration::from_secs(4), "{} connections within {quickest:?}", most + 1);
    server.shutdown().await;
}
