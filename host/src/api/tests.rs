//! The router over real loopback sockets, and its answers against `openapi.json`.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value as Json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::access::Class;
use super::fake::{ADMIN, Fake, READ, report};
use super::routes::{ROUTES, Route};
use super::server::GRACE;
use super::*;
use crate::config::ApiConfig;
use crate::contract::observation::{Decimal, Observation as Observed, Receipt, UnixNanos, Value as Held, ValueKind};
use crate::logic::schedule::Circuit;
use crate::logic::session::Subscription;
use crate::status::{
    BuildInfo, ConfigStatus, ConnectionInfo, LoadedPlugin, PluginStatus, PollerInfo, ProviderState, Status, Trouble,
};
use crate::store::{Carrier, Note, ProviderSlots, Store};

/// A daemon's state with something of everything: a streaming provider with one id in each state, a polling one
/// without a value, one that is switched off.
fn filled() -> (Arc<Store>, Arc<Status>) {
    let (store, status) = (Arc::new(Store::default()), Arc::new(Status::default()));
    let second = Duration::from_secs(1);
    let slots = store.provider("venue");
    let ids = ["BTC/USD", "old", "odd name %?", "delisted", "null", "flag", "bytes"];
    slots.set_ids(&ids.map(|id| (id.into(), 10 * second)));
    write(&slots, 0, Held::Decimal(Decimal::new(6_511_420, -2).expect("in range")), 0);
    write(&slots, 1, Held::Text("words".to_owned()), 3_600);
    note(&slots, 3, Note::Rejected, "the venue says: delisted");
    note(&slots, 4, Note::Unresolved, "null");
    write(&slots, 5, Held::Flag(false), 0);
    write(&slots, 6, Held::Bytes(vec![0, 255]), 0);
    slots.notify();
    let now = Instant::now();
    status.provider("venue").update(|info| {
        info.enabled = true;
        info.state = ProviderState::Running;
        info.plugin = "venue".to_owned();
        info.plugin_version = "0.1.0".to_owned();
        info.plugin_digest = "sha256:00".to_owned();
        info.kind = Some(ValueKind::Mid);
        let connection = ConnectionInfo {
            phase: "waiting",
            since: now,
            url: "wss://venue.example/stream".to_owned(),
            ids: 7,
            unconfirmed: 1,
            reconnects: 3,
            failures: 1,
            last_end: Some(("reset".to_owned(), now)),
            next_attempt: Some(now + second),
            successor: Some("connecting"),
        };
        info.connections.insert(0, connection);
        info.trouble = Some((Trouble::GeoBlocked, now, "status 451".to_owned()));
    });
    let old = slots.table().get(crate::contract::observation::Key(1)).expect("a key of this test").clone();
    old.set_carrier(Some(Carrier { connection: 0, subscription: Some(Subscription::Acknowledged) }));
    old.count_missed(2);
    // As it was held, then once more, then something older.
    for (sequence, ago) in [(5, Some(3_600)), (5, None), (1, Some(7_200))] {
        let receipt = slots.receipt(0);
        let observed_at = ago.map(|ago: i64| UnixNanos(receipt.at.0 - ago * 1_000_000_000));
        let value = Held::Text("words".to_owned());
        old.write(Observed { key: old.key(), value, observed_at, sequence: Some(sequence) }, receipt);
    }
    store.provider("poll").set_ids(&[("a,b".into(), second)]);
    note(&store.provider("poll"), 0, Note::Down, "refused");
    status.provider("poll").update(|info| {
        info.enabled = true;
        info.state = ProviderState::Running;
        info.plugin = "poll".to_owned();
        info.poller = Some(PollerInfo {
            polls: 1,
            failures: 1,
            last_poll: Some(now),
            next_poll: Some(now + second),
            last_error: "no answer within 5000 ms".to_owned(),
            circuit: Circuit::Open,
            cycle: Some(2 * second),
        });
    });
    status.provider("off").update(|info| {
        info.state = ProviderState::Disabled;
        info.reason = "enabled = false".to_owned();
    });
    let loaded = LoadedPlugin {
        name: "venue".to_owned(),
        version: "0.1.0".to_owned(),
        summary: "a venue".to_owned(),
        digest: "sha256:00".to_owned(),
        size: 1,
        http: false,
        websocket: true,
        loaded_at: UnixNanos(0),
    };
    let build = BuildInfo {
        digest: "00".repeat(32),
        version: "0.1.0".to_owned(),
        standing: "running",
        reason: "the newest good one".to_owned(),
        since: UnixNanos(0),
        faults: 2,
    };
    let good = PluginStatus {
        loaded: Some(loaded),
        providers: vec!["venue".to_owned()],
        pinned: Some(build.digest.clone()),
        builds: vec![build],
        ..PluginStatus::default()
    };
    status.set_plugin("venue", Some(good));
    status.set_plugin("bad", Some(PluginStatus { error: "not a component".to_owned(), ..PluginStatus::default() }));
    let config = ConfigStatus {
        path: "/etc/feedgate.toml".to_owned(),
        loaded_at: Some(UnixNanos(0)),
        error: "line 1: unknown field".to_owned(),
        last_reload: Some(report(false)),
    };
    status.set_config(config);
    (store, status)
}

/// Stores a value that the venue says was true `ago` seconds before.
fn write(slots: &ProviderSlots, key: u32, value: Held, ago: i64) {
    let receipt: Receipt = slots.receipt(0);
    let key = crate::contract::observation::Key(key);
    let observed_at = (ago > 0).then(|| UnixNanos(receipt.at.0 - ago * 1_000_000_000));
    let sequence = (key.0 == 0).then_some(u64::MAX);
    slots.table().get(key).expect("a key of this test").write(Observed { key, value, observed_at, sequence }, receipt);
}

fn note(slots: &ProviderSlots, key: u32, note: Note, reason: &str) {
    slots.table().get(crate::contract::observation::Key(key)).expect("a key of this test").set_note(note, reason);
}

/// An API that is served until dropped.
struct Served(Fake);

impl Served {
    /// Everybody may read, and the admin may change.
    async fn new(made: (Arc<Store>, Arc<Status>)) -> Self {
        Self(Fake::start(made, (None, Some(ADMIN)), true, ApiConfig::default()).await)
    }

    async fn ask(&self, method: &str, target: &str) -> Answer {
        self.ask_with(method, target, "host: localhost\r\n", "").await
    }

    /// `headers` are whole lines.
    async fn ask_with(&self, method: &str, target: &str, headers: &str, body: &str) -> Answer {
        let mut socket = TcpStream::connect(self.0.address).await.expect("listening");
        let length = body.len();
        let request = format!(
            "{method} {target} HTTP/1.1\r\n{headers}connection: close\r\ncontent-length: {length}\r\n\r\n{body}"
        );
        socket.write_all(request.as_bytes()).await.expect("sent");
        let mut answer = String::new();
        socket.read_to_string(&mut answer).await.expect("answered");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
        let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status");
        Answer { status, head: head.to_ascii_lowercase(), body: body.to_owned() }
    }

    /// With the token that may do everything.
    async fn told(&self, method: &str, target: &str, body: &str) -> Answer {
        let headers = format!("host: localhost\r\nauthorization: Bearer {ADMIN}\r\n");
        self.ask_with(method, target, &headers, body).await
    }

    /// As the route wants to be asked, about what `filled` holds.
    async fn asked_as(&self, route: &Route, id: &str) -> Answer {
        let target = route.documented_path().replace("{provider}", "venue").replace("{plugin}", "venue");
        self.told(route.method(), &target.replace("{id}", id), "").await
    }

    async fn get(&self, target: &str) -> Answer {
        self.ask("GET", target).await
    }

    /// The ids of a list, with their providers.
    async fn list(&self, target: &str) -> Vec<String> {
        let answer = self.get(target).await;
        assert_eq!(answer.status, 200, "{target}: {}", answer.body);
        let list: Observations = serde_json::from_str(&answer.body).expect("the documented shape");
        list.observations.into_iter().map(|o| format!("{} {}", o.provider, o.id)).collect()
    }

    #[track_caller]
    fn refused(&self, target: &str, answer: &Answer, status: u16, expected: &str) {
        assert_eq!(answer.status, status, "{target}: {}", answer.body);
        let error = answer.json()["error"].as_str().expect("an error").to_owned();
        assert!(error.contains(expected), "{target}: {error:?} lacks {expected:?}");
    }
}

struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    #[track_caller]
    fn json(&self) -> Json {
        assert!(self.head.contains("content-type: application/json"), "{}", self.head);
        serde_json::from_str(&self.body).expect("JSON")
    }
}

#[tokio::test]
async fn lists_narrow_as_asked() {
    let api = Served::new(filled()).await;
    for (query, expected) in [
        ("?provider=poll", &["poll a,b"][..]),
        ("?provider=poll&provider=off,poll", &["poll a,b"]),
        ("?provider=off", &[]),
        ("?id=BTC/USD&id=a,b&id=BTC%2FUSD", &["venue BTC/USD", "poll a,b"]),
        ("?state=fresh", &["venue BTC/USD", "venue flag", "venue bytes"]),
        ("?fresh=true", &["venue BTC/USD", "venue flag", "venue bytes"]),
        ("?state=stale,provider-down&state=rejected", &["poll a,b", "venue old", "venue delisted"]),
        ("?fresh=true&state=stale", &[]),
        ("?fresh=false&provider=poll", &["poll a,b"]),
        ("/venue?fresh=true&id=flag&id=old", &["venue flag"]),
        ("/poll", &["poll a,b"]),
        ("/off", &[]),
    ] {
        assert_eq!(api.list(&format!("/v1/observations{query}")).await, expected, "{query}");
    }
    assert_eq!(api.list("/v1/observations").await.len(), 8);
}

#[tokio::test]
async fn one_id_is_found_however_its_slashes_are_written() {
    let api = Served::new(filled()).await;
    for target in ["BTC/USD", "BTC%2FUSD", "%42TC%2fUSD"] {
        let answer = api.get(&format!("/v1/observations/venue/{target}")).await.json();
        assert_eq!(answer["value"], "65114.20");
        assert_eq!(answer["kind"], "mid");
        assert_eq!(answer["sequence"], u64::MAX);
        assert_eq!(answer["max_age_ms"], 10_000);
        assert!(answer.get("observed_at").is_none() && answer.get("reason").is_none(), "{answer}");
    }
    let odd = api.get("/v1/observations/venue/odd%20name%20%25%3F").await.json();
    assert_eq!(odd["state"], "waiting");
    assert!(odd.get("value").is_none() && odd.get("age_ms").is_none(), "{odd}");
    let old = api.get("/v1/observations/venue/old").await.json();
    assert_eq!((&old["value"], &old["state"]), (&"words".into(), &"stale".into()));
    assert!(old["age_ms"].as_u64().is_some_and(|age| age >= 3_600_000), "{old}");
    assert!(old["reason"].as_str().is_some_and(|reason| reason.contains("max_age")), "{old}");
    assert_eq!(api.get("/v1/observations/venue/flag").await.json()["value"], false);
    assert_eq!(api.get("/v1/observations/venue/bytes").await.json()["value"]["b64"], "AP8=");
    let rejected = api.get("/v1/observations/venue/delisted").await.json();
    assert_eq!(rejected["reason"], "the venue says: delisted");
}

#[tokio::test]
async fn refusals_say_what_exists() {
    let api = Served::new(filled()).await;
    for (target, status, expected) in [
        ("/v1/observations/kraken", 404, "no provider \"kraken\"; there are: off, poll, venue"),
        ("/v1/observations/kraken/BTC", 404, "no provider \"kraken\""),
        ("/v1/observations/off/BTC", 404, "no id \"BTC\" at none; there are: none"),
        ("/v1/observations/venue/BTC", 404, "no id \"BTC\" at venue; there are: BTC/USD, old"),
        ("/v1/observations?id=BTC/USD,old", 404, "no id \"BTC/USD,old\" at poll, venue"),
        ("/v1/observations?provider=venue,x", 404, "no provider \"x\""),
        ("/v1/observations?state=new", 400, "unknown state \"new\""),
        ("/v1/observations?ids=a&x", 400, "\"ids\", \"x\"; there are: provider, id, state, fresh"),
        ("/v1/observations/venue?provider=poll", 400, "\"provider\"; there are: id, state, fresh"),
        ("/v1/observations/venue/%ff", 400, "the path cannot be read"),
        ("/v1/providers/x", 404, "no provider \"x\""),
        ("/healthz?verbose", 400, "unknown query parameter \"verbose\"; there are: none"),
        ("/v1", 404, "no endpoint \"/v1\"; / lists"),
        ("/v1/observations/venue/", 404, "no endpoint"),
    ] {
        api.refused(target, &api.get(target).await, status, expected);
    }
    for method in ["POST", "DELETE", "PUT"] {
        let answer = api.ask(method, "/v1/observations").await;
        api.refused(method, &answer, 405, "GET and HEAD read");
        assert!(answer.head.contains("allow: get,head"), "{}", answer.head);
    }
}

#[tokio::test]
async fn head_answers_as_get_without_a_body() {
    let api = Served::new(filled()).await;
    for route in ROUTES.iter().filter(|route| !route.path.contains('{') && route.class != Class::Admin) {
        let (head, get) = (api.ask("HEAD", route.path).await, api.get(route.path).await);
        assert_eq!((head.status, head.body.as_str()), (get.status, ""), "{}", route.path);
        assert!(head.head.contains("cache-control: no-store"), "{}", head.head);
    }
    assert_eq!(api.ask("HEAD", "/v1/observations/venue/none").await.status, 404);
}

#[tokio::test]
async fn ready_once_every_enabled_provider_was_fresh() {
    let (store, status) = (Arc::new(Store::default()), Arc::new(Status::default()));
    let api = Served::new((store.clone(), status.clone())).await;
    assert_eq!(api.get("/readyz").await.status, 503, "the files were not looked at yet");
    status.set_settled();
    assert_eq!(api.get("/readyz").await.status, 200, "nothing is configured");
    let slots = store.provider("a");
    slots.set_ids(&[("x".into(), Duration::from_secs(1))]);
    status.provider("a").update(|info| info.enabled = true);
    let answer = api.get("/readyz").await;
    assert_eq!(answer.status, 503);
    assert_eq!(
        answer.json(),
        serde_json::json!({
            "ready": false,
            "missing": [{ "provider": "a", "reason": "not asked for yet" }],
        })
    );
    write(&slots, 0, Held::Flag(true), 0);
    slots.notify();
    let answer = api.get("/readyz").await;
    assert_eq!((answer.status, answer.json()["ready"].as_bool()), (200, Some(true)));
}

#[tokio::test]
async fn metrics_say_their_format() {
    let answer = Served::new(filled()).await.get("/metrics").await;
    assert!(answer.head.contains("content-type: application/openmetrics-text; version=1.0.0; charset=utf-8"));
    assert!(answer.body.ends_with("# EOF\n"), "{}", answer.body);
    assert!(answer.body.contains("feedgate_ids{provider=\"venue\",state=\"fresh\"} 3"), "{}", answer.body);
}

#[tokio::test]
async fn stopping_finishes_what_was_asked_and_waits_for_nobody_else() {
    let mut api = Served::new(filled()).await;
    assert_eq!(api.get("/healthz").await.status, 200);
    // One that never finishes its question.
    let mut slow = TcpStream::connect(api.0.address).await.expect("listening");
    slow.write_all(b"GET /healthz HT").await.expect("sent");
    tokio::time::sleep(Duration::from_millis(50)).await;
    tokio::time::pause();
    drop(api.0.tell.take());
    let ended = tokio::time::timeout(2 * GRACE, api.0.serving.join_next()).await;
    assert!(matches!(ended, Ok(Some(Ok(())))), "{ended:?}");
}

#[tokio::test]
async fn who_may_ask_what() {
    let (reader, admin, wrong) = (Some(READ), Some(ADMIN), Some("something-else-altogether"));
    // What is configured, what is shown, and the answers to /healthz, a question, something unknown and a change.
    for (tokens, shown, expected) in [
        ((None, None), None, [200, 200, 404, 403]),
        ((None, None), wrong, [200, 200, 404, 403]),
        ((reader, None), None, [200, 401, 401, 403]),
        ((reader, None), wrong, [200, 401, 401, 403]),
        ((reader, None), reader, [200, 200, 404, 403]),
        ((None, admin), None, [200, 200, 404, 401]),
        ((None, admin), wrong, [200, 200, 404, 401]),
        ((None, admin), admin, [200, 200, 404, 200]),
        ((reader, admin), None, [200, 401, 401, 401]),
        ((reader, admin), wrong, [200, 401, 401, 401]),
        ((reader, admin), reader, [200, 200, 404, 403]),
        ((reader, admin), admin, [200, 200, 404, 200]),
    ] {
        let api = Served(Fake::start(filled(), tokens, true, ApiConfig::default()).await);
        let shown = shown.map_or_else(String::new, |token| format!("authorization: Bearer {token}\r\n"));
        // A name matters only where there is no token to be shown.
        let host = if tokens.0.is_some() { "feeds.example" } else { "localhost" };
        let headers = format!("host: {host}\r\n{shown}");
        let questions = [("GET", "/healthz"), ("GET", "/metrics"), ("GET", "/unknown"), ("POST", "/v1/reload")];
        for ((method, target), expected) in questions.into_iter().zip(expected) {
            let answer = api.ask_with(method, target, &headers, "").await;
            assert_eq!(answer.status, expected, "{tokens:?} {headers:?} {target}: {}", answer.body);
            assert_eq!(answer.head.contains("www-authenticate: bearer realm="), expected == 401, "{}", answer.head);
            assert!(answer.head.contains("cache-control: no-store"), "{}", answer.head);
        }
    }
}

#[tokio::test]
async fn a_web_page_cannot_call_this_machine_by_a_name_of_its_own() {
    let api = Served::new(filled()).await;
    for (headers, status) in [
        ("host: rebound.example:8787\r\n", 403),
        ("host: localhost\r\nhost: rebound.example\r\n", 403),
        ("host: [::1]:8787\r\n", 200),
        ("", 200),
    ] {
        let answer = api.ask_with("GET", "/v1/observations", headers, "").await;
        assert_eq!(answer.status, status, "{headers:?}: {}", answer.body);
        assert_eq!(api.ask_with("GET", "/healthz", headers, "").await.status, 200);
    }
    // What a browser asks before it sends a header of a page's choice.
    let ahead = "host: localhost\r\norigin: https://page.example\r\naccess-control-request-method: POST\r\n\
                 access-control-request-headers: authorization\r\n";
    let answer = api.ask_with("OPTIONS", "/v1/observations", ahead, "").await;
    assert!(answer.status == 405 && !answer.head.contains("access-control-allow"), "{}", answer.head);
}

#[tokio::test]
async fn changes_are_told_and_their_refusals_too() {
    let api = Served::new(filled()).await;
    let digest = r#"{"digest":"00ab"}"#;
    for (target, body, status, expected) in [
        ("/v1/reload", "", 200, "\"result\":\"changed\",\"reason\":\"ids: 1 more\""),
        ("/v1/reload?wait=true", "{}", 200, "\"ok\":true"),
        ("/v1/reload?wait=false", "", 202, "a reload is due"),
        ("/v1/reload?wait=no", "", 400, "wait is true or false"),
        ("/v1/reload?later", "", 400, "unknown query parameter"),
        ("/v1/reload", digest, 400, "no digest can be chosen here"),
        ("/v1/rotate", "", 202, "every connection is being replaced"),
        ("/v1/providers/venue/rotate", "", 202, "every connection of venue"),
        ("/v1/providers/off/rotate", "", 409, "off is not running"),
        ("/v1/providers/x/rotate", "", 404, "no provider \\\"x\\\"; there are: off, poll, venue"),
        ("/v1/plugins/venue/rollback", "", 200, "venue: rolled back"),
        ("/v1/plugins/venue/rollback", digest, 400, "no digest can be chosen here"),
        ("/v1/plugins/venue/pin", "", 200, "venue: pinned "),
        ("/v1/plugins/venue/pin", digest, 200, "venue: pinned 00ab"),
        ("/v1/plugins/venue/release", digest, 200, "venue: released 00ab"),
        ("/v1/plugins/venue/unpin", "{}", 200, "venue: unpinned"),
        ("/v1/plugins/bad/pin", "", 409, "there is no other build"),
        ("/v1/plugins/none/pin", "", 404, "no plugin \\\"none\\\"; there are: bad, venue"),
        ("/v1/plugins/venue/pin", "\"00\"", 400, "the body is not"),
        ("/v1/plugins/venue/pin", r#"{"digest":"../x"}"#, 400, "is no digest"),
        ("/v1/plugins/venue/pin", r#"{"build":"00"}"#, 400, "unknown field"),
    ] {
        let answer = api.told("POST", target, body).await;
        assert_eq!(answer.status, status, "{target} {body}: {}", answer.body);
        assert!(answer.body.contains(expected), "{target} {body}: {}", answer.body);
    }
    let asked = api.told("GET", "/v1/reload", "").await;
    api.refused("/v1/reload", &asked, 405, "POST changes");
    let long = "x".repeat(4097);
    let answer = api.told("POST", "/v1/plugins/venue/pin", &long).await;
    api.refused("a long body", &answer, 413, "4096 bytes");
}

fn openapi() -> Json {
    serde_json::from_str(include_str!("openapi.json")).expect("valid JSON")
}

/// What `$ref` points at, or the schema itself.
fn resolve<'a>(document: &'a Json, schema: &'a Json) -> &'a Json {
    match schema["$ref"].as_str() {
        Some(reference) => {
            document.pointer(reference.trim_start_matches('#')).expect("a reference that leads somewhere")
        }
        None => schema,
    }
}

/// As much of JSON Schema as the document uses.
fn fits(document: &Json, schema: &Json, found: &Json) -> Result<(), String> {
    let schema = resolve(document, schema);
    if let Some(choices) = schema["oneOf"].as_array() {
        let fitting = choices.iter().filter(|choice| fits(document, choice, found).is_ok()).count();
        return if fitting == 1 { Ok(()) } else { Err(format!("{fitting} choices fit {found}")) };
    }
    let right_type = match schema["type"].as_str() {
        Some("object") => found.is_object(),
        Some("array") => found.is_array(),
        Some("string") => found.is_string(),
        Some("boolean") => found.is_boolean(),
        Some("integer") => found.is_u64(),
        other => return Err(format!("type {other:?} in {schema}")),
    };
    if !right_type {
        return Err(format!("{found} is no {}", schema["type"]));
    }
    if schema["enum"].as_array().is_some_and(|words| !words.contains(found)) {
        return Err(format!("{found} is none of {}", schema["enum"]));
    }
    for item in found.as_array().into_iter().flatten() {
        fits(document, &schema["items"], item)?;
    }
    for name in schema["required"].as_array().into_iter().flatten() {
        if found.get(name.as_str().unwrap_or_default()).is_none() {
            return Err(format!("{name} is missing in {found}"));
        }
    }
    if let (Some(fields), Some(properties)) = (found.as_object(), schema["properties"].as_object()) {
        for (name, value) in fields {
            let property = properties.get(name).ok_or_else(|| format!("{name} is not documented"))?;
            fits(document, property, value).map_err(|error| format!("{name}: {error}"))?;
        }
    }
    Ok(())
}

#[test]
fn every_route_is_documented_and_nothing_else_is() {
    let document = openapi();
    let paths = document["paths"].as_object().expect("paths");
    let documented: BTreeSet<String> = paths.keys().cloned().collect();
    let routed: BTreeSet<String> = ROUTES.iter().map(|route| route.documented_path()).collect();
    assert_eq!(documented, routed);
    for route in &ROUTES {
        let path = route.documented_path();
        let operation = &paths[&path][route.method().to_ascii_lowercase()];
        let security = match route.class {
            Class::Open => serde_json::json!([]),
            Class::Read => Json::Null,
            Class::Admin => serde_json::json!([{ "adminToken": [] }]),
        };
        assert_eq!(operation["security"], security, "{path}");
        let parameters = operation["parameters"].as_array().cloned().unwrap_or_default();
        let named = |place: &str| -> Vec<String> {
            let parameters = parameters.iter().map(|parameter| resolve(&document, parameter));
            let here = parameters.filter(|parameter| parameter["in"] == place);
            here.map(|parameter| parameter["name"].as_str().expect("a name").to_owned()).collect()
        };
        assert_eq!(named("query"), route.parameters, "{path}");
        let in_path: Vec<String> =
            path.split('/').filter_map(|part| Some(part.strip_prefix('{')?.trim_end_matches('}').to_owned())).collect();
        assert_eq!(named("path"), in_path, "{path}");
    }
}

/// The answers of a daemon with everything and of one with nothing fit the document.
#[tokio::test]
async fn answers_have_the_documented_shape() {
    let document = openapi();
    for (made, some) in [(filled(), true), (Default::default(), false)] {
        let api = Served::new(made).await;
        for route in &ROUTES {
            let path = route.documented_path();
            let answer = api.asked_as(route, "BTC/USD").await;
            assert!(!some || matches!(answer.status, 200 | 202 | 503), "{path}: {}", answer.body);
            let method = route.method().to_ascii_lowercase();
            let described = &document["paths"][&path][method]["responses"][answer.status.to_string()];
            let content = resolve(&document, described)["content"].as_object();
            let (format, content) = content.and_then(|all| all.iter().next()).expect("a described answer");
            assert!(answer.head.contains(&format!("content-type: {format}")), "{path}: {}", answer.head);
            if format == "application/json" {
                let fit = fits(&document, &content["schema"], &answer.json());
                assert_eq!(fit, Ok(()), "{path}: {}", answer.body);
            }
        }
    }
}

/// Each documented field is one that some answer has: the document promises nothing that is not there.
#[tokio::test]
async fn every_documented_field_occurs() {
    let api = Served::new(filled()).await;
    let mut seen = BTreeSet::new();
    for route in &ROUTES {
        let path = route.documented_path();
        let answer = api.asked_as(route, "old").await;
        if path != "/openapi.json" && path != "/metrics" {
            note_fields(&answer.json(), &mut seen);
        }
    }
    note_fields(&api.get("/v1").await.json(), &mut seen);
    let document = openapi();
    for (name, schema) in document["components"]["schemas"].as_object().expect("schemas") {
        for field in schema["properties"].as_object().into_iter().flat_map(|fields| fields.keys()) {
            assert!(seen.contains(field), "{name}.{field} occurs in no answer");
        }
    }
}

fn note_fields(found: &Json, seen: &mut BTreeSet<String>) {
    for (name, value) in found.as_object().into_iter().flatten() {
        seen.insert(name.clone());
        note_fields(value, seen);
    }
    for item in found.as_array().into_iter().flatten() {
        note_fields(item, seen);
    }
}
