//! The API as those meet it who may not ask, who ask too much, and who tell the daemon what to do: real sockets, a real
//! daemon, and the command.

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use feedgate_tests::{Kind, Options};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::command::{Ended, built, called_with};
use crate::support::{Running, redirected, venue};

const READ: &str = "the-token-of-readers";
const ADMIN: &str = "the-token-of-admins";

/// Far beyond what any answer takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// A directory with both tokens, and the lines that name them.
fn tokens() -> (TempDir, String) {
    let directory = TempDir::new().expect("a temporary directory");
    let line = |name: &str, token: &str| {
        let file = directory.path().join(name);
        std::fs::write(&file, format!("{token}\n")).expect("writable");
        format!("{name} = {{ file = {:?} }}\n", file.display().to_string())
    };
    let lines = line("token", READ) + &line("admin_token", ADMIN);
    (directory, lines)
}

/// A daemon with an `[api]` of these lines, and before it `rest`.
async fn daemon(rest: &str, api: &str, plugins: &[&str]) -> (Running, SocketAddr) {
    let running = Running::start(&format!("{rest}\n[api]\nlisten = \"127.0.0.1:0\"\n{api}"), plugins).await;
    let address = running.daemon.api().expect("it listens");
    (running, address)
}

/// All that comes until the other side closes, which it must do.
async fn rest(mut socket: TcpStream) -> String {
    let mut text = Vec::new();
    // One that is cut rather than closed has ended as well.
    let read = tokio::time::timeout(PATIENCE, socket.read_to_end(&mut text)).await;
    assert!(read.is_ok(), "nobody closes it");
    String::from_utf8_lossy(&text).into_owned()
}

/// Sends this and answers all that comes back.
async fn exchange(address: SocketAddr, request: &str) -> String {
    let mut socket = TcpStream::connect(address).await.expect("it listens");
    // What is too long is not read to its end.
    let _ = socket.write_all(request.as_bytes()).await;
    rest(socket).await
}

async fn get(address: SocketAddr, target: &str, headers: &str) -> String {
    exchange(address, &format!("GET {target} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n{headers}\r\n")).await
}

/// The command, shown this token, at this daemon.
async fn told(daemon: &Running, token: &str, arguments: &[&str], environment: &[(&str, &str)]) -> Ended {
    let url = daemon.daemon.api_url().expect("it listens").to_owned();
    let environment = [environment, &[("FEEDGATE_API", url.as_str()), ("FEEDGATE_TOKEN", token)]].concat();
    called_with(arguments, &environment).await
}

#[tokio::test]
async fn with_a_token_nothing_is_told_to_those_who_have_none() {
    built().await;
    let (directory, lines) = tokens();
    let (running, address) = daemon("", &lines, &[]).await;
    for target in ["/", "/v1/observations", "/v1/config", "/readyz", "/metrics", "/openapi.json", "/nothing"] {
        for (header, expected) in [
            (String::new(), "HTTP/1.1 401"),
            ("authorization: Bearer the-token-of-nobody\r\n".to_owned(), "HTTP/1.1 401"),
            (format!("authorization: Basic {READ}\r\n"), "HTTP/1.1 401"),
        ] {
            let answer = get(address, target, &header).await;
            assert!(answer.starts_with(expected) && answer.contains("www-authenticate: Bearer"), "{target}: {answer}");
        }
        let answer = get(address, target, &format!("authorization: Bearer {READ}\r\n")).await;
        assert!(!answer.starts_with("HTTP/1.1 401"), "{target}: {answer}");
    }
    assert!(get(address, "/healthz", "").await.starts_with("HTTP/1.1 200"));

    let listed = told(&running, READ, &["providers"], &[]).await;
    assert_eq!((listed.code, listed.out.as_str()), (Some(0), "no providers are configured\n"), "{listed:?}");
    told(&running, "", &["providers"], &[]).await.fails(2, &["401", "needs a token"]);
    told(&running, READ, &["reload", "--wait"], &[]).await.fails(2, &["403", "may only read", "api.admin_token"]);
    let file = directory.path().join("admin_token");
    let file = file.to_str().expect("a plain name");
    let done = told(&running, "", &["reload", "--wait", "--json", "--token-file", file], &[]).await;
    assert_eq!((done.code, &done.json()["ok"]), (Some(0), &true.into()), "{done:?}");

    // A token that is replaced in its file counts from the next reload on.
    std::fs::write(directory.path().join("token"), "another-token-of-readers").expect("writable");
    let reloaded = told(&running, ADMIN, &["reload"], &[]).await;
    assert!(reloaded.code == Some(0) && reloaded.out.contains("a reload is due"), "{reloaded:?}");
    let deadline = Instant::now() + PATIENCE;
    while told(&running, "another-token-of-readers", &["providers"], &[]).await.code != Some(0) {
        assert!(Instant::now() < deadline, "the new token is never accepted");
    }
    told(&running, READ, &["providers"], &[]).await.fails(2, &["401", "this is not the token"]);
    running.stop().await;
}

#[tokio::test]
async fn connections_are_replaced_and_builds_are_named_from_the_command_line() {
    built().await;
    let venue = venue(Kind::Kraken, Options::still().with_prices([("BTC/USD", "100.5")])).await;
    let (_directory, lines) = tokens();
    let section = format!("[provider.kraken]\nids = [\"BTC/USD\"]\n{}\n", redirected(&venue));
    let (running, _) = daemon(&section, &lines, &["kraken"]).await;
    running.value("kraken", "BTC/USD", "100.5").await;
    told(&running, READ, &["rotate", "kraken"], &[]).await.fails(2, &["403"]);
    told(&running, ADMIN, &["rotate", "nobody"], &[]).await.fails(1, &["no provider \"nobody\"; there are: kraken"]);
    for (arguments, connects) in [(&["rotate", "kraken"][..], 2), (&["rotate"], 3)] {
        let rotated = told(&running, ADMIN, arguments, &[]).await;
        assert!(rotated.code == Some(0) && rotated.out.contains("is being replaced"), "{rotated:?}");
        venue.wait(|stats| stats.connects == connects && stats.open == 1).await;
    }
    let listed = told(&running, READ, &["plugin", "list", "--json"], &[]).await;
    assert_eq!((listed.code, &listed.json()[0]["file"]), (Some(0), &"kraken".into()), "{listed:?}");
    let history = told(&running, READ, &["plugin", "history", "kraken"], &[]).await;
    assert_eq!(history.code, Some(0), "{history:?}");
    told(&running, READ, &["plugin", "history", "nobody"], &[]).await.fails(1, &["no plugin \"nobody\"", "kraken"]);
    for verb in ["rollback", "pin", "unpin", "release"] {
        told(&running, READ, &["plugin", verb, "kraken"], &[]).await.fails(2, &["403", "may only read"]);
        told(&running, ADMIN, &["plugin", verb, "nobody"], &[]).await.fails(1, &["no plugin \"nobody\""]);
    }
    running.stop().await;
}

#[tokio::test]
async fn without_an_admins_token_nothing_can_be_changed() {
    built().await;
    let (running, address) = daemon("", "", &[]).await;
    for arguments in [&["reload"][..], &["reload", "--wait"], &["rotate"], &["plugin", "unpin", "x"]] {
        told(&running, ADMIN, arguments, &[]).await.fails(2, &["403", "no api.admin_token is configured"]);
    }
    let page = get(address, "/v1/observations", "host: page.example\r\n").await;
    assert!(page.starts_with("HTTP/1.1 403") && page.contains("web page"), "{page}");
    running.stop().await;
}

/// A certificate for loopback that is its own authority, and its key.
fn write_certificate(directory: &Path) {
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).expect("ring makes keys");
    std::fs::write(directory.join("key.pem"), made.signing_key.serialize_pem()).expect("writable");
    std::fs::write(directory.join("cert.pem"), made.cert.pem()).expect("writable");
}

#[tokio::test]
async fn over_tls_the_certificate_is_checked_and_may_be_replaced() {
    built().await;
    let (directory, lines) = tokens();
    write_certificate(directory.path());
    let file = |name: &str| directory.path().join(name).to_str().expect("a plain name").to_owned();
    let tls = format!("tls_cert_file = {:?}\ntls_key_file = {:?}\n", file("cert.pem"), file("key.pem"));
    let (running, address) = daemon("", &(lines + &tls), &[]).await;
    let first = file("first.pem");
    std::fs::copy(file("cert.pem"), &first).expect("writable");
    let listed = told(&running, READ, &["providers", "--ca-file", &first], &[]).await;
    assert_eq!((listed.code, listed.out.as_str()), (Some(0), "no providers are configured\n"), "{listed:?}");
    // Not with the system's roots, nor in plain sight.
    told(&running, READ, &["providers"], &[]).await.fails(2, &["cannot reach the daemon"]);
    let plain = get(address, "/healthz", "").await;
    assert!(!plain.contains("HTTP/1.1 200"), "{plain}");

    write_certificate(directory.path());
    let reloaded = told(&running, ADMIN, &["reload", "--wait"], &[("FEEDGATE_CA_FILE", &first)]).await;
    assert_eq!(reloaded.code, Some(0), "{reloaded:?}");
    let deadline = Instant::now() + PATIENCE;
    let second = file("cert.pem");
    while told(&running, READ, &["providers", "--ca-file", &second], &[]).await.code != Some(0) {
        assert!(Instant::now() < deadline, "the new certificate is never shown");
    }
    told(&running, READ, &["providers", "--ca-file", &first], &[]).await.fails(2, &["cannot reach the daemon"]);
    running.stop().await;
}

#[tokio::test]
async fn who_sends_slowly_is_cut_and_others_are_served() {
    let directory = TempDir::new().expect("a temporary directory");
    write_certificate(directory.path());
    let file = |name: &str| directory.path().join(name).display().to_string();
    let tls = format!("tls_cert_file = {:?}\ntls_key_file = {:?}\n", file("cert.pem"), file("key.pem"));
    let (running, address) = daemon("", &format!("request_timeout_ms = 300\n{tls}"), &[]).await;
    assert_eq!(rest(TcpStream::connect(address).await.expect("it listens")).await, "", "no handshake begins");
    running.stop().await;

    let (running, address) = daemon("", "request_timeout_ms = 300\n", &[]).await;
    let mut waiting = Vec::new();
    for start in
        ["", "GET /healthz HT", "GET /healthz HTTP/1.1\r\nhost: x", "GET / HTTP/1.1\r\ncontent-length: 9\r\n\r\n1"]
    {
        let mut socket = TcpStream::connect(address).await.expect("it listens");
        socket.write_all(start.as_bytes()).await.expect("it reads");
        waiting.push((start, socket));
    }
    assert!(get(address, "/v1/observations", "").await.starts_with("HTTP/1.1 200"));
    for (start, socket) in waiting {
        let answer = rest(socket).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 408"), "{start:?}: {answer}");
    }
    assert!(get(address, "/v1/observations", "").await.starts_with("HTTP/1.1 200"));
    running.stop().await;
}

#[tokio::test]
async fn one_connection_too_many_is_told_so() {
    let (running, address) = daemon("", "max_connections = 2\n", &[]).await;
    let mut open = Vec::new();
    for _ in 0..2 {
        let mut socket = TcpStream::connect(address).await.expect("it listens");
        let request = format!("GET /healthz HTTP/1.1\r\nhost: {address}\r\n\r\n");
        socket.write_all(request.as_bytes()).await.expect("it reads");
        let mut start = [0; 12];
        socket.read_exact(&mut start).await.expect("it answers");
        assert_eq!(&start, b"HTTP/1.1 200");
        open.push(socket);
    }
    let refused = rest(TcpStream::connect(address).await.expect("it listens")).await;
    assert!(refused.starts_with("HTTP/1.1 503") && refused.ends_with("connections to the API now\"}"), "{refused}");
    open.clear();
    let deadline = Instant::now() + PATIENCE;
    while !get(address, "/healthz", "").await.starts_with("HTTP/1.1 200") {
        assert!(Instant::now() < deadline, "a place that is free again is never used");
    }
    running.stop().await;
}

#[tokio::test]
async fn what_is_too_long_or_too_much_is_refused() {
    let (_directory, lines) = tokens();
    let (running, address) = daemon("", &format!("{lines}max_requests_per_second = 1\n"), &[]).await;
    let shown = format!("authorization: Bearer {ADMIN}\r\n");
    let long = format!("x-long: {}\r\n", "x".repeat(64 << 10));
    let head = get(address, "/healthz", &long).await;
    // What is still on its way when the other side closes may cost the answer.
    assert!(head.is_empty() || head.starts_with("HTTP/1.1 431"), "{head}");
    let body = "x".repeat(5_000);
    for (length, body) in [
        ("content-length: 5000\r\n", body.clone()),
        ("transfer-encoding: chunked\r\n", format!("1388\r\n{body}\r\n0\r\n\r\n")),
    ] {
        let deadline = Instant::now() + PATIENCE;
        let answer = loop {
            let head = format!("POST /v1/reload HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{shown}{length}\r\n");
            let answer = exchange(address, &(head + &body)).await;
            if !answer.starts_with("HTTP/1.1 429") {
                break answer;
            }
            assert!(answer.contains("retry-after: 1") && Instant::now() < deadline, "{answer}");
        };
        assert!(answer.starts_with("HTTP/1.1 413") && answer.contains("4096 bytes"), "{answer}");
    }
    // However slow this machine is, two of many fall into one second.
    let deadline = Instant::now() + PATIENCE;
    while !get(address, "/v1/config", &shown).await.starts_with("HTTP/1.1 429") {
        assert!(Instant::now() < deadline, "there is no limit");
    }
    assert!(get(address, "/healthz", "").await.starts_with("HTTP/1.1 200"));
    running.stop().await;
}
