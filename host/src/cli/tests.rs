//! The commands against the API on a loopback socket.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::time::Instant;

use super::daemon::Address;
use super::reload::How;
use super::time::parse_time;
use super::*;
use crate::api::fake::{ADMIN, Fake};
use crate::config::ApiConfig;
use crate::contract::observation::{Decimal, Key, Observation, UnixNanos, Value};
use crate::status::{BuildInfo, ConfigStatus, ConnectionInfo, PluginStatus, ProviderState, Status};
use crate::store::{Note, Store};

/// A daemon with one fresh id, one rejected, and a provider that waits for its plugin; and what it is shown.
async fn daemon() -> (Address, Fake) {
    started(true).await
}

/// A reload is a good one if `good`.
async fn started(good: bool) -> (Address, Fake) {
    let (store, status) = (Arc::new(Store::default()), Arc::new(Status::default()));
    let slots = store.provider("venue");
    let table = slots.set_ids(&["BTC/USD", "odd, id&name"].map(|id| (id.into(), Duration::from_secs(60))));
    let slot = |key| table.get(Key(key)).expect("just made");
    let value = Value::Decimal(Decimal::new(6_511_420, -2).expect("in range"));
    let observation = Observation { key: Key(0), value, observed_at: None, sequence: None };
    slot(0).write(observation, slots.receipt(0));
    slot(1).set_note(Note::Rejected, "delisted");
    let now = Instant::now();
    status.provider("venue").update(|info| {
        info.enabled = true;
        info.state = ProviderState::Running;
        info.plugin = "venue".to_owned();
        info.plugin_version = "0.1.0".to_owned();
        let connection = ConnectionInfo {
            phase: "waiting",
            since: now,
            url: String::new(),
            ids: 2,
            unconfirmed: 0,
            reconnects: 4,
            failures: 1,
            last_end: Some(("reset by peer".to_owned(), now)),
            next_attempt: Some(now),
            successor: None,
        };
        info.connections.insert(0, connection);
    });
    status.provider("absent").update(|info| {
        info.enabled = true;
        info.plugin = "absent".to_owned();
        info.reason = "plugins/absent.wasm does not exist".to_owned();
    });
    let build = |digest: &str, version: &str, standing, reason: &str| BuildInfo {
        digest: digest.repeat(32),
        version: version.to_owned(),
        standing,
        reason: reason.to_owned(),
        since: UnixNanos(0),
        faults: 2,
    };
    let builds = vec![build("ab", "", "quarantined", "it traps"), build("cd", "0.1.0", "running", "")];
    let pinned = Some(builds[1].digest.clone());
    status.set_plugin("venue", Some(PluginStatus { builds, pinned, ..PluginStatus::default() }));
    status.set_plugin("bad", Some(PluginStatus { error: "not a component".to_owned(), ..PluginStatus::default() }));
    let fake = Fake::start((store, status), (None, Some(ADMIN)), good, ApiConfig::default()).await;
    (address(&fake.address.to_string()), fake)
}

fn address(api: &str) -> Address {
    Address { api: api.to_owned(), ..Address::default() }
}

/// The same, with the token that may change something.
fn admin(address: &Address) -> (Address, tempfile::NamedTempFile) {
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    std::fs::write(file.path(), format!("{ADMIN}\n")).expect("writable");
    (Address { token_file: Some(file.path().to_owned()), ..address.clone() }, file)
}

async fn got(daemon: &Address, id: Option<&str>, fresh: bool, json: bool) -> (Result<Exit, CliError>, String) {
    let (provider, id) = (Some("venue".to_owned()), id.map(str::to_owned));
    let mut out = Vec::new();
    let exit = get::print(&get::Get { daemon: daemon.clone(), provider, id, fresh, json }, &mut out).await;
    (exit, String::from_utf8(out).expect("text"))
}

#[tokio::test]
async fn get_says_whether_everything_is_fresh() {
    let (api, _serving) = daemon().await;
    let (exit, text) = got(&api, Some("BTC/USD"), false, false).await;
    assert!(matches!(exit, Ok(Exit::Fine)), "{exit:?}");
    assert!(text.lines().nth(1).is_some_and(|line| line.starts_with("venue     BTC/USD  65114.20")), "{text}");
    let (exit, text) = got(&api, Some("odd, id&name"), false, false).await;
    assert!(matches!(exit, Ok(Exit::NotFresh)), "{exit:?}");
    assert!(text.contains("rejected  delisted"), "{text}");
    // What is not shown still counts.
    let (exit, text) = got(&api, None, true, true).await;
    assert!(matches!(exit, Ok(Exit::NotFresh)), "{exit:?}");
    let answer: crate::api::Observations = serde_json::from_str(&text).expect("JSON");
    assert_eq!(answer.observations.len(), 1);
    let (exit, _) = got(&api, Some("ETH/USD"), false, false).await;
    let error = exit.expect_err("no such id").to_string();
    assert!(error.contains("no id \"ETH/USD\" at venue; there are: BTC/USD"), "{error}");
}

#[tokio::test]
async fn providers_are_listed_with_their_reasons() {
    let (api, _serving) = daemon().await;
    let mut asked = providers::Providers { daemon: api, ids: true, json: false };
    let mut out = Vec::new();
    providers::print(&asked, &mut out).await.expect("an answer");
    let text = String::from_utf8(out).expect("text");
    for expected in [
        "waiting-for-plugin",
        "plugins/absent.wasm does not exist",
        "1/2  0/1 open, 4 reconnects",
        "connection 0 is waiting since reset by peer",
        "; 1 rejected",
        "odd, id&name",
    ] {
        assert!(text.contains(expected), "{expected:?} is not in\n{text}");
    }
    asked.json = true;
    let mut out = Vec::new();
    providers::print(&asked, &mut out).await.expect("an answer");
    let answer: serde_json::Value = serde_json::from_slice(&out).expect("JSON");
    assert_eq!(answer["providers"][1]["connections"][0]["reconnects"], 4);
    assert_eq!(answer["observations"][1]["reason"], "delisted");
}

#[tokio::test]
async fn a_daemon_that_is_not_there_is_an_error_and_no_empty_answer() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    let api = listener.local_addr().expect("bound").to_string();
    drop(listener);
    let (exit, text) = got(&address(&api), None, false, false).await;
    let error = exit.expect_err("nobody listens").to_string();
    assert!(error.starts_with(&format!("cannot reach the daemon at http://{api}: ")), "{error}");
    assert_eq!(text, "");
}

#[tokio::test]
async fn a_reload_says_what_came_of_it() {
    for (good, how, expected, out, err) in [
        (
            true,
            How::Wait,
            Exit::Fine,
            "PROVIDER  RESULT   REASON\nsame      kept\nvenue     changed  ids: 1 more\n",
            "",
        ),
        (
            false,
            How::Wait,
            Exit::NotDone,
            "PROVIDER  RESULT   REASON\nbad       refused  the plugin refuses its settings\nsame      kept\n\
             venue     changed  ids: 1 more\n",
            "feedgate: feedgate.toml:3: provider.bad.ids: is empty\n",
        ),
        (true, How::Last, Exit::Fine, "nothing was reloaded since the daemon started\n", ""),
        (false, How::Ask, Exit::Fine, "a reload is due; /v1/config will say what came of it\n", ""),
    ] {
        let (reader, _daemon) = started(good).await;
        let (daemon, _token) = admin(&reader);
        let (mut found, mut told) = (Vec::new(), Vec::new());
        let asked = reload::ReloadAsked { daemon, how, json: false };
        let exit = reload::print(&asked, &mut found, &mut told).await.expect("an answer");
        let text = |bytes| String::from_utf8(bytes).expect("text");
        assert_eq!((exit, text(found).as_str(), text(told).as_str()), (expected, out, err));
        let asked = reload::ReloadAsked { daemon: reader, how: How::Wait, ..asked };
        let refused = reload::print(&asked, &mut io::sink(), &mut io::sink()).await;
        let error = refused.expect_err("no token").to_string();
        assert!(error.contains("401") && error.contains("needs a token"), "{error}");
    }
}

#[tokio::test]
async fn the_last_reload_is_told_to_readers() {
    let status = Arc::new(Status::default());
    status.set_config(ConfigStatus { last_reload: Some(crate::api::fake::report(false)), ..ConfigStatus::default() });
    let fake = Fake::start((Arc::default(), status), (None, None), true, ApiConfig::default()).await;
    let daemon = address(&fake.address.to_string());
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let asked = reload::ReloadAsked { daemon, how: How::Last, json: true };
    let exit = reload::print(&asked, &mut out, &mut err).await.expect("an answer");
    let report: crate::api::Reload = serde_json::from_slice(&out).expect("JSON");
    assert_eq!((exit, report), (Exit::NotDone, crate::api::Reload::from(&crate::api::fake::report(false))));
    assert_eq!(err, b"feedgate: feedgate.toml:3: provider.bad.ids: is empty\n");
}

#[tokio::test]
async fn builds_are_listed_and_told_what_to_do() {
    let (reader, _daemon) = daemon().await;
    let text = |bytes| String::from_utf8(bytes).expect("text");
    let mut out = Vec::new();
    builds::print_list(&reader, false, &mut out).await.expect("an answer");
    let list = text(out);
    assert!(list.contains("cdcdcdcdcdcd       2  idle") && list.contains("idle       not a component"), "{list}");
    let mut out = Vec::new();
    builds::print_history(&reader, "venue", false, &mut out).await.expect("an answer");
    let history = text(out);
    for expected in
        ["abababababab  -        quarantined      1970-01-01T00:00:00Z       2  it traps", "0.1.0    running, pinned"]
    {
        assert!(history.contains(expected), "{expected:?} is not in\n{history}");
    }
    assert!(matches!(builds::print_history(&reader, "x", false, &mut io::sink()).await, Ok(Exit::NotDone)));
    let (admin, _token) = admin(&reader);
    for (name, verb, expected) in [
        ("venue", builds::Verb::Rollback, Ok("venue: rolled back\n")),
        ("venue", builds::Verb::Pin(Some("ab".to_owned())), Ok("venue: pinned ab\n")),
        ("venue", builds::Verb::Unpin, Ok("venue: unpinned\n")),
        ("venue", builds::Verb::Release(None), Ok("venue: released \n")),
        ("bad", builds::Verb::Rollback, Err(Exit::NotDone)),
        ("none", builds::Verb::Unpin, Err(Exit::NotDone)),
        ("..", builds::Verb::Rollback, Err(Exit::NotDone)),
    ] {
        let mut out = Vec::new();
        let exit = builds::print_told(&admin, name, &verb, &mut out).await.expect("an answer");
        let out = text(out);
        let found = if exit == Exit::Fine { Ok(out.as_str()) } else { Err(exit) };
        assert_eq!(found, expected, "{name} {verb:?}");
    }
    assert!(builds::print_told(&reader, "venue", &builds::Verb::Unpin, &mut io::sink()).await.is_err(), "no token");
    let missing = Address { token_file: Some("/nowhere/token".into()), ..reader };
    let error = builds::print_list(&missing, false, &mut io::sink()).await.expect_err("no file").to_string();
    assert!(error.starts_with("--token-file: /nowhere/token cannot be read"), "{error}");
}

#[test]
fn times_have_a_unit() {
    for (text, millis) in [("500ms", 500), ("10s", 10_000), ("2m", 120_000), ("1h", 3_600_000)] {
        assert_eq!(parse_time(text), Ok(Duration::from_millis(millis)));
    }
    for bad in ["", "10", "s", "1.5s", "-1s", "10 s", "10d", "99999999999999999999s", "9999999999999999999h"] {
        assert!(parse_time(bad).is_err(), "{bad}");
    }
}
