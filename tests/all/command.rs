//! Running the command as people and scripts do: the real binary, a daemon as a process of its own, requests to its API.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use feedgate_tests::{Kind, Options, Venue};
use serde_json::Value as Json;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{binary, drop_plugin, eventually, redirected};

/// Everything that may ever see a secret; the compiler's own traces would take minutes.
pub const TALKATIVE: &str =
    "info,feedgate=trace,reqwest=trace,hyper=trace,hyper_util=trace,rustls=trace,tungstenite=trace";

/// Far beyond what any answer takes.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Builds it before a venue's clock starts: what stands still there ages.
pub async fn built() {
    tokio::task::spawn_blocking(binary).await.expect("it does not panic");
}

pub fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(binary());
    command.args(arguments).stdin(Stdio::null());
    for name in ["FEEDGATE_LOG", "FEEDGATE_API", "FEEDGATE_TOKEN", "FEEDGATE_CA_FILE"] {
        command.env_remove(name);
    }
    command
}

/// How a command ended.
#[derive(Debug)]
pub struct Ended {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Ended {
    pub fn json(&self) -> Json {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Fails, with these words on stderr and nothing on stdout.
    #[track_caller]
    pub fn fails(&self, code: i32, expected: &[&str]) {
        assert_eq!((self.code, self.out.as_str()), (Some(code), ""), "{self:?}");
        for words in expected {
            assert!(self.err.contains(words), "{words:?} is not in {self:?}");
        }
    }
}

pub fn call(arguments: &[&str]) -> Ended {
    call_with(arguments, &[])
}

pub fn call_with(arguments: &[&str], environment: &[(&str, &str)]) -> Ended {
    let output = command(arguments).envs(environment.iter().copied()).output().expect("it was just built");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    Ended { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
}

/// The same, while venues and daemons of this test go on.
pub async fn called(arguments: &[&str]) -> Ended {
    called_with(arguments, &[]).await
}

/// The same, with more in its environment.
pub async fn called_with(arguments: &[&str], environment: &[(&str, &str)]) -> Ended {
    let arguments: Vec<String> = arguments.iter().map(|&argument| argument.to_owned()).collect();
    let environment: Vec<(String, String)> =
        environment.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect();
    let call = move || {
        let environment: Vec<_> = environment.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        call_with(&arguments.iter().map(String::as_str).collect::<Vec<_>>(), &environment)
    };
    tokio::task::spawn_blocking(call).await.expect("it does not panic")
}

/// `feedgate run` in a process of its own, on a directory with a `feedgate.toml` and plugins.
pub struct Process {
    pub child: Child,
    pub log: Arc<Mutex<String>>,
    /// `127.0.0.1:PORT`
    pub api: String,
}

impl Process {
    pub async fn run(directory: &Path, environment: &[(&str, &str)]) -> Self {
        built().await;
        let mut run = command(&["run", "--log", TALKATIVE]);
        run.arg("--config").arg(directory.join("feedgate.toml")).envs(environment.iter().copied());
        Self::spawn(run).await
    }

    /// With at most this many open files.
    #[cfg(unix)]
    pub async fn limited(directory: &Path, files: usize) -> Self {
        built().await;
        let mut run = Command::new("sh");
        run.args(["-c", &format!("ulimit -n {files} && exec \"$@\"")]).arg("sh").arg(binary());
        run.args(["run", "--log", "info", "--config"]).arg(directory.join("feedgate.toml")).stdin(Stdio::null());
        Self::spawn(run).await
    }

    pub async fn spawn(mut run: Command) -> Self {
        let mut child = run.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("it was just built");
        let log = Arc::new(Mutex::new(String::new()));
        let said = BufReader::new(child.stderr.take().expect("piped"));
        let writer = log.clone();
        // Ends with the process.
        std::thread::spawn(move || {
            for line in said.lines().map_while(Result::ok) {
                *writer.lock().unwrap_or_else(PoisonError::into_inner) += &format!("{line}\n");
            }
        });
        let mut process = Self { child, log, api: String::new() };
        let api = || Some(process.log().split_once("API at http://")?.1.split_once('/')?.0.to_owned());
        process.api = eventually(api, || format!("no address: {}", process.log())).await;
        process
    }

    pub fn log(&self) -> String {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([name, &self.child.id().to_string()]).status();
        assert!(sent.expect("kill is everywhere").success());
    }

    pub async fn exit(mut self, signal: &str) -> Option<i32> {
        self.signal(signal);
        let log = self.log.clone();
        let ended = eventually(|| self.child.try_wait().expect("our child"), || format!("it goes on: {log:?}")).await;
        ended.code()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // An error says that it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A directory as an operator has it: `feedgate.toml` and `plugins/`.
pub fn directory(config: &str, plugins: &[&str]) -> TempDir {
    let directory = TempDir::new().expect("a temporary directory");
    std::fs::create_dir(directory.path().join("plugins")).expect("an empty directory");
    let api = if config.contains("[api]") { "" } else { "\n[api]\nlisten = \"127.0.0.1:0\"\n" };
    std::fs::write(directory.path().join("feedgate.toml"), format!("{config}{api}")).expect("writable");
    for name in plugins {
        drop_plugin(directory.path(), name, name);
    }
    directory
}

pub fn path(path: &Path) -> &str {
    path.to_str().expect("a plain name")
}

pub async fn kraken() -> Venue {
    let options = Options::still().with_prices([("BTC/USD", "100.5"), ("ETH/USD", "20.25")]);
    crate::support::venue(Kind::Kraken, options).await
}

pub fn section(name: &str, venue: &Venue, rest: &str) -> String {
    format!("[provider.{name}]\n{}\n{rest}\n", redirected(venue))
}

/// One HTTP request, by hand: the status and the body.
pub async fn get(api: &str, target: &str) -> (u16, String) {
    let mut socket = TcpStream::connect(api).await.expect("it listens");
    let request = format!("GET {target} HTTP/1.1\r\nHost: {api}\r\nConnection: close\r\n\r\n");
    socket.write_all(request.as_bytes()).await.expect("it reads");
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.expect("it answers");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    (status, body.to_owned())
}

/// Asks until the answer is as wanted, and answers it.
pub async fn get_until(api: &str, target: &str, wanted: impl Fn(u16, &str) -> bool) -> String {
    let deadline = Instant::now() + PATIENCE;
    // The API takes so many requests a second.
    let mut ticks = tokio::time::interval(Duration::from_millis(5));
    loop {
        ticks.tick().await;
        let (status, body) = get(api, target).await;
        if wanted(status, &body) {
            return body;
        }
        assert!(Instant::now() < deadline, "{target} goes on answering {status} {body}");
    }
}

pub async fn get_json(api: &str, target: &str) -> (u16, Json) {
    let (status, body) = get(api, target).await;
    (status, serde_json::from_str(&body).unwrap_or_else(|error| panic!("{target}: {error}: {body}")))
}

pub fn text<'a>(json: &'a Json, pointer: &str) -> &'a str {
    json.pointer(pointer).and_then(Json::as_str).unwrap_or_else(|| panic!("no text {pointer} in {json:#}"))
}

pub fn list<'a>(json: &'a Json, name: &str) -> &'a Vec<Json> {
    json[name].as_array().unwrap_or_else(|| panic!("no list {name} in {json:#}"))
}
