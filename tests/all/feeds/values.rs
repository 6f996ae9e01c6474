//! What a venue says is what a reader reads.

use feedgate::contract::observation::ValueKind;
use feedgate::store::State;
use feedgate_tests::{Kind, Options, Venue};

use super::{FEEDS, Feed, STREAM, plugins, section, venue};
use crate::support::Running;

/// Odd on purpose: zeros at the end, nothing before the point, more digits than a float or 64 bits hold, and what was
/// once served as 1.
const PRICES: [&str; 4] = ["65114.20", "0.00000012", "12345678901234567890", "0.10"];

#[tokio::test(flavor = "multi_thread")]
async fn every_value_of_every_venue_arrives_character_for_character_and_zero_is_none() {
    let mut config = String::new();
    let (mut rows, mut zeros) = (Vec::new(), Vec::new());
    for feed in FEEDS {
        let venue = venue(feed.kind, Options::default()).await;
        config += &section(feed.name, &venue, feed.more);
        let (zero, still) = zero(*feed).await;
        config += &section(&zero, &still, feed.more);
        rows.push((feed, venue));
        zeros.push((feed, zero, still));
    }
    let daemon = Running::start(&config, &plugins()).await;
    for (feed, _) in &rows {
        for id in feed.ids {
            daemon.state(feed.name, id, State::Fresh).await;
        }
    }
    for price in PRICES {
        let pushed = feedgate::store::wall_clock();
        for (feed, venue) in &rows {
            venue.push_price(feed.ids[0], price);
        }
        for (feed, _) in &rows {
            let reading = daemon.value(feed.name, feed.ids[0], price).await;
            assert_eq!(&*reading.reason, "", "{}", feed.name);
            let held = reading.held.expect("it has a value");
            assert_eq!(held.observed_at.is_some(), feed.timed, "{}", feed.name);
            if let Some(time) = held.observed_at {
                let apart = pushed.since(time).max(time.since(pushed));
                assert!(apart < 10_000_000_000, "{}: {} ns from its push", feed.name, apart);
            }
            assert_eq!(daemon.status().provider(feed.name).info().kind, Some(feed.value), "{}", feed.name);
        }
    }
    for (feed, venue) in rows {
        assert_eq!(venue.stats().violations, [""; 0], "{}", feed.name);
    }
    for (feed, name, venue) in zeros {
        // Both: not every venue sends a snapshot.
        let asked = |stats: feedgate_tests::Stats| {
            stats.requests > 0 || feed.ids.iter().all(|id| stats.subscribed.contains_key(*id))
        };
        daemon.until("its ids are asked for", |_| asked(venue.stats())).await;
        venue.push_price(feed.ids[0], "0.00");
        venue.push_price(feed.ids[1], "2.5");
        daemon.value(&name, feed.ids[1], "2.5").await;
        let reading = daemon.read(&name, feed.ids[0]).expect("it is asked for");
        assert!(reading.held.is_none(), "{name}: {reading:?}");
        assert_ne!(&*reading.reason, "", "{name}");
    }
    daemon.stop().await;
}

/// An empty side of a book, a product that never traded: no price is not a price of nothing.
async fn zero(feed: Feed) -> (String, Venue) {
    let options = Options::still().with_prices([(feed.ids[0], "0"), (feed.ids[1], "1.5")]);
    (format!("{}-zero", feed.name), venue(feed.kind, options).await)
}

/// Between a bid and an ask one unit on either side lies the price itself; an uneven sum needs one digit more.
#[tokio::test(flavor = "multi_thread")]
async fn a_mid_is_exact_and_says_that_it_is_one() {
    let venue = venue(Kind::Binance, Options::default()).await;
    let more = format!("settings = {{ price = \"mid\" }}\n{STREAM}");
    let daemon = Running::start(&section("mid", &venue, &more), &["binance"]).await;
    daemon.state("mid", "BTCUSDT", State::Fresh).await;
    for price in PRICES {
        venue.push_price("BTCUSDT", price);
        daemon.value("mid", "BTCUSDT", price).await;
    }
    let frame = |update: u64, bid: &str, ask: &str| {
        format!(
            r#"{{"stream":"ethusdt@bookTicker","data":{{"u":{update},"s":"ETHUSDT","b":"{bid}","B":"1","a":"{ask}","A":"1"}}}}"#
        )
    };
    // Later than any number of the venue's own.
    venue.send_raw(frame(u64::MAX / 2, "0.3521", "0.3526"));
    daemon.value("mid", "ETHUSDT", "0.35235").await;
    assert_eq!(daemon.status().provider("mid").info().kind, Some(ValueKind::Mid));
    daemon.stop().await;
}

/// Another channel, another message: the latest of several trades, and its own time.
#[tokio::test(flavor = "multi_thread")]
async fn deals_are_read_as_well_as_tickers() {
    let venue = venue(Kind::Mexc, Options::default()).await;
    let more = format!("settings = {{ source = \"deals\" }}\n{STREAM}");
    let daemon = Running::start(&section("deals", &venue, &more), &["mexc"]).await;
    daemon.state("deals", "BTCUSDT", State::Fresh).await;
    for price in PRICES {
        venue.push_price("BTCUSDT", price);
        daemon.value("deals", "BTCUSDT", price).await;
    }
    assert_eq!(daemon.status().provider("deals").info().kind, Some(ValueKind::LastTrade));
    assert_eq!(venue.stats().violations, [""; 0]);
    daemon.stop().await;
}
