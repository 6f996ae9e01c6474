//! Polling: every id of a poll gets an outcome, whatever comes back.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use feedgate::status::Status;
use feedgate::store::State;
use feedgate_tests::{Fault, Kind, Options, Reply, Response, ScriptedHttp};

use super::{Feed, POLL, feed, ids_line, scripted, section, venue};
use crate::support::Running;

const BINANCE: &str = "https://api.binance.com";

/// Name, fault, what ids then say.
fn faults() -> Vec<(&'static str, Fault, &'static [&'static str])> {
    let status = |code| Fault::Status { code, retry_after: None };
    vec![
        ("html", Fault::Html, &["malformed payload"]),
        ("empty", Fault::EmptyBody, &["malformed payload"]),
        ("garbage", Fault::Garbage, &["malformed payload"]),
        ("error", Fault::ErrorInside200, &["EService:Unavailable", "Service unavailable"]),
        ("huge", Fault::HugeBody(200_000), &["longer than 64 KiB (knob: http.max_body_kib)"]),
        ("loop", Fault::RedirectLoop, &["redirected more than 5 times"]),
        ("elsewhere", Fault::RedirectTo("http://127.0.0.1:9/x".to_owned()), &["http://127.0.0.1:9 is not granted"]),
        ("file", Fault::RedirectTo("file:///etc/passwd".to_owned()), &["scheme \"file\""]),
        ("busy", status(429), &["the venue answered 429"]),
        ("down", status(503), &["the venue answered 503"]),
        ("restricted", status(451), &["status 451"]),
        ("told", Fault::too_many_requests("1"), &["asks to wait 1 s"]),
        ("slow", Fault::SlowBody, &["no answer within 300 ms"]),
        ("hang", Fault::Hang, &["no answer within 300 ms"]),
        ("cut", Fault::TruncatedBody, &["transfer failed"]),
        ("refuse", Fault::Refuse, &["cannot connect", "transfer failed"]),
        ("reset", Fault::Reset, &["cannot connect", "transfer failed"]),
        ("close", Fault::CloseAfterAccept, &["transfer failed"]),
    ]
}

/// Each row's provider is fresh, then ill, then fresh again. All rows at once.
async fn ill_and_well(feed: Feed, only: impl Fn(&str) -> bool) {
    let interval = if feed.kind == Kind::Binance { 100 } else { 700 };
    let more = format!(
        "transports = [\"http\"]\nmax_age_ms = 800\nrefused_wait_ms = 100\nhttp = {{ poll_interval_ms = {interval}, timeout_ms = 300, \
         max_body_kib = 64, backoff_first_ms = 50, backoff_max_ms = 200 }}"
    );
    let mut config = String::new();
    let mut rows = Vec::new();
    for row in faults().into_iter().filter(|row| only(row.0)) {
        let venue = venue(feed.kind, Options::default()).await;
        config += &section(row.0, &venue, &more);
        rows.push((row, venue));
    }
    let daemon = Running::start(&config, &[feed.kind.name()]).await;
    for ((name, ..), _) in &rows {
        for id in feed.ids {
            daemon.state(name, id, State::Fresh).await;
        }
    }
    for ((_, fault, _), venue) in &rows {
        venue.set_fault(fault.clone());
        // Not on a connection from better days.
        venue.cut();
    }
    for ((name, _, words), _) in &rows {
        for id in feed.ids {
            let says = |reading: &feedgate::store::Reading| {
                reading.state == State::ProviderDown && words.iter().any(|word| reading.reason.contains(word))
            };
            daemon.reading(name, id, &format!("{words:?}"), says).await;
        }
        let poller = daemon.status().provider(name).info().poller.expect("it polls");
        assert!(poller.failures > 0 && !poller.last_error.is_empty(), "{name}: {poller:?}");
    }
    for (_, venue) in &rows {
        venue.set_fault(Fault::None);
    }
    for ((name, ..), _) in &rows {
        for id in feed.ids {
            daemon.state(name, id, State::Fresh).await;
        }
    }
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_fault_is_named_and_survived_by_binance() {
    ill_and_well(feed("binance-http"), |_| true).await;
}

/// Bitstamp, CoinGecko and Kraken put errors into a 200. Their request limits hold for all rows together.
#[tokio::test(flavor = "multi_thread")]
async fn an_error_inside_a_200_is_an_error() {
    ill_and_well(feed("bitstamp-http"), |name| matches!(name, "error" | "html")).await;
    ill_and_well(feed("kraken-http"), |name| name == "error").await;
    ill_and_well(feed("coingecko-http"), |name| matches!(name, "error" | "html")).await;
}

/// umee #509. No request before the time is over.
#[tokio::test(flavor = "multi_thread")]
async fn retry_after_is_obeyed() {
    // Dates have whole seconds, so this one is at most two seconds ahead and at least one.
    let soon = || {
        let time = time::OffsetDateTime::from(std::time::SystemTime::now() + Duration::from_secs(2));
        let (day, month) = (time.weekday().to_string(), time.month().to_string());
        format!(
            "{}, {:02} {} {} {:02}:{:02}:{:02} GMT",
            &day[..3],
            time.day(),
            &month[..3],
            time.year(),
            time.hour(),
            time.minute(),
            time.second()
        )
    };
    let mut config = String::new();
    let mut rows = Vec::new();
    for (name, code, after) in [("seconds", 429, Some("1")), ("down", 503, Some("1")), ("date", 429, None)] {
        let venue = venue(Kind::Binance, Options::default()).await;
        config += &section(name, &venue, POLL);
        rows.push((name, code, after, venue));
    }
    let daemon = Running::start(&config, &["binance"]).await;
    for (name, code, after, venue) in rows {
        daemon.state(name, "BTCUSDT", State::Fresh).await;
        let after = after.map_or_else(soon, str::to_owned);
        venue.set_fault(Fault::Status { code, retry_after: Some(after.clone()) });
        let told = |status: &Status| status.provider(name).info().poller.is_some_and(|poller| poller.failures == 1);
        daemon.until("it was told", told).await;
        let (told, requests) = (Instant::now(), venue.stats().requests);
        venue.set_fault(Fault::None);
        venue.push_price("BTCUSDT", "1.50");
        daemon.value(name, "BTCUSDT", "1.50").await;
        assert!(told.elapsed() >= Duration::from_millis(800), "{name}: after {:?}", told.elapsed());
        // One more may be on its way after the one that brought the value.
        assert!(venue.stats().requests <= requests + 2, "{name}");
    }
    daemon.stop().await;
}

/// An hour between two polls is no hour without a value.
#[tokio::test(flavor = "multi_thread")]
async fn the_first_poll_does_not_wait_for_its_tick() {
    let venue = venue(Kind::Binance, Options::still()).await;
    let more = "transports = [\"http\"]\nhttp = { poll_interval_ms = 3600000 }";
    let daemon = Running::start(&section("hourly", &venue, more), &["binance"]).await;
    daemon.state("hourly", "BTCUSDT", State::Fresh).await;
    assert_eq!(venue.stats().requests, 1);
    daemon.stop().await;
}

/// A redirect within what is granted is followed.
#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_to_a_granted_origin_is_followed() {
    let server = ScriptedHttp::start(|request| {
        Reply::Send(match request.path() {
            "/moved" => Response::json(200, r#"[{"symbol":"BTCUSDT","price":"65114.20"}]"#),
            _ => Response::redirect("/moved"),
        })
    });
    let server = server.await.expect("loopback has a free port");
    let more = format!("ids = [\"BTCUSDT\"]\n{POLL}");
    let daemon = Running::start(&scripted("moved", "binance", BINANCE, &server.origin(), &more), &["binance"]).await;
    daemon.value("moved", "BTCUSDT", "65114.20").await;
    daemon.stop().await;
    server.shutdown().await;
}

/// Four hundred ids are four requests; no more than two at once, and every id has its outcome.
#[tokio::test(flavor = "multi_thread")]
async fn no_more_requests_at_once_than_allowed() {
    let seen: Arc<Mutex<Vec<Instant>>> = Arc::default();
    let times = seen.clone();
    let server = ScriptedHttp::start(move |_| {
        times.lock().expect("no panic").push(Instant::now());
        Reply::Hang
    });
    let server = server.await.expect("loopback has a free port");
    let ids: Vec<String> = (0..400).map(|number| format!("COIN{number}USDT")).collect();
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    let more = format!(
        "{}transports = [\"http\"]\nhttp = {{ poll_interval_ms = 50, timeout_ms = 400, max_in_flight = 2 }}",
        ids_line(&ids)
    );
    let daemon = Running::start(&scripted("many", "binance", BINANCE, &server.origin(), &more), &["binance"]).await;
    for id in ids {
        let reading = daemon.state("many", id, State::ProviderDown).await;
        assert!(reading.reason.contains("no answer within 400 ms"), "{id}: {}", reading.reason);
    }
    let seen = seen.lock().expect("no panic").clone();
    assert!(seen.len() >= 4, "{} requests", seen.len());
    for (first, third) in seen.iter().zip(&seen[2..]) {
        assert!(third.duration_since(*first) > Duration::from_millis(200), "three at once");
    }
    daemon.stop().await;
    server.shutdown().await;
}

/// Ids that an answer says nothing about have an outcome too; so have those of a batch beside one that failed.
#[tokio::test(flavor = "multi_thread")]
async fn every_id_of_a_poll_has_an_outcome() {
    // Two batches: the one with COIN0USDT is answered, but for its second id; the other one is not to be read.
    let server = ScriptedHttp::start(|request| {
        let symbols = request.parameter("symbols").unwrap_or_default();
        Reply::Send(if symbols.contains("\"COIN0USDT\"") {
            Response::json(200, r#"[{"symbol":"COIN0USDT","price":"1.50"},{"symbol":"STRANGE","price":"1"}]"#)
        } else {
            Response::html(200)
        })
    });
    let server = server.await.expect("loopback has a free port");
    let ids: Vec<String> = (0..200).map(|number| format!("COIN{number}USDT")).collect();
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    let more = format!("{}{POLL}", ids_line(&ids));
    let daemon = Running::start(&scripted("gaps", "binance", BINANCE, &server.origin(), &more), &["binance"]).await;
    daemon.value("gaps", "COIN0USDT", "1.50").await;
    let mut reasons = std::collections::BTreeMap::new();
    for id in &ids[1..] {
        let reading = daemon.state("gaps", id, State::Unresolved).await;
        *reasons.entry(reading.reason.contains("left out of the answer")).or_insert(0) += 1;
        assert!(reading.reason.contains("left out") || reading.reason.contains("malformed payload"), "{reading:?}");
    }
    assert_eq!(reasons.len(), 2, "both batches: {reasons:?}");
    daemon.stop().await;
    server.shutdown().await;
}

/// Connect 718179f6: a stuck node gave old blocks, "fresh". The venue's own time decides.
#[tokio::test(flavor = "multi_thread")]
async fn an_old_answer_is_stale_however_often_it_comes() {
    let hour_ago = feedgate::store::wall_clock().0 / 1_000_000_000 - 3600;
    let body = format!(r#"{{"bitcoin":{{"usd":67248,"last_updated_at":{hour_ago}}}}}"#);
    let server = ScriptedHttp::start(move |_| Reply::Send(Response::json(200, body.clone())));
    let server = server.await.expect("loopback has a free port");
    let more = "ids = [\"bitcoin\"]\nhttp = { poll_interval_ms = 200 }";
    let section = scripted("stuck", "coingecko", "https://api.coingecko.com", &server.origin(), more);
    let daemon = Running::start(&section, &["coingecko"]).await;
    server.requested(3).await;
    let reading = daemon.state("stuck", "bitcoin", State::Stale).await;
    assert!(reading.reason.contains("last known to be true 36"), "{}", reading.reason);
    daemon.stop().await;
    server.shutdown().await;
}
