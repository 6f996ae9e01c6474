//! The command as people and scripts use it: the real binary, its exit codes and its words; and the API over HTTP.

use std::path::PathBuf;
use std::time::Duration;

use feedgate::store::State;
use feedgate_tests::{Fault, Kind, Options, ScriptedProxy};
use serde_json::Value as Json;
use tempfile::TempDir;
use tokio::net::TcpStream;

use crate::command::{
    Process, built, call, called, called_with, directory, get, get_json, get_until, kraken, list, path, section, text,
};
use crate::support::{Running, bytes_of, compiled, eventually, redirected};

mod plugins;

#[test]
fn the_demo_shows_every_id_fresh() {
    let plugins = TempDir::new().expect("a temporary directory");
    for &kind in Kind::ALL {
        let file = compiled(kind.name());
        std::fs::copy(file, plugins.path().join(file.file_name().expect("a file"))).expect("writable");
    }
    let ended = call(&["demo", "--for", "60s", "--json", "--plugins", path(plugins.path())]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let report = ended.json();
    assert_eq!((&report["ok"], list(&report, "never_fresh").len()), (&Json::Bool(true), 0));
    assert_eq!(list(&report, "providers").len(), Kind::ALL.len());
    assert!(list(&report, "observations").iter().all(|observation| observation["state"] == "fresh"));
    assert_eq!(Some(list(&report, "observations").len() as u64), report["ids"].as_u64());

    let empty = TempDir::new().expect("a temporary directory");
    call(&["demo", "--for", "1s", "--json", "--plugins", path(empty.path())]).fails(2, &["no .wasm files"]);
}

#[tokio::test]
async fn a_running_daemon_is_read_told_to_reload_and_stopped() {
    built().await;
    let venue = kraken().await;
    let place = directory(&section("kraken", &venue, "ids = [\"BTC/USD\", \"ETH/USD\"]"), &["kraken"]);
    let daemon = Process::run(place.path(), &[]).await;
    let api = format!("http://{}", daemon.api);
    eventually(|| (venue.stats().subscriptions == 2).then_some(()), || daemon.log()).await;
    get_until(&daemon.api, "/readyz", |status, _| status == 200).await;

    let ended = called(&["get", "--api", &api]).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(["BTC/USD", "100.5", "ETH/USD", "20.25", "fresh"].iter().all(|word| ended.out.contains(word)), "{ended:?}");
    let one = called(&["get", "kraken", "BTC/USD", "--json", "--api", &daemon.api]).await;
    let said = one.json();
    let words = ["value", "kind"].map(|field| text(&said, &format!("/observations/0/{field}")));
    assert_eq!((one.code, words), (Some(0), ["100.5", "last-trade"]));
    let unknown = called(&["get", "kraken", "NOPE", "--api", &api]).await;
    unknown.fails(2, &["404", "no id \"NOPE\" at kraken; there are: BTC/USD, ETH/USD"]);

    let providers = called(&["providers", "--json", "--api", &api]).await;
    let said = providers.json();
    assert_eq!((text(&said, "/providers/0/name"), text(&said, "/providers/0/state")), ("kraken", "running"));
    let fresh = |observation: &&Json| observation["state"] == "fresh";
    assert_eq!(list(&said, "observations").iter().filter(fresh).count(), 2);
    let table = called(&["providers", "--api", &api]).await;
    assert!(table.out.contains("2/2") && table.out.contains("1/1 open"), "{table:?}");
    assert!(!table.out.contains("ETH/USD"), "{table:?}");
    let ids = called(&["providers", "--ids", "--api", &api]).await;
    assert!(ids.out.contains("2/2") && ids.out.contains("ETH/USD"), "{ids:?}");
    let watched = called(&["watch", "--for", "1s", "--json", "--api", &api]).await;
    assert_eq!(watched.code, Some(0), "{watched:?}");
    let lines: Vec<Json> =
        watched.out.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect();
    assert!(lines.iter().any(|line| line["id"] == "ETH/USD" && line["value"] == "20.25"), "{lines:?}");

    let applied = "feedgate_config_reloads_total{result=\"applied\"} 1";
    assert!(!get(&daemon.api, "/metrics").await.1.contains(applied));
    daemon.signal("-HUP");
    get_until(&daemon.api, "/metrics", |_, metrics| metrics.contains(applied)).await;
    assert_eq!(venue.stats().connects, 1);
    // Every connection is replaced, and the old one left once the new one serves.
    daemon.signal("-USR1");
    venue.wait(|stats| stats.connects == 2 && stats.open == 1 && stats.subscriptions == 2).await;
    assert!(!daemon.log().contains('\x1b'), "colours are for terminals: {}", daemon.log());
    assert_eq!(daemon.exit("-TERM").await, Some(0));
    venue.wait(|stats| stats.open == 0).await;
    let gone = called(&["get", "--api", &api]).await;
    gone.fails(2, &["cannot reach the daemon at", &api]);
}

/// What a process holds: open files, threads, KiB of memory.
#[derive(Debug)]
struct Held {
    files: usize,
    threads: usize,
    memory: usize,
}

/// None where there is no `/proc`.
fn held(process: u32) -> Option<Held> {
    let place = PathBuf::from(format!("/proc/{process}"));
    let entries = |name: &str| Some(std::fs::read_dir(place.join(name)).ok()?.count());
    let status = std::fs::read_to_string(place.join("status")).ok()?;
    let memory = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB"));
    Some(Held { files: entries("fd")?, threads: entries("task")?, memory: memory?.trim().parse().ok()? })
}

/// Venues that are cut, fall silent, refuse and come back, again and again: everything comes back, and nothing stays
/// behind of what was lost.
#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_lost_connections_leave_nothing_behind() {
    if held(std::process::id()).is_none() {
        eprintln!("skipped: there is no /proc");
        return;
    }
    built().await;
    let rows = [
        (Kind::Binance, "websocket"),
        (Kind::Binance, "http"),
        (Kind::Htx, "websocket"),
        (Kind::Kraken, "websocket"),
        (Kind::Mexc, "websocket"),
    ];
    let mut config = String::new();
    let mut venues = Vec::new();
    for (number, (kind, transport)) in rows.into_iter().enumerate() {
        let options = Options { tick: Some(Duration::from_millis(50)), ..Options::default() };
        let venue = crate::support::venue(kind, options).await;
        let rest = format!(
            "plugin = \"{}\"\ntransports = [\"{transport}\"]\nloosen_limits = true\nmax_age_ms = 1000\n\
             websocket = {{ backoff_first_ms = 50, backoff_max_ms = 200, connect_timeout_ms = 300, \
             idle_timeout_ms = 300, max_message_kib = 64 }}\nhttp = {{ poll_interval_ms = 100, timeout_ms = 300, \
             max_body_kib = 64, backoff_first_ms = 50, backoff_max_ms = 200 }}",
            kind.name()
        );
        config += &section(&format!("p{number}"), &venue, &rest);
        venues.push(venue);
    }
    let place = directory(&config, &["binance", "htx", "kraken", "mexc"]);
    let daemon = Process::run(place.path(), &[]).await;
    let all_fresh = || async {
        let fresh = |_, body: &str| {
            let said: Json = serde_json::from_str(body).expect("JSON");
            let observations = list(&said, "observations");
            observations.len() == 2 * rows.len() && observations.iter().all(|it| it["state"] == "fresh")
        };
        get_until(&daemon.api, "/v1/observations", fresh).await;
    };
    all_fresh().await;
    let first = held(daemon.child.id()).expect("it runs");

    let faults = [Fault::None, Fault::Hang, Fault::Refuse, Fault::CloseAfterAccept, Fault::HugeBody(1 << 20)];
    for round in 0..20 {
        let fault = &faults[round % faults.len()];
        let before: Vec<u64> = venues.iter().map(|venue| venue.stats().accepts).collect();
        for venue in &venues {
            venue.set_fault(fault.clone());
            venue.cut();
        }
        for (venue, before) in venues.iter().zip(before) {
            // Two further attempts, or the one that is enough where nothing is wrong.
            let attempts = if *fault == Fault::None { 1 } else { 2 };
            venue.wait(|stats| stats.accepts >= before + attempts).await;
            venue.set_fault(Fault::None);
        }
        all_fresh().await;
    }
    let lost: u64 = venues.iter().map(|venue| venue.stats().accepts).sum();
    assert!(lost > 100, "only {lost} connections");

    // A connection of ours to the API, or one that is just being replaced, may be counted in either.
    let back = || {
        let now = held(daemon.child.id()).expect("it runs");
        (now.files <= first.files + 2 && now.threads <= first.threads).then_some(now)
    };
    let now = eventually(back, || format!("{first:?} at first, {:?} at last", held(daemon.child.id()))).await;
    assert!(now.memory <= 2 * first.memory, "{first:?} at first, {now:?} at last");
    all_fresh().await;
    assert_eq!(daemon.exit("-TERM").await, Some(0));
}

#[tokio::test]
async fn the_second_daemon_on_an_address_says_which_setting_to_change() {
    let first = Process::run(directory("", &[]).path(), &[]).await;
    let place = directory(&format!("[api]\nlisten = \"{}\"\n", first.api), &[]);
    let config = place.path().join("feedgate.toml");
    let second = called(&["run", "--config", path(&config), "--log", "off"]).await;
    second.fails(2, &["cannot listen on", &first.api, "api.listen"]);
    assert_eq!(first.exit("-INT").await, Some(0));
    let missing = called(&["run", "--config", "/nowhere/feedgate.toml"]).await;
    missing.fails(2, &["/nowhere/feedgate.toml: cannot be read"]);
}

#[tokio::test]
async fn a_secret_reaches_the_venue_and_nothing_else() {
    const KEY: &str = "CG-verysecret/+&=key";
    built().await;
    let options = Options { key: Some(KEY.to_owned()), ..Options::still().with_prices([("bitcoin", "67248")]) };
    let venue = crate::support::venue(Kind::CoinGecko, options).await;
    let config = |source: &str| {
        let rest = format!(
            "ids = [\"bitcoin\"]\nloosen_limits = true\nhttp = {{ poll_interval_ms = 100 }}\n\
             settings = {{ plan = \"demo\" }}\nsecrets = {{ api_key = {source} }}"
        );
        section("coingecko", &venue, &rest)
    };
    for source in ["{ env = \"FEEDGATE_TEST_KEY\" }", "{ file = \"key\" }", "{ credential = \"key\" }"] {
        let place = directory(&config(source), &["coingecko"]);
        std::fs::write(place.path().join("key"), format!("{KEY}\n")).expect("writable");
        let environment = [("FEEDGATE_TEST_KEY", KEY), ("CREDENTIALS_DIRECTORY", path(place.path()))];
        let daemon = Process::run(place.path(), &environment).await;
        let before = venue.stats().requests;
        get_until(&daemon.api, "/readyz", |status, _| status == 200).await;
        venue.wait(|stats| stats.requests > before).await;
        let request = venue.stats().last_request.expect("just counted");
        assert_eq!(request.header("x-cg-demo-api-key"), Some(KEY), "{source}");
        assert!(!request.target.contains("CG-"), "{}", request.target);
        let mut said = daemon.log();
        assert!(said.contains("coingecko"), "it logs everything: {said}");
        for target in ["/v1/observations", "/v1/providers", "/v1/plugins", "/v1/config", "/metrics", "/readyz"] {
            said += &get(&daemon.api, target).await.1;
        }
        assert!(!said.contains("verysecret"), "{said}");
        assert_eq!(daemon.exit("-TERM").await, Some(0));
    }

    let wrong = directory(&config("{ env = \"FEEDGATE_TEST_KEY\" }"), &["coingecko"]);
    let daemon = Process::run(wrong.path(), &[("FEEDGATE_TEST_KEY", "CG-verywrong")]).await;
    let refused = get_until(&daemon.api, "/v1/providers", |_, body| body.contains("last_error")).await;
    assert!(refused.contains("401") || refused.contains("API Key Missing"), "{refused}");
    assert!(!(refused + &daemon.log()).contains("verywrong"));
}

/// More readers than there are descriptors: the API goes on once there are some again, and the daemon anyway.
#[cfg(unix)]
#[tokio::test]
async fn an_api_without_descriptors_waits_for_some() {
    const FILES: usize = 64;
    let daemon = Process::limited(directory("", &[]).path(), FILES).await;
    let mut open = Vec::new();
    for _ in 0..FILES {
        open.push(TcpStream::connect(&daemon.api).await.expect("the system takes them for it"));
    }
    let failed = || daemon.log().contains("the API cannot accept connections now").then_some(());
    eventually(failed, || daemon.log()).await;
    open.clear();
    assert_eq!(get(&daemon.api, "/healthz").await.0, 200);
    assert_eq!(daemon.exit("-TERM").await, Some(0));
}

#[tokio::test]
async fn the_apis_tokens_are_shown_nowhere() {
    built().await;
    let (read, admin) = ("the-token-of-readers", "the-token-of-admins");
    let api = "[api]\nlisten = \"127.0.0.1:0\"\ntoken = { env = \"FEEDGATE_TEST_READ\" }\n\
               admin_token = { env = \"FEEDGATE_TEST_ADMIN\" }\n";
    let place = directory(api, &[]);
    let daemon = Process::run(place.path(), &[("FEEDGATE_TEST_READ", read), ("FEEDGATE_TEST_ADMIN", admin)]).await;
    let shown = async |token, arguments: &[&str]| {
        called_with(arguments, &[("FEEDGATE_TOKEN", token), ("FEEDGATE_API", &daemon.api)]).await
    };
    let mut said = String::new();
    for (token, code) in [(read, 2), (admin, 0), ("the-token-of-nobody", 2), ("", 2)] {
        for (arguments, code) in [
            (&["reload", "--wait", "--json", "--log", "trace"][..], code),
            (&["reload", "--last"], if token == read { 0 } else { code }),
        ] {
            let ended = shown(token, arguments).await;
            assert_eq!(ended.code, Some(code), "{token} {arguments:?}: {ended:?}");
            said += &(ended.out + &ended.err);
        }
    }
    said += &daemon.log();
    assert!(said.contains("the API refuses") && !said.contains("the-token-of"), "{said}");
    assert_eq!(daemon.exit("-TERM").await, Some(0));
}

/// Each way of each transport through a proxy that wants a password; the last one gets as far as its CONNECT.
#[tokio::test(flavor = "multi_thread")]
async fn a_proxys_password_reaches_the_proxy_and_nothing_else() {
    built().await;
    let kraken = crate::support::venue(Kind::Kraken, Options::default()).await;
    let connect = ScriptedProxy::http(Some("Basic bWU6cHIweHl3b3Jk")).await.expect("a free port");
    let socks = ScriptedProxy::socks5(Some(("me", "pr0xyword"))).await.expect("a free port");
    let plain = redirected(&kraken);
    let secure = plain.replace("= \"http://", "= \"https://");
    let (connect_url, socks_url) = (connect.url("me:pr0xyword@"), socks.url("me:pr0xyword@"));
    let mut config = String::new();
    for (name, transport, redirects, proxy) in [
        ("stream-connect", "websocket", &plain, &connect_url),
        ("stream-socks", "websocket", &plain, &socks_url),
        ("poll-socks", "http", &plain, &socks_url),
        ("poll-connect", "http", &secure, &connect_url),
    ] {
        config += &format!(
            "[provider.{name}]\nplugin = \"kraken\"\ntransports = [\"{transport}\"]\n{redirects}\n\
             network.proxy = \"{proxy}\"\nhttp = {{ backoff_first_ms = 20, backoff_max_ms = 100 }}\n"
        );
    }
    let place = directory(&config, &["kraken"]);
    let daemon = Process::run(place.path(), &[]).await;
    for name in ["stream-connect", "stream-socks", "poll-socks"] {
        get_until(&daemon.api, &format!("/v1/providers/{name}"), |_, body| body.contains("\"fresh\":2")).await;
    }
    // A venue without TLS has no answer to it.
    let waited = |_, body: &str| body.contains("no answer within");
    get_until(&daemon.api, "/v1/observations/poll-connect", waited).await;
    let here = kraken.http_origin().expect("it is polled too").replace("http://", "");
    assert!(connect.asked().iter().filter(|asked| **asked == here).count() >= 2, "{:?}", connect.asked());
    let mut said = daemon.log();
    for target in ["/v1/observations", "/v1/providers", "/v1/config", "/metrics", "/readyz"] {
        said += &get(&daemon.api, target).await.1;
    }
    assert!(!said.contains("pr0xyword") && !said.contains("bWU6cHIweHl3b3Jk"), "{said}");
    assert_eq!(daemon.exit("-TERM").await, Some(0));
}

#[tokio::test]
async fn check_says_what_would_not_run() {
    let check = async |config: &str, plugins: &[&str], more: &[(&str, &[u8])]| {
        let place = directory(config, plugins);
        for (name, content) in more {
            std::fs::write(place.path().join("plugins").join(name), content).expect("writable");
        }
        let config = place.path().join("feedgate.toml");
        (
            called(&["check", "--config", path(&config)]).await,
            called(&["check", "--json", "--config", path(&config)]).await,
        )
    };
    let (good, json) = check("[provider.kraken]", &["kraken", "coinbase"], &[]).await;
    assert_eq!((good.code, json.code), (Some(0), Some(0)), "{good:?}");
    assert!(good.out.contains("2 plugins, 1 providers") && good.out.contains("idle: plugin coinbase"), "{good:?}");
    let said = json.json();
    assert_eq!((&said["ok"], text(&said, "/idle_plugins/0")), (&Json::Bool(true), "coinbase"));

    let bad_settings = "[provider.kraken]\nsettings = { depth = 5 }";
    let looser = "[provider.coingecko]\nhttp = { poll_interval_ms = 1 }";
    /// The configuration, the plugins there, other files there, and the words of the problem.
    type Case<'a> = (&'a str, &'a [&'a str], &'a [(&'a str, &'a [u8])], &'a str);
    let cases: [Case<'_>; 7] = [
        ("[provider.okx]", &[], &[], "provider okx: plugin okx.wasm is not there"),
        (bad_settings, &["kraken"], &[], "depth"),
        (looser, &["coingecko"], &[], "loosen_limits"),
        ("", &[], &[("broken.wasm", b"no")], "plugin broken.wasm: not WebAssembly"),
        ("", &["kraken"], &[("kraken.toml", b"max_age = 1")], "kraken.toml:1: max_age: unknown field"),
        ("[provider.kraken]", &["kraken"], &[("kraken.toml", b"")], "both configure it"),
        ("[provider.coingecko.secrets]\napi_key = { file = \"none\" }", &["coingecko"], &[], "secrets.api_key"),
    ];
    for (config, plugins, more, expected) in cases {
        let (bad, json) = check(config, plugins, more).await;
        assert_eq!((bad.code, json.code), (Some(1), Some(1)), "{expected}: {bad:?}");
        assert!(bad.out.contains("PROBLEM") && bad.out.contains(expected), "{expected}: {bad:?}");
        assert_eq!(json.json()["ok"], Json::Bool(false));
    }

    // Every section that is bad is told.
    let (bad, _) = check("[provider.a]\nmax_age = 5\n[provider.b]\n\n[provider.c]\nids = 1", &[], &[]).await;
    assert_eq!(bad.code, Some(1));
    for words in ["toml:2: provider.a.max_age: unknown field", "b.wasm is not there", "toml:6: provider.c.ids: "] {
        assert!(bad.out.contains(words), "{words:?} is not in {bad:?}");
    }
    let (refused, json) = check("autostart = 5", &[], &[]).await;
    for ended in [refused, json] {
        ended.fails(2, &["feedgate.toml:1: autostart: invalid type"]);
    }
    call(&["check", "--config", "/nowhere.toml"]).fails(2, &["/nowhere.toml: cannot be read"]);
}
#[test]
fn the_command_line_explains_itself() {
    let bash = call(&["completions", "bash"]);
    assert!(bash.code == Some(0) && bash.out.contains("_feedgate()"), "{bash:?}");
    for (arguments, expected) in [
        (&[][..], "Usage: feedgate"),
        (&["fly"], "unrecognized subcommand 'fly'"),
        (&["run", "--fast"], "unexpected argument '--fast'"),
        (&["watch", "--for", "soon"], "a time is a number and a unit"),
        (&["get", "--api", "ftp://host"], "neither http nor https"),
    ] {
        call(arguments).fails(2, &[expected]);
    }
    let version = call(&["--version"]);
    assert!(version.code == Some(0) && version.out.starts_with("feedgate "), "{version:?}");
    // Nobody listens where somebody just did.
    let free =
        std::net::TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port");
    let api = format!("http://{free}");
    for arguments in [&["get"][..], &["providers"], &["watch", "--for", "1s"], &["get", "kraken", "BTC/USD", "--json"]]
    {
        let arguments = [arguments, &["--api", api.as_str()]].concat();
        call(&arguments).fails(2, &["cannot reach the daemon at", &api]);
    }
}

#[tokio::test]
async fn the_api_answers_over_http() {
    let venue = kraken().await;
    let running =
        Running::start(&section("kraken", &venue, "ids = [\"BTC/USD\", \"ETH/USD\", \"NOPE/USD\"]"), &["kraken"]).await;
    running.value("kraken", "BTC/USD", "100.5").await;
    running.value("kraken", "ETH/USD", "20.25").await;
    running.state("kraken", "NOPE/USD", State::Rejected).await;
    let api = running.daemon.api().expect("it listens").to_string();
    for (query, ids) in [
        ("", &["BTC/USD", "ETH/USD", "NOPE/USD"][..]),
        ("?provider=kraken&id=ETH%2FUSD", &["ETH/USD"]),
        ("?fresh=true", &["BTC/USD", "ETH/USD"]),
        ("?state=rejected,stale", &["NOPE/USD"]),
        ("/kraken?fresh=false", &["NOPE/USD"]),
    ] {
        let (status, found) = get_json(&api, &format!("/v1/observations{query}")).await;
        let found: Vec<&str> =
            list(&found, "observations").iter().map(|observation| text(observation, "/id")).collect();
        assert_eq!((status, &found[..]), (200, ids), "{query}");
    }
    let (status, one) = get_json(&api, "/v1/observations/kraken/BTC%2FUSD").await;
    assert_eq!(
        (status, text(&one, "/value"), text(&one, "/state"), text(&one, "/id")),
        (200, "100.5", "fresh", "BTC/USD")
    );
    assert!(one["age_ms"].is_u64() && one["max_age_ms"] == 60_000 && one["received_at"].is_string(), "{one:#}");
    let (_, rejected) = get_json(&api, "/v1/observations/kraken/NOPE/USD").await;
    assert!(text(&rejected, "/state") == "rejected" && !text(&rejected, "/reason").is_empty(), "{rejected:#}");
    let (_, providers) = get_json(&api, "/v1/providers").await;
    assert_eq!(
        (text(&providers, "/providers/0/name"), text(&providers, "/providers/0/connections/0/phase")),
        ("kraken", "open")
    );
    let (_, plugins) = get_json(&api, "/v1/plugins").await;
    assert_eq!((text(&plugins, "/plugins/0/file"), text(&plugins, "/plugins/0/providers/0")), ("kraken", "kraken"));
    let (status, health) = get_json(&api, "/healthz").await;
    assert_eq!((status, text(&health, "/status")), (200, "ok"));
    let (status, described) = get_json(&api, "/openapi.json").await;
    assert!(status == 200 && described["openapi"].is_string() && described["paths"]["/v1/observations"].is_object());
    for (target, status, expected) in [
        ("/v1/nothing", 404, "no endpoint \"/v1/nothing\""),
        ("/v1/observations/okx", 404, "no provider \"okx\"; there are: kraken"),
        ("/v1/observations/kraken/A", 404, "no id \"A\" at kraken; there are: BTC/USD"),
        ("/v1/observations?fresh=yes", 400, "true or false"),
        ("/v1/observations?stale", 400, "unknown query parameter \"stale\""),
    ] {
        let (answered, error) = get_json(&api, target).await;
        assert!(answered == status && text(&error, "/error").contains(expected), "{target}: {answered} {error}");
    }
    running.stop().await;
}

#[tokio::test]
async fn readiness_names_who_is_missing() {
    let venue = kraken().await;
    let main = format!("{}[provider.off]\nenabled = false\n", section("kraken", &venue, ""));
    let running = Running::start(&main, &[]).await;
    let api = running.daemon.api().expect("it listens").to_string();
    running
        .until("only kraken waits", |_| matches!(&running.not_ready()[..], [(_, why)] if why.contains("is not there")))
        .await;
    let (status, missing) = get_json(&api, "/readyz").await;
    assert_eq!((status, &missing["ready"], list(&missing, "missing").len()), (503, &Json::Bool(false), 1));
    assert_eq!(text(&missing, "/missing/0/provider"), "kraken");
    assert!(text(&missing, "/missing/0/reason").contains("kraken.wasm is not there"), "{missing}");
    running.drop_file("kraken.wasm", &bytes_of("kraken"));
    running.until("ready", |_| running.not_ready().is_empty()).await;
    let (status, ready) = get_json(&api, "/readyz").await;
    assert_eq!((status, &ready["ready"]), (200, &Json::Bool(true)));
    // Once ready, a venue's bad day is no reason to be restarted.
    venue.cut();
    running
        .until("it is cut", |status| {
            status.provider("kraken").info().connections.values().any(|it| it.reconnects > 0 || it.phase != "open")
        })
        .await;
    assert_eq!(get(&api, "/readyz").await.0, 200);
    running.stop().await;
}

#[tokio::test]
async fn the_metrics_count_what_was_promised_under_bounded_labels() {
    let venue = kraken().await;
    let trapping = "[provider.guest]\nsettings = { on = \"connect\", how = \"trap\" }\n";
    let main = section("kraken", &venue, "ids = [\"BTC/USD\", \"NOPE/USD\"]") + trapping;
    let running = Running::start(&main, &["kraken", "guest"]).await;
    running.drop_file("broken.wasm", b"no");
    running.value("kraken", "BTC/USD", "100.5").await;
    running.until("the broken one is refused", |status| status.plugins().len() == 3).await;
    venue.cut();
    venue.wait(|stats| stats.connects == 2 && stats.subscriptions == 1).await;
    running.until("two connects", |status| status.provider("kraken").metrics.connects.get() == 2).await;
    running.state("kraken", "NOPE/USD", State::Rejected).await;
    running.value("kraken", "BTC/USD", "100.5").await;
    let api = running.daemon.api().expect("it listens").to_string();
    let deaths = "feedgate_plugin_deaths_total{provider=\"guest\",cause=\"";
    let metrics = get_until(&api, "/metrics", |status, metrics| status == 200 && metrics.contains(deaths)).await;
    for series in [
        "feedgate_connections_open{provider=\"kraken\"} 1",
        "feedgate_connects_total{provider=\"kraken\"} 2",
        "feedgate_disconnects_total{provider=\"kraken\",cause=\"",
        "feedgate_frames_received_total{provider=\"kraken\"}",
        "feedgate_frames_sent_total{provider=\"kraken\"}",
        "feedgate_bytes_received_total{provider=\"kraken\"}",
        "feedgate_outcomes_total{provider=\"kraken\",cause=\"observed\"}",
        "feedgate_outcomes_total{provider=\"kraken\",cause=\"rejected\"}",
        "feedgate_plugin_call_seconds_bucket{le=\"",
        "feedgate_plugin_call_seconds_count{provider=\"kraken\",call=\"handle-messages\"}",
        "feedgate_stage_seconds_total{provider=\"kraken\",stage=\"socket\"}",
        "feedgate_timed_frames_total{provider=\"kraken\"}",
        "feedgate_newest_age_seconds{provider=\"kraken\"}",
        "feedgate_ids{provider=\"kraken\",state=\"fresh\"} 1",
        "feedgate_id{provider=\"kraken\",id=\"BTC/USD\",state=\"fresh\",reason=\"\",subscription=\"acknowledged\",connection=\"0\"} 1",
        "feedgate_id{provider=\"kraken\",id=\"NOPE/USD\",state=\"rejected\",reason=\"Currency pair not supported NOPE/USD\",\
         subscription=\"rejected\",connection=\"0\"} 1",
        "feedgate_id_age_seconds{provider=\"kraken\",id=\"BTC/USD\"} ",
        "feedgate_plugin_loads_total{result=\"refused\"} 1",
        "feedgate_plugin_build{plugin=\"kraken\",build=\"",
        "feedgate_plugin_build_faults{plugin=\"kraken\",build=\"",
        "feedgate_task_panics_total 0",
    ] {
        assert!(metrics.contains(series), "{series:?} is not in {metrics}");
    }
    assert!(metrics.ends_with("# EOF\n"));
    for line in metrics.lines().filter(|line| !line.starts_with('#')) {
        let labels = line.split_once('{').and_then(|(_, rest)| rest.rsplit_once('}')).map_or("", |(labels, _)| labels);
        // Ids, builds and reasons stand in those gauges alone that are made anew for each answer.
        if ["feedgate_id{", "feedgate_id_", "feedgate_plugin_build"].iter().any(|name| line.starts_with(name)) {
            continue;
        }
        for label in labels.split(',').filter_map(|label| label.split_once('=')).map(|(name, _)| name) {
            assert!(["provider", "cause", "call", "stage", "state", "result", "le"].contains(&label), "{line}");
        }
        assert!(!line.contains("/USD"), "{line}");
    }
    running.stop().await;
}
