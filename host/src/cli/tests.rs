//! The commands against the API on a loopback socket.

use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::*;
use crate::observation::{Decimal, Key, Observation, Value};
use crate::status::{ConnectionInfo, ProviderState, Status};
use crate::store::Note;

/// Where a daemon listens, with one fresh id, one rejected, and a provider that waits for its plugin. It serves as
/// long as the set lives.
async fn daemon() -> (String, JoinSet<io::Result<()>>) {
    let status = Arc::new(Status::default());
    let slots = status.store.provider("venue");
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
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    let address = listener.local_addr().expect("bound").to_string();
    let mut serving = JoinSet::new();
    serving.spawn(crate::api::serve(listener, status, std::future::pending()));
    (address, serving)
}

async fn got(api: &str, id: Option<&str>, fresh: bool, json: bool) -> (Result<Exit, CliError>, String) {
    let (provider, id) = (Some("venue".to_owned()), id.map(str::to_owned));
    let mut out = Vec::new();
    let exit = get::print(&get::Get { api: api.to_owned(), provider, id, fresh, json }, &mut out).await;
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
    let mut asked = providers::Providers { api, ids: true, json: false };
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
    let (exit, text) = got(&api, None, false, false).await;
    let error = exit.expect_err("nobody listens").to_string();
    assert!(error.starts_with(&format!("cannot reach the daemon at http://{api}: ")), "{error}");
    assert_eq!(text, "");
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
