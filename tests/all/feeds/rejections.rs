//! Ids that a venue does not know: they cost themselves and nobody else.

use std::time::Instant;

use feedgate::store::State;
use feedgate_tests::{Fault, Kind, Options};

use super::{EMPTY_LIST, FEEDS, STREAM, connection, feed, ids_line, mentions, plugins, section, venue};
use crate::support::Running;

/// Connect #390: one bad market of a batch took all markets of its provider. Here it stands between good ones.
#[tokio::test(flavor = "multi_thread")]
async fn a_bad_symbol_does_not_poison_its_batch_and_is_not_asked_for_for_ever() {
    let mut config = String::new();
    let mut rows = Vec::new();
    let rejected = FEEDS.iter().flat_map(|feed| feed.bad.iter().map(move |(bad, words)| (feed, *bad, *words)));
    for (number, (feed, bad, words)) in rejected.enumerate() {
        let venue = venue(feed.kind, Options::default()).await;
        let provider = format!("{}-{number}", feed.name);
        let ids = ids_line(&[feed.ids[0], bad, feed.ids[1]]);
        config += &section(&provider, &venue, &format!("{ids}{}", feed.more));
        rows.push((provider, feed, bad, words, venue));
    }
    let mut closed = Vec::new();
    for feed in FEEDS {
        let (provider, venue) = (format!("{}-closed", feed.name), venue(feed.kind, Options::default()).await);
        venue.set_fault(Fault::RejectAll);
        config += &section(&provider, &venue, feed.more);
        closed.push((provider, feed, venue));
    }
    let started = Instant::now();
    let daemon = Running::start(&config, &plugins()).await;
    for (provider, feed, bad, words, _) in &rows {
        let reading = daemon.state(provider, bad, State::Rejected).await;
        assert!(reading.reason.contains(words), "{provider} {bad}: {:?}", reading.reason);
        for id in feed.ids {
            daemon.state(provider, id, State::Fresh).await;
        }
    }
    for (provider, feed, bad, _, venue) in &rows {
        let before = (mentions(venue, bad), venue.stats());
        if feed.name.ends_with("-ws") {
            // A new connection asks for the others again, and not for this one.
            venue.cut();
            daemon
                .until("the others are asked for again", |_| {
                    let stats = venue.stats();
                    stats.connects > before.1.connects && feed.ids.iter().all(|id| stats.subscribed.contains_key(*id))
                })
                .await;
        } else {
            daemon.until("two more polls", |_| venue.stats().requests >= before.1.requests + 2).await;
            let last = venue.stats().last_request.expect("there were requests");
            assert!(!last.target.contains(bad), "{provider}: {}", last.target);
        }
        assert_eq!(mentions(venue, bad), before.0, "{provider} asked for {bad} again");
        assert_eq!(daemon.read(provider, bad).map(|reading| reading.state), Some(State::Rejected), "{provider}");
        assert_eq!(venue.stats().violations, [""; 0], "{provider}");
    }
    // Where everything is refused, every id says so, and nobody dials in a loop.
    for (provider, feed, venue) in closed {
        for id in feed.ids {
            let state = if feed.refusal == EMPTY_LIST { State::Unresolved } else { State::Rejected };
            let reading = daemon.state(&provider, id, state).await;
            assert!(reading.reason.contains(feed.refusal), "{provider}: {:?}", reading.reason);
        }
        // Coinbase closes a connection without a subscription after five seconds.
        let most = 2 + started.elapsed().as_secs() / 5;
        assert!(venue.stats().connects <= most, "{provider}");
    }
    daemon.stop().await;
}

/// Two bad ones among many: halving finds both while everybody else has values, and each poll then is one request.
#[tokio::test(flavor = "multi_thread")]
async fn halving_a_batch_finds_every_bad_symbol() {
    let good: Vec<String> = (0..30).map(|number| format!("GOOD{number}USDT")).collect();
    let listed = good.iter().map(|id| (id.as_str(), "1.50"));
    let venue = venue(Kind::Binance, Options::still().with_prices(listed)).await;
    let mut ids: Vec<&str> = good.iter().map(String::as_str).collect();
    ids.insert(7, "BADAUSDT");
    ids.insert(22, "BADBUSDT");
    let more = format!("{}{}", ids_line(&ids), feed("binance-http").more);
    let daemon = Running::start(&section("halves", &venue, &more), &["binance"]).await;
    for id in ids {
        let state = if id.starts_with("BAD") { State::Rejected } else { State::Fresh };
        daemon.state("halves", id, state).await;
    }
    let polls = |daemon: &Running| daemon.status().provider("halves").info().poller.map_or(0, |poller| poller.polls);
    let settled = (polls(&daemon), venue.stats().requests);
    daemon.until("a few more polls", |_| polls(&daemon) >= settled.0 + 4).await;
    let (more_polls, more_requests) = (polls(&daemon) - settled.0, venue.stats().requests - settled.1);
    assert!(more_requests <= more_polls + 1, "{more_requests} requests in {more_polls} polls");
    daemon.stop().await;
}

/// Binance acknowledges a symbol that does not exist, Coinbase leaves it out: it waits, says why, and is asked for
/// three times at most.
#[tokio::test(flavor = "multi_thread")]
async fn an_id_that_is_never_fed_says_so_and_is_not_asked_for_in_a_loop() {
    for (name, bad, words, asks) in
        [("binance-ws", "NOPEUSDT", "subscribed, no value yet", 1), ("coinbase-ws", "NOPE-USD", "asked for again", 3)]
    {
        let feed = feed(name);
        let venue = venue(feed.kind, Options::default()).await;
        let more = feed.more.replace("backoff_first_ms", "ack_timeout_ms = 50, backoff_first_ms");
        let ids = ids_line(&[feed.ids[0], bad, feed.ids[1]]);
        let daemon = Running::start(&section(name, &venue, &format!("{ids}{more}")), &[feed.kind.name()]).await;
        for id in feed.ids {
            daemon.state(name, id, State::Fresh).await;
        }
        let says = |reading: &feedgate::store::Reading| reading.reason.contains(words);
        let reading = daemon.reading(name, bad, words, says).await;
        assert_eq!(reading.state, State::Waiting);
        daemon.until("it was asked for", |_| mentions(&venue, bad) == asks).await;
        // Far more than the third wait of an answer: 50, 100 and 200 ms.
        let sent = venue.stats().sent;
        daemon.until("many more messages", |_| venue.stats().sent >= sent + 10).await;
        assert_eq!(mentions(&venue, bad), asks, "{name}");
        assert_eq!(venue.stats().violations, [""; 0], "{name}");
        daemon.stop().await;
    }
}

/// A venue's bad day must not cost an id for ever: what was refused is asked for again when the operator changes the
/// configuration.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_rejected_is_asked_for_again_when_the_configuration_changes() {
    let venue = venue(Kind::Kraken, Options::default()).await;
    venue.set_fault(Fault::RejectAll);
    let config = section("kraken", &venue, STREAM);
    let daemon = Running::start(&config, &["kraken"]).await;
    daemon.state("kraken", "BTC/USD", State::Rejected).await;
    daemon.until("nothing is left to do", |_| connection(&daemon, "kraken").is_some_and(|c| c.phase == "idle")).await;
    venue.set_fault(Fault::None);
    daemon.write_config(&config.replace("idle_timeout_ms = 2000", "idle_timeout_ms = 2001"));
    daemon.state("kraken", "BTC/USD", State::Fresh).await;
    daemon.stop().await;
}
