//! A secret goes where it was granted and nowhere else: the real binary, all that it logs and all that it answers, with
//! venues that say our key back to us and a plugin that says what it hears.

use std::sync::{Arc, Mutex};

use feedgate_tests::{Peer, Reply, Request, Response, ScriptedHttp, ScriptedWs};
use serde_json::Value as Json;

use crate::command::{Process, built, directory, get, get_until};
use crate::support::eventually;

/// Lower case, for it is to be a host's name once.
const KEY: &str = "k3y-0verysecret0-24680";
/// What base64 makes of `user:KEY`.
const BASIC: &str = "dXNlcjprM3ktMHZlcnlzZWNyZXQwLTI0Njgw";

async fn answering(status: u16, body: &'static str) -> ScriptedHttp {
    let answer = move |_: Request| Reply::Send(Response::new(status, "text/plain", body));
    ScriptedHttp::start(answer).await.expect("a free port")
}

async fn saying(frame: &'static str, close: &'static str) -> ScriptedWs {
    let script = move |mut peer: Peer| async move {
        let _ = peer.recv().await;
        let _ = peer.send(frame).await;
        if close.is_empty() {
            peer.gone().await;
        } else {
            let _ = peer.close(1008, close).await;
        }
    };
    ScriptedWs::start(script).await.expect("a free port")
}

fn section(name: &str, transport: &str, origin: &str, settings: &str) -> String {
    let scheme = if transport == "http" { "https" } else { "wss" };
    format!(
        "[provider.{name}]\nplugin = \"guest\"\nids = [\"a\"]\ntransports = [\"{transport}\"]\n\
         redirect_origins = {{ \"{scheme}://guest.example.com\" = \"{origin}\" }}\nrefused_wait_ms = 100\n\
         websocket = {{ backoff_first_ms = 20, backoff_max_ms = 200 }}\n\
         http = {{ backoff_first_ms = 20, backoff_max_ms = 200 }}\n\
         secrets = {{ key = {{ env = \"FEEDGATE_TEST_KEY\" }} }}\nsettings = {settings}\n"
    )
}

/// Everything the daemon says: its log and each answer of its API.
async fn said(daemon: &Process) -> String {
    let mut said = daemon.log();
    for target in ["/v1/observations", "/v1/providers", "/v1/plugins", "/v1/config", "/metrics", "/readyz"] {
        said += &get(&daemon.api, target).await.1;
    }
    said
}

#[tokio::test(flavor = "multi_thread")]
async fn a_venue_that_says_the_key_back_is_not_repeated() {
    built().await;
    let refusing = answering(401, KEY).await;
    // A refusal would stand in the place of what it says.
    let (echoing, encoding) = (answering(200, KEY).await, answering(200, BASIC).await);
    let leading = {
        let answer = |_: Request| {
            Reply::Send(Response::new(302, "text/plain", "").with_header("location", format!("https://{KEY}.example/")))
        };
        ScriptedHttp::start(answer).await.expect("a free port")
    };
    let (talking, closing) = (saying(KEY, "").await, saying("0 1.5", KEY).await);
    let with_key = "{ header = [\"x-key\", \"${secret.key}\"], tell = true }";
    let upgrade_refused = refusing.origin().replace("http://", "ws://");
    let config = [
        section("echoed", "http", &echoing.origin(), with_key),
        section("encoded", "http", &encoding.origin(), with_key),
        section("led", "http", &leading.origin(), with_key),
        section("shaken", "websocket", &upgrade_refused, with_key),
        section("talked", "websocket", &talking.origin(), with_key),
        section("closed", "websocket", &closing.origin(), with_key),
    ];
    let place = directory(&config.concat(), &["guest"]);
    let daemon = Process::run(place.path(), &[("FEEDGATE_TEST_KEY", KEY)]).await;
    for (provider, words) in [
        ("echoed", "could not be read: [secret key]"),
        ("encoded", "[secret key]"),
        ("led", "https://[secret key].example is not granted"),
        ("shaken", "with status 401: [secret key]"),
        ("talked", "no space in [secret key]"),
        ("closed", "with code 1008 [secret key]"),
    ] {
        let told = |_, body: &str| body.contains(words);
        get_until(&daemon.api, &format!("/v1/observations/{provider}"), told).await;
    }
    // What the plugin heard and logged.
    let logged = || (daemon.log().matches("WARN").count() > 0 && daemon.log().contains(" [secret key]")).then_some(());
    eventually(logged, || daemon.log()).await;
    let said = said(&daemon).await.to_lowercase();
    for form in ["verysecret", &BASIC[8..28].to_lowercase()] {
        let line = said.lines().find(|line| line.contains(form));
        assert!(line.is_none(), "{form}: {line:?}");
    }
    assert_eq!(daemon.exit("-TERM").await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_placeholder_is_filled_for_a_granted_origin_only() {
    built().await;
    let seen: Arc<Mutex<Vec<Request>>> = Arc::default();
    let keep = seen.clone();
    let answer = move |request: Request| {
        keep.lock().expect("no panic").push(request);
        Reply::Send(Response::new(200, "text/plain", "0 1.5"))
    };
    let http = ScriptedHttp::start(answer).await.expect("a free port");
    let dialed: Arc<Mutex<Vec<Request>>> = Arc::default();
    let keep = dialed.clone();
    let script = move |mut peer: Peer| {
        keep.lock().expect("no panic").push(peer.request().clone());
        async move {
            let _ = peer.recv().await;
            let _ = peer.send("0 1.5").await;
            peer.gone().await;
        }
    };
    let ws = ScriptedWs::start(script).await.expect("a free port");
    let settings = |scheme: &str, host: &str| {
        format!(
            "{{ say = \"my key is ${{secret.key}}\", url = \"{scheme}://{host}/?k=${{secret.key}}\", \
             header = [\"x-key\", \"${{secret.key}}\"] }}"
        )
    };
    let config = [
        section("poll", "http", &http.origin(), &settings("https", "guest.example.com")),
        section("stream", "websocket", &ws.origin(), &settings("wss", "guest.example.com")),
        section("poll-evil", "http", &http.origin(), &settings("https", "evil.example.com")),
        section("stream-evil", "websocket", &ws.origin(), &settings("wss", "evil.example.com")),
    ];
    let place = directory(&config.concat(), &["guest"]);
    let daemon = Process::run(place.path(), &[("FEEDGATE_TEST_KEY", KEY)]).await;
    for provider in ["poll", "stream"] {
        get_until(&daemon.api, &format!("/v1/observations/{provider}"), |_, body| body.contains("\"1.5\"")).await;
    }
    for provider in ["poll-evil", "stream-evil"] {
        let told = |_, body: &str| body.contains("evil.example.com is not granted");
        get_until(&daemon.api, &format!("/v1/observations/{provider}"), told).await;
    }
    let line = || daemon.log().contains("my key is ${secret.key}").then_some(());
    eventually(line, || daemon.log()).await;
    for seen in [&seen, &dialed] {
        let first = seen.lock().expect("no panic").first().cloned().expect("it was asked");
        assert_eq!((first.target.as_str(), first.header("x-key")), (&*format!("/?k={KEY}"), Some(KEY)));
    }
    let said = said(&daemon).await;
    let line = said.lines().find(|line| line.contains("verysecret"));
    assert!(line.is_none(), "{line:?}");
    let provider: Json = serde_json::from_str(&get(&daemon.api, "/v1/providers/stream").await.1).expect("JSON");
    assert!(provider.to_string().contains("wss://guest.example.com/"), "{provider:#}");
    assert_eq!(daemon.exit("-TERM").await, Some(0));
}
