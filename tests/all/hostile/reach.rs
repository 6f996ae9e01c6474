//! Plugins that reach for what is not theirs: files, sockets, the environment, time; inner addresses; another provider's
//! secret.

use std::time::Duration;

use feedgate::contract::limits::PluginLimits;
use feedgate_tests::{Reply, Request, Response, ScriptedHttp};

use super::forge::{EXPORTS, Forge};
use super::{check, outcome, roomy};
use crate::support::Running;

/// What is used of WASI here, with its own types.
const WASI: &str = "
    package wasi:io@0.2.0;
    interface poll { resource pollable { block: func(); } }
    ---
    package wasi:clocks@0.2.0;
    interface monotonic-clock {
      use wasi:io/poll@0.2.0.{pollable};
      subscribe-duration: func(when: u64) -> pollable;
    }
    ---
    package wasi:random@0.2.0;
    interface random { get-random-bytes: func(len: u64) -> list<u8>; }
    ---
    package wasi:cli@0.2.0;
    interface environment {
      get-environment: func() -> list<tuple<string, string>>;
      get-arguments: func() -> list<string>;
    }
    interface exit { exit: func(status: result); }
    ---
    package wasi:filesystem@0.2.0;
    interface types { resource descriptor; }
    interface preopens { use types.{descriptor}; get-directories: func() -> list<tuple<descriptor, string>>; }
    ---
    package wasi:sockets@0.2.0;
    interface network {
      enum error-code { unknown, access-denied, not-supported, invalid-argument, out-of-memory, timeout,
        concurrency-conflict, not-in-progress, would-block, invalid-state, new-socket-limit, address-not-bindable,
        address-in-use, remote-unreachable, connection-refused, connection-reset, connection-aborted,
        datagram-too-large, name-unresolvable, temporary-resolver-failure, permanent-resolver-failure }
      enum ip-address-family { ipv4, ipv6 }
    }
    interface tcp { resource tcp-socket; }
    interface udp { resource udp-socket; }
    interface tcp-create-socket {
      use network.{error-code, ip-address-family};
      use tcp.{tcp-socket};
      create-tcp-socket: func(address-family: ip-address-family) -> result<tcp-socket, error-code>;
    }
    interface udp-create-socket {
      use network.{error-code, ip-address-family};
      use udp.{udp-socket};
      create-udp-socket: func(address-family: ip-address-family) -> result<udp-socket, error-code>;
    }";

/// A plugin that calls one function of WASI where it is told to.
fn wasi(interface: &str, function: &str, signature: &str) -> Forge {
    let interface = format!("wasi:{interface}@0.2.0");
    let import = format!("(import \"{interface}\" \"{function}\" (func $wasi {signature}))");
    Forge::with(WASI, &format!("import {interface};")).import(&import)
}

/// What the function wrote, where a place full of ones was.
fn written(forge: Forge, call: &str, expected: &str) {
    let mut forge = forge.field("(data (i32.const 32768) \"\\ff\\ff\\ff\\ff\\ff\\ff\\ff\\ff\")");
    let answer = forge.place(&[0; 16]);
    let body = format!("{call} (if (i32.eqz {expected}) (then unreachable)) (i32.const {answer})");
    let bytes = forge.doing("configure", &body).component();
    assert_eq!(outcome(&bytes, roomy(), "configure"), Ok(()), "{call}");
}

#[test]
fn there_is_no_environment_no_file_and_no_socket() {
    let nothing = "(i32.eqz (i32.load (i32.const 32772)))";
    for (interface, function) in [
        ("cli/environment", "get-environment"),
        ("cli/environment", "get-arguments"),
        ("filesystem/preopens", "get-directories"),
    ] {
        written(wasi(interface, function, "(param i32)"), "(call $wasi (i32.const 32768))", nothing);
    }
    // Not even one that leads nowhere: each would be a descriptor of the daemon's.
    let refused = "(i32.eq (i32.load8_u (i32.const 32768)) (i32.const 1))";
    for protocol in ["tcp", "udp"] {
        let (interface, function) = (format!("sockets/{protocol}-create-socket"), format!("create-{protocol}-socket"));
        let forge = wasi(&interface, &function, "(param i32 i32)");
        written(forge, "(call $wasi (i32.const 0) (i32.const 32768))", refused);
    }
}

/// It runs no code meanwhile that could look at the clock.
#[test]
fn a_plugin_that_sleeps_is_woken_by_the_end_of_its_budget() {
    let short = Duration::from_millis(300);
    for export in EXPORTS {
        let (knob, limits) = match export {
            "describe" | "configure" => ("init_ms", PluginLimits { init: short, ..roomy() }),
            "parse-response" | "handle-messages" => ("parse_ms", PluginLimits { parse: short, ..roomy() }),
            _ => ("build_ms", PluginLimits { build: short, ..roomy() }),
        };
        let world = "import wasi:clocks/monotonic-clock@0.2.0; import wasi:io/poll@0.2.0;";
        let forge = Forge::with(WASI, world)
            .import("(import \"wasi:io/poll@0.2.0\" \"[method]pollable.block\" (func $block (param i32)))")
            .import(
                "(import \"wasi:clocks/monotonic-clock@0.2.0\" \"subscribe-duration\"
                    (func $sleep (param i64) (result i32)))",
            )
            .doing(export, "(call $block (call $sleep (i64.const 3600000000000))) unreachable");
        check(forge, limits, export, &["spent its time budget of 300 ms", knob]);
    }
}

#[test]
fn what_a_plugin_takes_from_the_host_by_wasi_is_bounded() {
    let hoard = wasi("clocks/monotonic-clock", "subscribe-duration", "(param i64) (result i32)");
    let hoard = hoard.doing("heartbeat", "(loop (drop (call $wasi (i64.const 1))) br 0) unreachable");
    check(hoard, roomy(), "heartbeat", &["broke the contract", "resource table"]);
    let random = wasi("random/random", "get-random-bytes", "(param i64 i32)");
    let random = random.doing("heartbeat", "(call $wasi (i64.const -1) (i32.const 32768)) unreachable");
    check(random, roomy(), "heartbeat", &["broke the contract", "exceeds limit"]);
    let exit = wasi("cli/exit", "exit", "(param i32)").doing("heartbeat", "(call $wasi (i32.const 0)) unreachable");
    check(exit, roomy(), "heartbeat", &["broke the contract", "exit"]);
}

/// What the plugin describes as its origin and where it goes; nothing of it is connected to.
#[tokio::test(flavor = "multi_thread")]
async fn no_spelling_of_an_inner_address_is_connected_to() {
    let inner = "not a public address";
    let rows = [
        ("https://127.0.0.1", "https://127.0.0.1/", inner),
        ("https://2130706433", "https://2130706433/", inner),
        ("https://0x7f.1", "https://0x7f.1/", inner),
        ("https://0177.0.0.1", "https://0177.0.0.1/", inner),
        ("https://127.1", "https://127.1/", inner),
        ("https://[::1]", "https://[::1]/", inner),
        ("https://[::ffff:7f00:1]", "https://[::ffff:169.254.169.254]/", "not granted"),
        ("https://[::ffff:a9fe:a9fe]", "https://[::ffff:169.254.169.254]/", inner),
        ("https://[fd00:ec2::254]", "https://[fd00:ec2::254]/latest/", inner),
        ("https://LOCALHOST:1", "https://localhost:1/", inner),
        ("https://forged.example.com", "https://forged.example.com@127.0.0.1/", "credentials"),
        ("https://forged.example.com", "https://127.0.0.1\\@forged.example.com/", "not granted"),
        ("https://forged.example.com", "https://\t127.0.0.1/", "not granted"),
        ("https://forged.example.com", "file:///etc/passwd", "scheme"),
        ("https://forged.example.com", "//forged.example.com/", "absolute URL"),
        ("https://forged.example.com", "http://forged.example.com/", "not granted"),
    ];
    let section = |row: usize| format!("[provider.p{row}]\ntransports = [\"http\"]\n");
    let config: String = (0..rows.len()).map(section).collect();
    let running = Running::start(&config, &[]).await;
    for (row, (origin, url, words)) in rows.into_iter().enumerate() {
        let mut forge = Forge::new();
        (forge.origins, forge.url) = (vec![origin], url);
        running.drop_file(&format!("p{row}.wasm"), &forge.component());
        let wanted = format!("refused: {origin} {url} {words}");
        running.reading(&format!("p{row}"), "a", &wanted, |reading| reading.reason.contains(words)).await;
    }
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_secret_of_another_provider_is_not_sent() {
    let (keys, mut seen) = tokio::sync::watch::channel(String::new());
    let answer = move |request: Request| {
        keys.send_replace(request.header("x-key").unwrap_or_default().to_owned());
        Reply::Send(Response::new(200, "text/plain", "0 1.50"))
    };
    let owner = ScriptedHttp::start(answer).await.expect("a free port");
    let thief = ScriptedHttp::start(|_: Request| Reply::Send(Response::new(200, "text/plain", "0 1.50"))).await;
    let thief = thief.expect("a free port");
    let directory = tempfile::TempDir::new().expect("a temporary directory");
    let file = directory.path().join("key");
    std::fs::write(&file, "the-owner's").expect("writable");
    let section = |name: &str, origin: &str, rest: &str| {
        format!(
            "[provider.{name}]\nplugin = \"guest\"\ntransports = [\"http\"]\n\
             redirect_origins = {{ \"https://guest.example.com\" = \"{origin}\" }}\n\
             settings = {{ header = [\"x-key\", \"${{secret.key}}\"] }}\n{rest}\n"
        )
    };
    let config = section("owner", &owner.origin(), &format!("secrets.key.file = {file:?}"))
        + &section("thief", &thief.origin(), "");
    let running = Running::start(&config, &["guest"]).await;
    seen.wait_for(|key| key == "the-owner's").await.expect("the script runs");
    let refused = running.reading("thief", "a", "refused", |reading| reading.reason.contains("secret \"key\"")).await;
    assert!(!refused.reason.contains("owner's"), "{}", refused.reason);
    assert_eq!(thief.requests(), 0);
    running.stop().await;
}
