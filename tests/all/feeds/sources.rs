//! Plugins that are their own source: values without a venue, and without a network.

use std::cell::RefCell;
use std::collections::BTreeSet;

use feedgate::contract::observation::ValueKind;
use feedgate::store::State;

use crate::support::{Running, shown};

/// Often, so that the tests are quick.
const OFTEN: &str = "loosen_limits = true\nhttp = { poll_interval_ms = 100 }\n";

/// Every digit as it is written; a setting that changes is followed at once, and an id without a price says what to do.
#[tokio::test(flavor = "multi_thread")]
async fn static_prices_are_those_of_the_settings_whatever_they_become() {
    let config = |prices: &str| {
        format!(
            "[provider.static]\n{OFTEN}ids = [\"BTC/USD\", \"X\", \"NOPE\"]\nsettings = {{ prices = {{ {prices} }} }}\n"
        )
    };
    let running = Running::start(&config("X = \"0.000000000000000000000012\""), &["static"]).await;
    running.value("static", "BTC/USD", "65000.10").await;
    running.value("static", "X", "0.000000000000000000000012").await;
    let nope = running.state("static", "NOPE", State::Rejected).await;
    assert!(nope.reason.contains("price"), "{}", nope.reason);
    assert_eq!(running.status().provider("static").info().kind, Some(ValueKind::Other));

    running.write_config(&config("X = \"-7.50\", NOPE = \"0\", \"BTC/USD\" = \"1.0\""));
    for (id, price) in [("BTC/USD", "1.0"), ("X", "-7.50"), ("NOPE", "0")] {
        running.value("static", id, price).await;
        running.state("static", id, State::Fresh).await;
    }
    // What is no price is refused by its field, and what was there goes on.
    running.write_config(&config("X = \"cheap\""));
    let refused = "a change was refused: settings refused at `prices.X`: not a decimal number: \"cheap\"";
    running.until("it is refused", |status| status.provider("static").info().reason == refused).await;
    running.value("static", "X", "-7.50").await;
    running.state("static", "X", State::Fresh).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn volatile_prices_move_within_their_bounds_and_each_id_by_itself() {
    let settings = "settings = { base = \"50.000\", amplitude = \"0.5\", period_ms = 3000 }\n";
    let running = Running::start(&format!("[provider.volatile]\n{OFTEN}{settings}"), &["volatile"]).await;
    let seen = RefCell::new([BTreeSet::new(), BTreeSet::new()]);
    let ids = ["BTC/USD", "ETH/USD"];
    running
        .until("eight values of each", |_| {
            let mut seen = seen.borrow_mut();
            for (id, seen) in ids.iter().zip(seen.iter_mut()) {
                seen.extend(running.read("volatile", id).as_ref().and_then(shown));
            }
            seen.iter().all(|seen| seen.len() >= 8)
        })
        .await;
    let seen = seen.into_inner();
    for (id, seen) in ids.iter().zip(&seen) {
        let prices: Vec<f64> = seen.iter().map(|price| price.parse().expect("a number")).collect();
        assert!(prices.iter().all(|price| (49.5..=50.5).contains(price)), "{id}: {seen:?}");
        assert!(seen.iter().all(|price| price.split_once('.').is_some_and(|(_, places)| places.len() == 3)), "{id}");
        running.state("volatile", id, State::Fresh).await;
    }
    assert_ne!(seen[0], seen[1], "each id has a phase of its own");
    running.stop().await;
}
