//! What lies in the directory and stands in the configuration, changed while the daemon runs.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use feedgate::daemon::{ConfigSource, Daemon};
use feedgate::plugin::componentize;
use feedgate::plugin::digest_of;
use feedgate::status::{PluginStatus, ProviderState};
use feedgate::store::State;
use feedgate_tests::{Kind, Options, Venue};
use tempfile::TempDir;

use crate::support::{Running, bytes_of, drop_plugin, redirected, shown};

mod config;

/// A market that moves only when it is told to.
pub async fn still(kind: Kind, prices: &[(&str, &str)]) -> Venue {
    let options = Options::still().with_prices(prices.iter().copied());
    crate::support::venue(kind, options).await
}

pub async fn kraken() -> Venue {
    still(Kind::Kraken, &[("BTC/USD", "100.5"), ("ETH/USD", "20.25"), ("SOL/USD", "3.125")]).await
}

pub async fn binance() -> Venue {
    still(Kind::Binance, &[("BTCUSDT", "99.5")]).await
}

/// The first trade after somebody has subscribed: there is no snapshot here.
pub async fn trade(venue: &Venue, price: &str) {
    venue.wait(|stats| stats.subscriptions == 1).await;
    venue.push_price("BTCUSDT", price);
}

/// A provider's section, its venue's origins sent to the simulated one.
pub fn section(name: &str, venue: &Venue, rest: &str) -> String {
    format!("[provider.{name}]\n{}\n{rest}\n", redirected(venue))
}

/// A good build of a plugin: a component that differs from its other builds in a note that nobody reads.
pub fn build(name: &str, note: &str) -> Vec<u8> {
    let mut bytes = componentize(&bytes_of(name)).expect("it is a good one");
    let content = [b"\x04note".as_slice(), note.as_bytes()].concat();
    bytes.push(0);
    bytes.push(u8::try_from(content.len()).ok().filter(|len| *len < 128).expect("a short note"));
    bytes.extend(content);
    bytes
}

pub fn digest(bytes: &[u8]) -> String {
    digest_of(bytes).to_string()
}

pub fn listed(running: &Running, stem: &str) -> Option<PluginStatus> {
    running.status().plugins().into_iter().find_map(|(name, plugin)| (name == stem).then_some(plugin))
}

/// The digest of the build that a provider runs.
pub fn runs(running: &Running, provider: &str) -> String {
    running.status().provider(provider).info().plugin_digest
}

pub async fn until_state(running: &Running, provider: &str, state: ProviderState) -> String {
    let info = || running.status().provider(provider).info();
    running.until(&format!("{provider} is {}", state.as_str()), |_| info().state == state).await;
    info().reason
}

/// One line of the metrics.
pub fn counted(running: &Running, series: &str) -> u64 {
    let text = running.metrics();
    text.lines().find_map(|line| line.strip_prefix(series)?.trim().parse().ok()).unwrap_or(0)
}

const LOADED: &str = "feedgate_plugin_loads_total{result=\"loaded\"}";
const REFUSED: &str = "feedgate_plugin_loads_total{result=\"refused\"}";
pub const APPLIED: &str = "feedgate_config_reloads_total{result=\"applied\"}";

/// Waits until everything that lay in the directory has been seen and dealt with: what comes after it in the order of
/// names has.
pub async fn everything_was_seen(running: &Running) {
    running.drop_file("zz.wasm", b"a marker");
    running.until("the marker is seen", |_| listed(running, "zz").is_some()).await;
    running.remove_file("zz.wasm");
    running.until("the marker is gone", |_| listed(running, "zz").is_none()).await;
}

#[tokio::test]
async fn a_dropped_plugin_becomes_readable_values() {
    let venue = kraken().await;
    let ids = "ids = [\"BTC/USD\"]";
    let beside = format!("{}\n{ids}\n", redirected(&venue));
    for (configured, main, beside) in
        [("by a section", section("kraken", &venue, ids), None), ("by a file beside it", String::new(), Some(beside))]
    {
        let running = Running::start(&main, &[]).await;
        if let Some(beside) = beside {
            running.drop_file("kraken.toml", beside.as_bytes());
        }
        running
            .until(configured, |status| status.provider("kraken").info().reason.contains("kraken.wasm is not there"))
            .await;
        running.drop_file("kraken.wasm", &bytes_of("kraken"));
        let reading = running.value("kraken", "BTC/USD", "100.5").await;
        assert_eq!(reading.state, State::Fresh, "{configured}");
        let plugin = listed(&running, "kraken").expect("it runs");
        assert_eq!((plugin.providers, plugin.error), (vec!["kraken".to_owned()], String::new()), "{configured}");
        running.stop().await;
    }
}

#[tokio::test]
async fn autostart_runs_what_nobody_configured_with_its_default_ids() {
    // A poller, and a name whose first poll is far off: nothing here may ask a real venue.
    let running = Running::start("autostart = true", &[]).await;
    running.drop_file("quiet-4.wasm", &bytes_of("coingecko"));
    until_state(&running, "quiet-4", ProviderState::Running).await;
    let readings = running.store().read_provider("quiet-4").expect("it has ids");
    let ids: Vec<&str> = readings.iter().map(|reading| &*reading.id).collect();
    assert_eq!(ids, ["bitcoin", "ethereum"]);
    running.remove_file("quiet-4.wasm");
    running.until("it is gone", |status| status.providers().is_empty()).await;
    running.stop().await;
}

/// Deleting the file takes no value away before its time, also where no configuration asks for it.
#[tokio::test]
async fn autostart_keeps_good_values_of_a_deleted_plugin() {
    let venue = still(Kind::CoinGecko, &[("bitcoin", "67248")]).await;
    let rest = "ids = [\"bitcoin\"]\nloosen_limits = true\nhttp = { poll_interval_ms = 50 }";
    let main = format!("autostart = true\n{}", section("quiet-4", &venue, rest));
    let running = Running::start(&main, &[]).await;
    drop_plugin(running.directory.path(), "coingecko", "quiet-4");
    running.value("quiet-4", "bitcoin", "67248").await;
    running.write_config("autostart = true");
    running.until("the section counts no more", |_| running.read("quiet-4", "ethereum").is_some()).await;
    running.remove_file("quiet-4.wasm");
    let reason = until_state(&running, "quiet-4", ProviderState::WaitingForPlugin).await;
    assert!(reason.contains("quiet-4.wasm"), "{reason}");
    let reading = running.read("quiet-4", "bitcoin").expect("it is kept");
    assert_eq!((reading.state, shown(&reading).as_deref()), (State::Fresh, Some("67248")));
    running.stop().await;
}

#[tokio::test]
async fn a_plugin_that_nobody_configured_is_idle() {
    let running = Running::start("", &["kraken"]).await;
    running.until("it is listed", |_| listed(&running, "kraken").is_some_and(|plugin| plugin.loaded.is_some())).await;
    let plugin = listed(&running, "kraken").expect("just seen");
    let loaded = plugin.loaded.expect("just seen");
    assert_eq!((loaded.name.as_str(), loaded.http, loaded.websocket), ("kraken", true, true));
    assert_eq!(loaded.digest, digest(&bytes_of("kraken")));
    assert!(plugin.providers.is_empty() && plugin.error.is_empty());
    assert!(running.status().providers().is_empty());
    running.stop().await;
}

#[tokio::test]
async fn a_file_that_is_written_in_pieces_runs_once_it_is_whole() {
    use std::io::Write;
    let venue = kraken().await;
    let running = Running::start(&section("kraken", &venue, ""), &[]).await;
    let whole = bytes_of("kraken");
    let mut file = std::fs::File::create(running.plugins_dir().join("kraken.wasm")).expect("writable");
    for piece in whole.chunks(whole.len() / 3 + 1) {
        assert_eq!(counted(&running, LOADED), 0);
        assert_eq!(running.status().provider("kraken").info().state, ProviderState::WaitingForPlugin);
        file.write_all(piece).expect("writable");
        everything_was_seen(&running).await;
    }
    running.value("kraken", "BTC/USD", "100.5").await;
    assert_eq!(counted(&running, LOADED), 1);
    running.stop().await;
}

#[tokio::test]
async fn what_is_no_plugin_file_is_ignored() {
    let running = Running::start("autostart = true", &[]).await;
    let directory = running.plugins_dir();
    for name in
        [".kraken.wasm", ".kraken.wasm.tmp", "kraken.wasm~", "kraken.wasm.part", "kraken.so", "kraken", "a b.wasm"]
    {
        std::fs::write(directory.join(name), bytes_of("kraken")).expect("writable");
    }
    std::fs::create_dir(directory.join("folder.wasm")).expect("writable");
    let made = Command::new("mkfifo").arg(directory.join("pipe.wasm")).status().expect("mkfifo is everywhere");
    assert!(made.success());
    std::os::unix::fs::symlink("nowhere", directory.join("link.wasm")).expect("writable");
    everything_was_seen(&running).await;
    assert!(running.status().plugins().is_empty(), "{:?}", running.status().plugins());
    assert_eq!(running.status().config().error, "");
    running.stop().await;
}

#[tokio::test]
async fn a_rename_over_is_one_reload_and_loses_no_value() {
    let venue = kraken().await;
    let running = Running::start(&section("kraken", &venue, ""), &["kraken"]).await;
    running.value("kraken", "BTC/USD", "100.5").await;
    let next = build("kraken", "next");
    running.drop_file("kraken.wasm", &next);
    running
        .until("the new build runs", |_| {
            let reading = running.read("kraken", "BTC/USD").expect("it never goes");
            assert_eq!((reading.state, shown(&reading).as_deref()), (State::Fresh, Some("100.5")));
            runs(&running, "kraken") == digest(&next)
        })
        .await;
    venue.push_price("BTC/USD", "101.5");
    running.value("kraken", "BTC/USD", "101.5").await;
    everything_was_seen(&running).await;
    assert_eq!(counted(&running, LOADED), 2);
    assert_eq!(venue.stats().connects, 2);
    assert_eq!(venue.stats().open, 1);
    running.stop().await;
}

/// Touched, or written again as it is: what runs is what lies there.
#[tokio::test]
async fn the_same_build_again_restarts_nothing() {
    let venue = kraken().await;
    let running = Running::start(&section("kraken", &venue, ""), &["kraken"]).await;
    running.value("kraken", "BTC/USD", "100.5").await;
    running.drop_file("kraken.wasm", &bytes_of("kraken"));
    running.until("it is loaded again", |_| counted(&running, LOADED) == 2).await;
    everything_was_seen(&running).await;
    assert_eq!(venue.stats().connects, 1);
    running.stop().await;
}

#[tokio::test]
async fn a_broken_build_changes_nothing_and_is_tried_once() {
    let venue = kraken().await;
    let running = Running::start(&section("kraken", &venue, ""), &["kraken"]).await;
    running.value("kraken", "BTC/USD", "100.5").await;
    let good = bytes_of("kraken");
    let component = componentize(&good).expect("good");
    let noise: Vec<u8> = (0..4_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let empty_component = b"\0asm\x0d\0\x01\0".as_slice();
    let empty_module = b"\0asm\x01\0\0\0".as_slice();
    let broken: [(&[u8], &str); 7] = [
        (&good[..good.len() / 2], "invalid WebAssembly"),
        (&component[..component.len() / 2], "invalid WebAssembly"),
        (&noise, "not WebAssembly"),
        (b"", "not WebAssembly"),
        (empty_component, "does not export feedgate:provider/describe"),
        (empty_module, "without a component type"),
        (&[empty_component, &noise].concat(), "invalid WebAssembly"),
    ];
    for (number, (bytes, expected)) in broken.into_iter().enumerate() {
        running.drop_file("kraken.wasm", bytes);
        let error = || listed(&running, "kraken").expect("it runs").error;
        let tried = || counted(&running, REFUSED) == number as u64 + 1;
        running.until(expected, |_| tried() && error().contains(expected)).await;
        let plugin = listed(&running, "kraken").expect("it runs");
        assert_eq!(plugin.loaded.expect("the old build").digest, digest(&good));
        assert_eq!(plugin.providers, ["kraken"]);
        let price = format!("{number}.25");
        venue.push_price("BTC/USD", &price);
        running.value("kraken", "BTC/USD", &price).await;
    }
    everything_was_seen(&running).await;
    assert_eq!(counted(&running, REFUSED), 8, "only the marker was tried");
    assert_eq!((venue.stats().connects, venue.stats().open), (1, 1));

    let next = build("kraken", "mended");
    running.drop_file("kraken.wasm", &next);
    running.until("the mended build runs", |_| runs(&running, "kraken") == digest(&next)).await;
    assert_eq!(listed(&running, "kraken").expect("it runs").error, "");
    running.stop().await;
}

#[tokio::test]
async fn one_bad_file_at_the_start_does_not_stop_the_others() {
    let venue = kraken().await;
    let main = format!("{}\n[provider.broken]\n", section("kraken", &venue, ""));
    let running = Running::start(&main, &["kraken"]).await;
    running.drop_file("broken.wasm", b"\0asm and nothing else");
    running.value("kraken", "BTC/USD", "100.5").await;
    running.until("broken is refused", |_| listed(&running, "broken").is_some()).await;
    let refused = listed(&running, "broken").expect("just seen");
    assert!(refused.loaded.is_none() && refused.error.contains("invalid WebAssembly"), "{refused:?}");
    let info = running.status().provider("broken").info();
    assert_eq!(info.state, ProviderState::WaitingForPlugin);
    assert!(info.reason.contains("broken.wasm: invalid WebAssembly"), "{}", info.reason);
    let missing = running.not_ready();
    assert!(matches!(&missing[..], [(name, why)] if name == "broken" && why.contains("invalid")), "{missing:?}");
    running.stop().await;
}

#[tokio::test]
async fn a_build_that_refuses_the_settings_leaves_the_one_before() {
    let binance = binance().await;
    let kraken = kraken().await;
    let origins = [redirected(&binance), redirected(&kraken)]
        .map(|line| line.trim_start_matches("redirect_origins = {").trim_end_matches('}').trim().to_owned());
    let config = |settings: &str| {
        // Another venue is more than the first build asked for.
        let grant = "[plugin.venue.grant]\norigins = [\"https://api.kraken.com\", \"wss://ws.kraken.com\"]";
        let redirects = origins.join(", ");
        format!("[provider.venue]\nids = [\"BTCUSDT\"]\nredirect_origins = {{ {redirects} }}\n{settings}\n{grant}\n")
    };
    let running = Running::start(&config("settings = { price = \"last\" }"), &[]).await;
    running.drop_file("venue.wasm", &bytes_of("binance"));
    trade(&binance, "100.5").await;
    running.value("venue", "BTCUSDT", "100.5").await;

    // Another venue's plugin, which does not know this setting.
    running.drop_file("venue.wasm", &bytes_of("kraken"));
    let error = || listed(&running, "venue").expect("it runs").error;
    running.until("it is refused", |_| error().contains("refused by provider venue")).await;
    assert!(error().contains("price"), "{}", error());
    let info = running.status().provider("venue").info();
    assert_eq!((info.state, info.plugin_digest), (ProviderState::Running, digest(&bytes_of("binance"))));
    assert!(info.reason.contains("a change was refused"), "{}", info.reason);
    binance.push_price("BTCUSDT", "101.5");
    running.value("venue", "BTCUSDT", "101.5").await;
    assert_eq!((binance.stats().connects, kraken.stats().connects), (1, 0));

    // With the build before in its place, nothing is to be said against the file.
    running.drop_file("venue.wasm", &bytes_of("binance"));
    running.until("it is taken back", |_| error().is_empty()).await;
    assert_eq!(running.status().provider("venue").info().reason, "");
    assert_eq!((binance.stats().connects, kraken.stats().connects), (1, 0));
    running.stop().await;
}

#[tokio::test]
async fn settings_that_the_plugin_refuses_leave_those_before() {
    let venue = binance().await;
    let config = |settings: &str| section("binance", &venue, &format!("ids = [\"BTCUSDT\"]\nsettings = {settings}"));
    let running = Running::start(&config("{}"), &["binance"]).await;
    trade(&venue, "100.5").await;
    running.value("binance", "BTCUSDT", "100.5").await;
    let info = || running.status().provider("binance").info();
    for (settings, expected) in [("{ price = \"median\" }", "price"), ("{ prize = \"last\" }", "prize")] {
        running.write_config(&config(settings));
        running.until(expected, |_| info().reason.contains(expected)).await;
        assert_eq!(info().state, ProviderState::Running);
        assert!(info().reason.contains("a change was refused"), "{}", info().reason);
    }
    venue.push_price("BTCUSDT", "101.5");
    running.value("binance", "BTCUSDT", "101.5").await;
    running.write_config(&config("{}"));
    running.until("nothing is said against it", |_| info().reason.is_empty()).await;
    assert_eq!((venue.stats().connects, venue.stats().open), (1, 1));

    running.write_config(&config("{ price = \"mid\" }"));
    venue.wait(|stats| stats.connects == 2 && stats.open == 1).await;
    running.until("it says what its values are", |_| info().kind.is_some_and(|kind| kind.as_str() == "mid")).await;
    running.stop().await;
}

#[tokio::test]
async fn a_deleted_plugin_stops_its_provider_and_its_values_age_in_sight() {
    let venue = kraken().await;
    let rest = "ids = [\"BTC/USD\"]\nmax_age_ms = 2500";
    let running = Running::start(&section("kraken", &venue, rest), &["kraken"]).await;
    running.value("kraken", "BTC/USD", "100.5").await;
    running.remove_file("kraken.wasm");
    until_state(&running, "kraken", ProviderState::WaitingForPlugin).await;
    running.until("it says so", |status| status.provider("kraken").info().reason.contains("is not there")).await;
    assert!(listed(&running, "kraken").is_none());
    venue.wait(|stats| stats.open == 0).await;
    let kept = |reading: &feedgate::store::Reading| shown(reading).as_deref() == Some("100.5");
    assert!(running.read("kraken", "BTC/USD").is_some_and(|reading| kept(&reading)));
    let aged = running.state("kraken", "BTC/USD", State::ProviderDown).await;
    assert!(kept(&aged) && aged.held.is_some_and(|held| held.age > Duration::from_millis(2500)));
    assert!(aged.reason.contains("plugin is not there"), "{}", aged.reason);

    running.drop_file("kraken.wasm", &build("kraken", "back"));
    let back = running.state("kraken", "BTC/USD", State::Fresh).await;
    assert!(kept(&back));
    running.stop().await;
}

#[tokio::test]
async fn a_plugin_deleted_while_it_is_being_loaded_does_not_run() {
    let running = Running::start("[provider.coinbase]", &["coinbase"]).await;
    let reason = || running.status().provider("coinbase").info().reason;
    running
        .until("it is being loaded", |_| reason().contains("is being loaded") || !reason().contains("not there"))
        .await;
    running.remove_file("coinbase.wasm");
    running.until("it is gone", |_| reason().contains("is not there")).await;
    everything_was_seen(&running).await;
    assert!(running.status().plugins().is_empty());
    assert_eq!(running.status().provider("coinbase").info().state, ProviderState::WaitingForPlugin);
    running.stop().await;
}

#[tokio::test]
async fn two_providers_use_one_plugin() {
    let venue = kraken().await;
    let ids = |name: &str, id: &str| section(name, &venue, &format!("plugin = \"kraken\"\nids = [\"{id}\"]"));
    let main = format!("{}{}", ids("one", "BTC/USD"), ids("two", "ETH/USD"));
    let running = Running::start(&main, &["kraken"]).await;
    running.value("one", "BTC/USD", "100.5").await;
    running.value("two", "ETH/USD", "20.25").await;
    assert_eq!(listed(&running, "kraken").expect("it runs").providers, ["one", "two"]);
    assert!(running.read("one", "ETH/USD").is_none());

    let next = build("kraken", "next");
    running.drop_file("kraken.wasm", &next);
    running
        .until("both run it", |_| ["one", "two"].map(|name| runs(&running, name)) == [digest(&next), digest(&next)])
        .await;
    running.write_config(&ids("two", "ETH/USD"));
    running.until("one is gone", |status| status.providers().len() == 1).await;
    assert_eq!(listed(&running, "kraken").expect("it runs").providers, ["two"]);
    venue.wait(|stats| stats.open == 1).await;
    running.stop().await;
}

#[tokio::test]
async fn a_directory_that_goes_away_is_told_and_stops_nothing() {
    let venue = kraken().await;
    let running = Running::start(&section("kraken", &venue, ""), &["kraken"]).await;
    running.value("kraken", "BTC/USD", "100.5").await;
    let away = running.directory.path().join("away");
    std::fs::rename(running.plugins_dir(), &away).expect("same directory");
    let error = || running.status().config().error;
    running.until("it is said", |_| error().contains("plugins: plugins_dir cannot be read")).await;
    venue.push_price("BTC/USD", "101.5");
    running.value("kraken", "BTC/USD", "101.5").await;
    std::fs::rename(&away, running.plugins_dir()).expect("same directory");
    running.until("it is back", |_| error().is_empty()).await;
    everything_was_seen(&running).await;
    assert_eq!((counted(&running, LOADED), venue.stats().connects), (1, 1));
    running.stop().await;
}

#[tokio::test]
async fn what_cannot_start_says_why() {
    let directory = TempDir::new().expect("a temporary directory");
    let start = async |config: &str| {
        let path = directory.path().join("feedgate.toml");
        std::fs::write(&path, config).expect("writable");
        Daemon::start(ConfigSource::File(path)).await.expect_err("it must not start").to_string()
    };
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = taken.local_addr().expect("bound").port();
    let listen = "[api]\nlisten = \"127.0.0.1:0\"\n";
    std::fs::write(directory.path().join("file"), "").expect("writable");
    for (config, expected) in [
        (format!("[api]\nlisten = \"127.0.0.1:{port}\"\n"), format!("cannot listen on 127.0.0.1:{port} (api.listen)")),
        (listen.to_owned(), format!("plugins_dir {} cannot be read", directory.path().join("plugins").display())),
        (format!("plugins_dir = \"file\"\n{listen}"), "file cannot be read".to_owned()),
        ("[provider.a]\nplugin = ".to_owned(), "configuration refused: ".to_owned()),
        ("plugins_dir = 7".to_owned(), "feedgate.toml:1: plugins_dir: invalid type".to_owned()),
    ] {
        let error = start(&config).await;
        assert!(error.contains(&expected), "{error:?} lacks {expected:?}");
    }
    let missing = ConfigSource::File(Path::new("/nowhere/feedgate.toml").into());
    let error = Daemon::start(missing).await.expect_err("there is none").to_string();
    assert!(error.contains("/nowhere/feedgate.toml: cannot be read"), "{error}");
}

#[tokio::test]
async fn stopping_closes_every_connection_politely() {
    let kraken = kraken().await;
    let binance = binance().await;
    let main = section("kraken", &kraken, "") + &section("binance", &binance, "ids = [\"BTCUSDT\"]");
    let running = Running::start(&main, &["kraken", "binance"]).await;
    running.value("kraken", "BTC/USD", "100.5").await;
    trade(&binance, "100.5").await;
    running.value("binance", "BTCUSDT", "100.5").await;
    let store = running.store().clone();
    running.stop().await;
    for venue in [&kraken, &binance] {
        venue.wait(|stats| stats.open == 0).await;
        assert!(venue.stats().violations.is_empty(), "{:?}", venue.stats().violations);
    }
    assert_eq!(shown(&store.read("kraken", "BTC/USD").expect("still readable")).as_deref(), Some("100.5"));
}

#[tokio::test]
async fn a_provider_that_cannot_run_fails_with_its_reason_and_runs_when_mended() {
    let venue = still(Kind::CoinGecko, &[("bitcoin", "67248")]).await;
    let config = |rest: &str| section("coingecko", &venue, &format!("ids = [\"bitcoin\"]\n{rest}"));
    let running = Running::start(&config("secrets = { api_key = { file = \"key\" } }"), &["coingecko"]).await;
    let info = || running.status().provider("coingecko").info();
    let reason = until_state(&running, "coingecko", ProviderState::Failed).await;
    assert!(reason.contains("secrets.api_key: ") && reason.contains("key cannot be read"), "{reason}");
    for (rest, expected) in [
        ("secrets = { api_key = { env = \"FEEDGATE_TEST_NOT_SET\" } }", "FEEDGATE_TEST_NOT_SET is not set"),
        (
            "http = { poll_interval_ms = 50 }",
            "http.poll_interval_ms = 50 is beyond the venue's 20000; set loosen_limits",
        ),
        ("http = { max_in_flight = 3 }", "http.max_in_flight = 3 is beyond the venue's 2; set loosen_limits"),
        ("transports = [\"websocket\"]", "transports: the plugin does not speak websocket"),
        ("settings = { plan = \"free\" }", "plan"),
    ] {
        running.write_config(&config(rest));
        running.until(expected, |_| info().reason.contains(expected)).await;
        assert_eq!(info().state, ProviderState::Failed);
        let missing = running.not_ready();
        assert!(matches!(&missing[..], [(_, why)] if why.contains(expected)), "{missing:?}");
    }
    assert_eq!(venue.stats().requests, 0);
    running.write_config(&config("loosen_limits = true\nhttp = { poll_interval_ms = 50 }"));
    running.value("coingecko", "bitcoin", "67248").await;
    assert_eq!((info().state, info().reason), (ProviderState::Running, String::new()));
    running.stop().await;
}
