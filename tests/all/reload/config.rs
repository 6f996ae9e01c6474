//! Configurations that change while the daemon runs: ids, ages, sections, files beside plugins.

use std::time::Duration;

use feedgate::status::ProviderState;
use feedgate::store::State;

use super::{APPLIED, counted, everything_was_seen, kraken, listed, section, until_state};
use crate::support::{Running, redirected, shown};

#[tokio::test]
async fn ids_and_ages_change_without_a_new_connection() {
    let venue = kraken().await;
    let config = |rest: &str| section("kraken", &venue, rest);
    let running = Running::start(&config("ids = [\"BTC/USD\", \"ETH/USD\"]"), &["kraken"]).await;
    running.value("kraken", "BTC/USD", "100.5").await;
    running.value("kraken", "ETH/USD", "20.25").await;

    running.write_config(&config(
        "ids = [\"BTC/USD\", \"SOL/USD\"]\nmax_age_ms = 7000\nmax_age_ms_by_id = { \"SOL/USD\" = 9000 }",
    ));
    running.value("kraken", "SOL/USD", "3.125").await;
    assert!(running.read("kraken", "ETH/USD").is_none());
    venue.wait(|stats| stats.subscribed.keys().eq(["BTC/USD", "SOL/USD"])).await;
    let max_age = |id: &str| running.read("kraken", id).expect("it is asked for").max_age;
    assert_eq!((max_age("BTC/USD"), max_age("SOL/USD")), (Duration::from_secs(7), Duration::from_secs(9)));

    running.write_config(&config("ids = [\"BTC/USD\", \"SOL/USD\"]\nmax_age_ms = 1"));
    let aged = running.state("kraken", "BTC/USD", State::Stale).await;
    assert!(aged.reason.contains("max_age"), "{}", aged.reason);
    running.write_config(&config("ids = [\"BTC/USD\"]"));
    let back = running.state("kraken", "BTC/USD", State::Fresh).await;
    assert_eq!((shown(&back).as_deref(), back.max_age), (Some("100.5"), Duration::from_secs(60)));
    assert_eq!((venue.stats().connects, venue.stats().open), (1, 1));
    assert_eq!(running.status().provider("kraken").info().reason, "");
    running.stop().await;
}

#[tokio::test]
async fn a_provider_is_disabled_and_removed() {
    let venue = kraken().await;
    let config = |rest: &str| section("kraken", &venue, rest);
    let running = Running::start(&config(""), &["kraken"]).await;
    running.value("kraken", "BTC/USD", "100.5").await;
    running.write_config(&config("enabled = false"));
    let reason = until_state(&running, "kraken", ProviderState::Disabled).await;
    assert!(reason.contains("disabled"), "{reason}");
    venue.wait(|stats| stats.open == 0).await;
    assert!(listed(&running, "kraken").expect("it is idle").providers.is_empty());
    assert!(running.not_ready().is_empty(), "nobody waits for what is disabled");

    running.write_config(&config(""));
    until_state(&running, "kraken", ProviderState::Running).await;
    venue.wait(|stats| stats.connects == 2 && stats.subscriptions == 2).await;

    running.write_config("");
    running.until("it is gone", |status| status.providers().is_empty()).await;
    assert!(running.read("kraken", "BTC/USD").is_none() && running.store().providers().is_empty());
    assert!(listed(&running, "kraken").is_some_and(|plugin| plugin.providers.is_empty()));
    venue.wait(|stats| stats.open == 0).await;
    running.stop().await;
}

#[tokio::test]
async fn an_invalid_configuration_is_refused_by_file_line_and_field() {
    let venue = kraken().await;
    let good = section("kraken", &venue, "ids = [\"BTC/USD\"]");
    let running = Running::start(&good, &["kraken"]).await;
    running.value("kraken", "BTC/USD", "100.5").await;
    let error = || running.status().config().error;
    let before = running.status().config().loaded_at;
    for (line, expected) in [
        ("max_age = 5", "feedgate.toml:4: provider.kraken.max_age: unknown field"),
        ("max_age_ms = \"5s\"", "feedgate.toml:4: provider.kraken.max_age_ms: invalid type"),
        ("max_age_ms = -1", "feedgate.toml:4: provider.kraken.max_age_ms: "),
        ("transports = [\"carrier\"]", "feedgate.toml:4: provider.kraken.transports: unknown variant"),
        ("allow_origins = [\"wss://x.com/path\"]", "feedgate.toml:4: provider.kraken.allow_origins: an origin is"),
        (
            "http = { poll_interval_ms = 0 }",
            "feedgate.toml:4: provider.kraken.http.poll_interval_ms: must be at least 1",
        ),
        ("max_age_ms_by_id = { NOPE = 1 }", "feedgate.toml:4: provider.kraken.max_age_ms_by_id: \"NOPE\" is not among"),
        ("ids = [\"A\"]", "feedgate.toml:4: provider.kraken.ids: duplicate key"),
        ("max_age_ms", "feedgate.toml:4: provider.kraken"),
        ("[[provider]]", "feedgate.toml:4: provider"),
    ] {
        running.write_config(&format!("{good}{line}\n"));
        running.until(expected, |_| error().contains(expected)).await;
        assert!(error().starts_with(&*running.directory.path().to_string_lossy()), "{}", error());
    }
    running.write_config(&good.replace("[\"BTC/USD\"]", "[\"BTC/USD\", \"BTC/USD\"]"));
    running
        .until("twice", |_| error().contains("feedgate.toml:3: provider.kraken.ids: \"BTC/USD\" is there twice"))
        .await;
    assert_eq!(running.status().config().loaded_at, before);
    venue.push_price("BTC/USD", "101.5");
    running.value("kraken", "BTC/USD", "101.5").await;

    std::fs::remove_file(running.directory.path().join("feedgate.toml")).expect("it was there");
    everything_was_seen(&running).await;
    assert_eq!(running.status().provider("kraken").info().state, ProviderState::Running);
    running.write_config(&good);
    running.until("nothing is wrong", |_| error().is_empty()).await;
    assert!(running.status().config().loaded_at > before);
    assert_eq!(venue.stats().connects, 1);
    running.stop().await;
}

/// The file is read at the start and looked at from then on: nothing in between is missed.
#[tokio::test]
async fn a_change_right_after_the_start_is_seen() {
    let running = Running::start("", &[]).await;
    running.write_config("[provider.late]");
    running.until("late is known", |status| !status.providers().is_empty()).await;
    std::fs::remove_file(running.directory.path().join("feedgate.toml")).expect("it was there");
    everything_was_seen(&running).await;
    assert_eq!(running.status().providers().len(), 1, "a deleted configuration changes nothing");
    running.write_config("[provider.late]\n[provider.later]");
    running.until("later is known", |status| status.providers().len() == 2).await;
    running.stop().await;
}

#[tokio::test]
async fn a_file_beside_the_plugin_is_refused_like_the_main_one() {
    let venue = kraken().await;
    let running = Running::start("", &["kraken"]).await;
    let error = || running.status().config().error;
    running.drop_file("kraken.toml", b"\nids = [\"BTC/USD\"]\nmax_age = 5\n");
    running.until("it is refused", |_| error().contains("kraken.toml:3: max_age: unknown field")).await;
    assert!(running.status().providers().is_empty());
    running.drop_file("kraken.toml", redirected(&venue).as_bytes());
    running.value("kraken", "BTC/USD", "100.5").await;
    assert_eq!(error(), "");
    running.drop_file("kraken.toml", b"ids = 7");
    running.until("it is refused", |_| error().contains("kraken.toml:1: ids: ")).await;
    venue.push_price("BTC/USD", "101.5");
    running.value("kraken", "BTC/USD", "101.5").await;
    assert_eq!(venue.stats().connects, 1);
    running.remove_file("kraken.toml");
    running.until("it is idle", |status| status.providers().is_empty()).await;
    assert_eq!(error(), "");
    running.stop().await;
}

#[tokio::test]
async fn a_provider_that_is_configured_twice_is_an_error_until_it_is_not() {
    let venue = kraken().await;
    let running = Running::start(&section("kraken", &venue, "ids = [\"BTC/USD\"]"), &["kraken"]).await;
    running.value("kraken", "BTC/USD", "100.5").await;
    let error = || running.status().config().error;
    let beside = format!("{}\nids = [\"ETH/USD\"]\n", redirected(&venue));
    running.drop_file("kraken.toml", beside.as_bytes());
    running.until("it is said", |_| error().contains("kraken.toml: provider kraken has a section")).await;
    assert!(running.read("kraken", "BTC/USD").is_some() && running.read("kraken", "ETH/USD").is_none());
    running.write_config("");
    running.value("kraken", "ETH/USD", "20.25").await;
    assert_eq!(error(), "");
    running.write_config(&section("kraken", &venue, "ids = [\"SOL/USD\"]"));
    running.value("kraken", "SOL/USD", "3.125").await;
    assert!(error().contains("has a section"), "{}", error());
    running.remove_file("kraken.toml");
    running.until("nothing is wrong", |_| error().is_empty()).await;
    assert_eq!(venue.stats().connects, 1);
    running.stop().await;
}

#[tokio::test]
async fn reload_reads_the_configuration_and_restarts_nothing() {
    let venue = kraken().await;
    let running = Running::start(&section("kraken", &venue, ""), &["kraken"]).await;
    running.value("kraken", "BTC/USD", "100.5").await;
    assert_eq!(counted(&running, APPLIED), 0);
    running.daemon.control().reload_soon();
    running.until("it is read", |_| counted(&running, APPLIED) == 1).await;
    everything_was_seen(&running).await;
    assert_eq!((counted(&running, APPLIED), venue.stats().connects), (1, 1));
    running.stop().await;
}
