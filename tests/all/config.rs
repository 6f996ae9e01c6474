//! A configuration that is bad in part, or as a whole, while the daemon runs and when it starts: what is good applies,
//! what was good before stays, and what is bad is told.

use feedgate::daemon::{ConfigSource, Daemon};
use feedgate::status::ProviderState;
use feedgate_tests::{Kind, Options, Venue};

use crate::support::{Running, redirected};

async fn kraken() -> Venue {
    crate::support::venue(Kind::Kraken, Options::still().with_prices([("BTC/USD", "100.5"), ("ETH/USD", "20.5")])).await
}

fn section(name: &str, venue: &Venue, rest: &str) -> String {
    format!("[provider.{name}]\nplugin = \"kraken\"\n{}\n{rest}\n", redirected(venue))
}

fn state(running: &Running, provider: &str) -> Option<ProviderState> {
    running.status().find(provider).map(|provider| provider.info().state)
}

#[tokio::test]
async fn a_bad_section_keeps_what_it_was_and_the_rest_applies() {
    let venue = kraken().await;
    let ids = |name: &str, id: &str| section(name, &venue, &format!("ids = [\"{id}\"]"));
    let running = Running::start(&(ids("one", "BTC/USD") + &ids("two", "BTC/USD")), &["kraken"]).await;
    for name in ["one", "two"] {
        running.value(name, "BTC/USD", "100.5").await;
    }
    let connects = venue.stats().connects;
    let error = || running.status().config().error;
    // One is bad, two has another id, three is new, and four is new and bad.
    let bad = |name: &str| section(name, &venue, "ids = [\"BTC/USD\", \"BTC/USD\"]");
    running.write_config(&[bad("one"), ids("two", "ETH/USD"), ids("three", "ETH/USD"), bad("four")].concat());
    for name in ["two", "three"] {
        running.value(name, "ETH/USD", "20.5").await;
    }
    for name in ["one", "four"] {
        let words = format!("provider.{name}.ids: \"BTC/USD\" is there twice");
        running.until(&words, |_| error().contains(&words)).await;
    }
    venue.push_price("BTC/USD", "101.5");
    running.value("one", "BTC/USD", "101.5").await;
    assert!(running.read("two", "BTC/USD").is_none(), "it is no longer asked for");
    assert_eq!((state(&running, "one"), state(&running, "four")), (Some(ProviderState::Running), None));
    assert_eq!(venue.stats().connects, connects + 1, "only three is new");
    running.write_config(&[ids("one", "ETH/USD"), ids("four", "ETH/USD")].concat());
    for name in ["one", "four"] {
        running.value(name, "ETH/USD", "20.5").await;
    }
    assert_eq!((error().as_str(), state(&running, "two")), ("", None));
    running.stop().await;
}

/// Stops the daemon, writes the file, and starts another one on the same directory.
async fn restarted(running: Running, config: &str) -> Result<Running, String> {
    let Running { directory, daemon } = running;
    assert!(daemon.stop().await);
    std::fs::write(directory.path().join("feedgate.toml"), config).expect("writable");
    let daemon = Daemon::start(ConfigSource::File(directory.path().join("feedgate.toml"))).await;
    daemon.map(|daemon| Running { directory, daemon }).map_err(|error| error.to_string())
}

#[tokio::test]
async fn a_start_with_a_broken_file_goes_on_with_what_was_good() {
    let venue = kraken().await;
    let good = section("one", &venue, "ids = [\"BTC/USD\"]");
    // The first is the last good one; the second changes it while it runs.
    let running = Running::start(&section("one", &venue, ""), &["kraken"]).await;
    running.write_config(&good);
    running.until("it has one id", |_| running.store().read_all().len() == 1).await;
    let listen = "[api]\nlisten = \"127.0.0.1:0\"\n";
    for (broken, words) in [
        (format!("{good}{listen}[provider.two"), "feedgate.toml:"),
        (format!("{good}[api]\nlisten = 7"), "api.listen: invalid type"),
        (format!("{listen}[provider.one]\nids = 7"), "provider.one.ids: invalid type"),
    ] {
        let again = restarted(Running::start(&good, &["kraken"]).await, &broken).await.expect("it starts");
        again.value("one", "BTC/USD", "100.5").await;
        assert!(again.status().config().error.contains(words), "{}", again.status().config().error);
        // The broken text is not what the next start would find.
        let again = restarted(again, &broken).await.expect("it starts again");
        again.value("one", "BTC/USD", "100.5").await;
        again.write_config(&format!("{good}[provider.other]\nplugin = \"kraken\"\nenabled = false\n"));
        again.until("it is mended", |status| status.config().error.is_empty()).await;
        assert_eq!(state(&again, "other"), Some(ProviderState::Disabled));
        again.stop().await;
    }
    // A section that never was good is left out, and its plugin is not started as if nothing had been said of it.
    let autostart = format!("autostart = true\n{listen}[provider.kraken]\nids = 7");
    let again = restarted(Running::start("", &["kraken"]).await, &autostart).await.expect("it starts");
    again.until("the plugin is loaded", |status| !status.plugins().is_empty() && again.not_ready().is_empty()).await;
    assert_eq!(state(&again, "kraken"), None);
    // Without anything kept the file is refused as ever.
    let kept = again.directory.path().join("state");
    let Running { directory, daemon } = again;
    assert!(daemon.stop().await);
    std::fs::remove_dir_all(kept).expect("it was made");
    std::fs::write(directory.path().join("feedgate.toml"), "autostart = 7").expect("writable");
    let refused = Daemon::start(ConfigSource::File(directory.path().join("feedgate.toml"))).await;
    let error = refused.expect_err("it must not start").to_string();
    assert!(error.contains("feedgate.toml:1: autostart: invalid type"), "{error}");
    running.stop().await;
}
