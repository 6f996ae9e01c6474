//! Providers that are replaced while they serve: another build, other settings. Nobody who reads notices.

use std::time::Duration;

use feedgate::status::control::{Applied, BuildCommand};
use feedgate::store::State;
use feedgate_tests::{Kind, Options, Peer, ScriptedWs, Venue};

use crate::reload::{build, digest, listed, runs};
use crate::support::{Running, bytes_of, guest_build, redirected, venue, without_a_gap};

const IDS: [&str; 2] = ["BTCUSDT", "ETHUSDT"];

fn lively() -> Options {
    Options { tick: Some(Duration::from_millis(20)), ..Options::default() }
}

/// Everything is old after a second and a half: a gap would show.
fn section(venue: &Venue, more: &str) -> String {
    let ids = format!("ids = {IDS:?}");
    format!(
        "[provider.p]\nplugin = \"{}\"\nmax_age_ms = 1500\n{ids}\n{}\n{more}\n",
        venue.kind().name(),
        redirected(venue)
    )
}

async fn serving(venue: &Venue, more: &str) -> Running {
    let running = Running::start(&section(venue, more), &[venue.kind().name()]).await;
    for id in IDS {
        running.state("p", id, State::Fresh).await;
    }
    running
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_build_takes_over_without_a_gap_and_the_operator_goes_back() {
    let venue = venue(Kind::Binance, lively()).await;
    let running = serving(&venue, "").await;
    let first = digest(&bytes_of("binance"));
    for (round, note) in [(2, "second"), (3, "third")] {
        let next = build("binance", note);
        running.drop_file("binance.wasm", &next);
        without_a_gap(&running, "p", &IDS, "the new build serves alone", || {
            runs(&running, "p") == digest(&next) && venue.stats().open == 1
        })
        .await;
        assert_eq!(venue.stats().connects, round);
    }
    let standings = |running: &Running| {
        let plugin = listed(running, "binance").expect("it runs");
        plugin.builds.into_iter().map(|build| build.standing).collect::<Vec<_>>()
    };
    assert_eq!(standings(&running), ["trial", "trial", "trial"]);

    // Back to the second, and to the first, and no further.
    let control = running.daemon.control().clone();
    for expected in [digest(&build("binance", "second")), first.clone()] {
        let back = control.build("binance".to_owned(), BuildCommand::Rollback).await.expect("it runs");
        assert!(back.is_ok(), "{back:?}");
        without_a_gap(&running, "p", &IDS, "it went back", || {
            runs(&running, "p") == expected && venue.stats().open == 1
        })
        .await;
    }
    let further = control.build("binance".to_owned(), BuildCommand::Rollback).await.expect("it runs");
    assert_eq!(further, Err("no other good build of this plugin is known".to_owned()));
    assert_eq!(standings(&running), ["rolled-back", "rolled-back", "trial"]);
    assert!(listed(&running, "binance").is_some_and(|plugin| plugin.error.contains("the operator went back")));

    // What was taken back does not come again by itself; pinned, it does.
    let pinned = build("binance", "third");
    let what = BuildCommand::Pin(Some(digest(&pinned)[..12].to_owned()));
    assert!(control.build("binance".to_owned(), what).await.expect("it runs").is_ok());
    without_a_gap(&running, "p", &IDS, "the pinned one runs", || runs(&running, "p") == digest(&pinned)).await;
    assert_eq!(listed(&running, "binance").and_then(|plugin| plugin.pinned), Some(digest(&pinned)));
    assert_eq!(venue.stats().violations, [""; 0]);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn other_settings_take_over_without_a_gap_and_the_report_says_what_changed() {
    let venue = venue(Kind::Binance, lively()).await;
    let running = serving(&venue, "").await;
    running.write_config(&section(&venue, "websocket = { write_timeout_ms = 4000 }"));
    let report = running.daemon.control().reload().await.expect("it runs");
    assert_eq!(report.providers.get("p"), Some(&Applied::Changed("websocket".to_owned())), "{report:?}");
    assert!(report.is_good());
    without_a_gap(&running, "p", &IDS, "the new one serves alone", || venue.stats().open == 1).await;
    assert_eq!(venue.stats().connects, 2);

    let report = running.daemon.control().reload().await.expect("it runs");
    assert_eq!(report.providers.get("p"), Some(&Applied::Kept));
    running.write_config(&section(&venue, "settings = { price = \"median\" }"));
    let report = running.daemon.control().reload().await.expect("it runs");
    assert!(matches!(report.providers.get("p"), Some(Applied::Refused(why)) if why.contains("price")), "{report:?}");
    assert_eq!(running.status().config().last_reload, Some(report));
    without_a_gap(&running, "p", &IDS, "nothing happened", || venue.stats().open == 1).await;
    assert_eq!(venue.stats().violations, [""; 0]);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_polled_provider_is_replaced_without_a_gap() {
    let venue = venue(Kind::Binance, lively()).await;
    let http = "transports = [\"http\"]\nloosen_limits = true\nhttp = { poll_interval_ms = 100 }";
    let running = serving(&venue, http).await;
    let next = build("binance", "next");
    running.drop_file("binance.wasm", &next);
    without_a_gap(&running, "p", &IDS, "the new build serves", || runs(&running, "p") == digest(&next)).await;
    assert_eq!(venue.stats().violations, [""; 0]);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_known_of_builds_survives_a_restart() {
    let venue = venue(Kind::Binance, lively()).await;
    let running = serving(&venue, "").await;
    let second = build("binance", "second");
    running.drop_file("binance.wasm", &second);
    running.until("the new build serves", |_| runs(&running, "p") == digest(&second)).await;
    let back = running.daemon.control().build("binance".to_owned(), BuildCommand::Rollback).await.expect("it runs");
    assert!(back.is_ok(), "{back:?}");
    let first = digest(&bytes_of("binance"));
    running.until("it went back", |_| runs(&running, "p") == first).await;

    // The file still holds the second build; what runs is the first, from where it was kept.
    let running = running.restart().await;
    running.until("the first runs again", |_| runs(&running, "p") == first).await;
    for id in IDS {
        running.state("p", id, State::Fresh).await;
    }
    let plugin = listed(&running, "binance").expect("it runs");
    assert!(plugin.error.contains("the operator went back"), "{plugin:?}");
    running.stop().await;
}

/// A venue that answers each subscription with a value, and sends one for each every 20 ms from then on.
pub async fn ticking() -> ScriptedWs {
    let script = |mut peer: Peer| async move {
        let mut keys: Vec<String> = Vec::new();
        let mut ticks = tokio::time::interval(Duration::from_millis(20));
        for number in 0_u64.. {
            tokio::select! {
                text = peer.recv() => match text {
                    Some(text) => keys.extend(text.strip_prefix("subscribe ").and_then(|rest| rest.split(' ').next()).map(str::to_owned)),
                    None => return,
                },
                _ = ticks.tick() => {
                    for key in &keys {
                        if peer.send(format!("{key} {number}.5")).await.is_err() {
                            return;
                        }
                    }
                }
            }
        }
    };
    ScriptedWs::start(script).await.expect("a free port")
}

/// A daemon that runs the good guest, its ids fresh and old after a second and a half.
async fn guest(venue: &ScriptedWs, more: &str) -> Running {
    let config = format!(
        "{more}\n[provider.p]\nplugin = \"guest\"\ntransports = [\"websocket\"]\nmax_age_ms = 1500\n\
         redirect_origins = {{ \"wss://guest.example.com\" = \"{}\" }}\n\
         websocket = {{ backoff_first_ms = 20, backoff_max_ms = 100 }}\n",
        venue.origin()
    );
    let running = Running::start(&config, &["guest"]).await;
    for id in ["a", "b"] {
        running.state("p", id, State::Fresh).await;
    }
    running
}

/// How the build that the file holds stands, and why.
fn standing(running: &Running, build: &[u8]) -> (&'static str, String) {
    let builds = listed(running, "guest").map(|plugin| plugin.builds).unwrap_or_default();
    let found = builds.into_iter().find(|known| known.digest == digest(build));
    found.map(|build| (build.standing, build.reason)).unwrap_or_default()
}

/// Each is refused in these words, and nobody notices.
#[tokio::test(flavor = "multi_thread")]
async fn a_build_that_reads_otherwise_is_refused_before_it_runs() {
    let venue = ticking().await;
    let running = guest(&venue, "").await;
    let good = digest(&bytes_of("guest"));
    for (defect, words) in [
        (r#"{"how":"times-ten"}"#, "another meaning"),
        (r#"{"how":"forget-b"}"#, "b"),
        (r#"{"how":"later"}"#, "another meaning"),
        (r#"{"how":"garble-b"}"#, "b"),
        (r#"{"on":"handle","how":"trap"}"#, "trap"),
        (r#"{"on":"handle","how":"trap","after":3}"#, "trap"),
        (r#"{"on":"handle","how":"loop"}"#, "time budget"),
        (r#"{"on":"configure","how":"trap"}"#, "trap"),
        (r#"{"on":"connect","how":"trap"}"#, "trap"),
        (r#"{"how":"refuse"}"#, "refused as it was told"),
    ] {
        let build = guest_build(defect);
        running.drop_file("guest.wasm", &build);
        without_a_gap(&running, "p", &["a", "b"], defect, || standing(&running, &build).0 == "refused").await;
        let (_, reason) = standing(&running, &build);
        assert!(reason.contains("refused by provider p") && reason.contains(words), "{defect}: {reason}");
        assert_eq!(runs(&running, "p"), good);
        assert!(running.status().provider("p").info().reason.contains("a change was refused"));
    }
    assert_eq!(venue.connects(), 1);
    running.stop().await;
}

/// Good on what was received before, and bad on what comes: the build before runs again by itself.
#[tokio::test(flavor = "multi_thread")]
async fn a_build_that_turns_bad_is_taken_back() {
    for defect in [r#"{"on":"handle","how":"trap","after":700}"#, r#"{"on":"heartbeat","how":"trap","after":2}"#] {
        let venue = ticking().await;
        let running = guest(&venue, "").await;
        let good = digest(&bytes_of("guest"));
        let build = guest_build(defect);
        running.drop_file("guest.wasm", &build);
        running.until("it runs", |_| runs(&running, "p") == digest(&build)).await;
        running.until("it is taken back", |_| runs(&running, "p") == good).await;
        let (word, reason) = standing(&running, &build);
        assert!(["rolled-back", "quarantined"].contains(&word), "{word}: {reason}");
        assert!(reason.contains("trap") || reason.contains("instances died"), "{reason}");
        for id in ["a", "b"] {
            running.state("p", id, State::Fresh).await;
        }
        running.stop().await;
    }
}

/// A build that dies of whatever it gets, and no other to go back to: it does not run again by itself, also not after a
/// restart. Another build begins clean.
#[tokio::test(flavor = "multi_thread")]
async fn a_build_that_dies_of_the_same_input_is_quarantined_until_it_is_released() {
    // The same first message on each connection.
    let script = |mut peer: Peer| async move {
        while let Some(text) = peer.recv().await {
            if let Some(rest) = text.strip_prefix("subscribe ")
                && peer.send(format!("{} 1.5", rest.split(' ').next().unwrap_or_default())).await.is_err()
            {
                return;
            }
        }
    };
    let venue = ScriptedWs::start(script).await.expect("a free port");
    let config = format!(
        "[provider.p]\nplugin = \"guest\"\nids = [\"a\"]\ntransports = [\"websocket\"]\n\
         redirect_origins = {{ \"wss://guest.example.com\" = \"{}\" }}\n\
         websocket = {{ backoff_first_ms = 20, backoff_max_ms = 100 }}\n",
        venue.origin()
    );
    let running = Running::start(&config, &[]).await;
    let build = guest_build(r#"{"on":"handle","how":"trap"}"#);
    running.drop_file("guest.wasm", &build);
    let quarantined = |running: &Running| standing(running, &build).0 == "quarantined";
    running.until("it is quarantined", |_| quarantined(&running)).await;
    let (_, reason) = standing(&running, &build);
    assert!(reason.contains("twice of the same input") && reason.contains("handle-messages"), "{reason}");
    running
        .until("it says so", |status| status.provider("p").info().reason.contains("quarantined: it died twice"))
        .await;
    let reading = running.read("p", "a").expect("it is configured");
    assert!(reading.state == State::ProviderDown && reading.reason.contains("quarantined"), "{reading:?}");
    let metrics = running.metrics();
    let series = format!("feedgate_plugin_build_faults{{plugin=\"guest\",build=\"{}\"}} 2", digest(&build));
    assert!(metrics.contains(&series) && metrics.contains("standing=\"quarantined\""), "{metrics}");
    let kept = running.directory.path().join(format!("state/faults/{}.json", digest(&build)));
    let kept = std::fs::read_to_string(kept).expect("what it died of is written down");
    assert!(kept.contains("\"text\": \"0 1.5\"") && kept.contains("unreachable"), "{kept}");

    let connects = venue.connects();
    let running = running.restart().await;
    running.until("it is quarantined still", |_| quarantined(&running)).await;
    running.until("it says so", |status| status.provider("p").info().reason.contains("quarantined")).await;
    assert_eq!(venue.connects(), connects);

    let release = running.daemon.control().build("guest".to_owned(), BuildCommand::Release(None)).await;
    assert!(release.expect("it runs").is_ok());
    venue.connected(connects + 2).await;
    running.until("it is quarantined again", |_| quarantined(&running)).await;

    running.drop_file("guest.wasm", &guest_build(r#"{"how":"good"}"#));
    running.value("p", "a", "1.5").await;
    running.stop().await;
}

/// Twice its connections would be more than the venue allows: the old ones go first, and the values stay.
#[tokio::test(flavor = "multi_thread")]
async fn where_the_venue_allows_no_second_connection_it_is_handed_over_at_once() {
    let ids: Vec<String> = (0..60).map(|number| format!("T{number}_USDT")).collect();
    let prices = ids.iter().map(|id| (id.clone(), "1.5".to_owned()));
    let options = Options { tick: Some(Duration::from_millis(200)), prices: prices.collect(), ..Options::default() };
    let venue = venue(Kind::Gate, options).await;
    let section = |more: &str| {
        format!(
            "[provider.p]\nplugin = \"gate\"\ntransports = [\"websocket\"]\nloosen_limits = true\nids = {ids:?}\n{}\n\
             websocket = {{ ids_per_connection = 1{more} }}\n",
            redirected(&venue)
        )
    };
    let running = Running::start(&section(""), &["gate"]).await;
    venue.wait(|stats| stats.open == 60).await;
    running.state("p", &ids[59], State::Fresh).await;
    running.write_config(&section(", write_timeout_ms = 4000"));
    running
        .until("all are connected anew", |_| {
            let stats = venue.stats();
            assert!(stats.open <= 60, "{} connections at once", stats.open);
            stats.connects == 120 && stats.open == 60
        })
        .await;
    assert!(running.read("p", &ids[0]).is_some_and(|reading| reading.held.is_some()));
    running.stop().await;
}
