//! The processes that are measured, each with a feed of its own, and the CPU time that they take.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// After a turn, until what was taken from the socket is in the store.
const SETTLE: Duration = Duration::from_millis(20);

#[derive(Copy, Clone)]
pub enum Pace {
    Full,
    OneAWakeUp,
}

/// One side and its feed. Both end with it.
pub struct Side {
    pub name: String,
    /// Of feedgate's CPU time to this side's: under full load, paced.
    pub targets: [Option<f64>; 2],
    client: Child,
    feed: Feed,
    _directory: Option<TempDir>,
}

impl Side {
    /// The program as its users run it, with one provider of one id.
    pub fn feedgate(program: &str, plugin: &str) -> Self {
        let feed = Feed::start();
        let directory = TempDir::new().expect("a temporary directory");
        let at = |name: &str| directory.path().join(name);
        std::fs::create_dir(at("plugins")).expect("an empty directory");
        std::fs::copy(plugin, at("plugins/binance.wasm")).unwrap_or_else(|why| panic!("{plugin}: {why}"));
        let config = format!(
            "api = {{ listen = \"127.0.0.1:0\" }}\nplugins_dir = {:?}\nstate_dir = {:?}\n\
             [provider.binance]\nplugin = \"binance\"\nids = [\"BTCUSDT\"]\ntransports = [\"websocket\"]\n\
             redirect_origins = {{ \"wss://stream.binance.com:9443\" = \"ws://127.0.0.1:{}\" }}\n",
            at("plugins"),
            at("state"),
            feed.port
        );
        std::fs::write(at("feedgate.toml"), config).expect("writable");
        let mut command = Command::new(program);
        command.arg("run").arg("--config").arg(at("feedgate.toml"));
        Self::start("feedgate, the daemon".to_owned(), [None, None], command, feed, Some(directory))
    }

    /// What reading the feed costs anybody.
    pub fn floor() -> Self {
        let feed = Feed::start();
        let mut command = Command::new(std::env::current_exe().expect("this program"));
        command.args(["floor", &format!("ws://127.0.0.1:{}/stream", feed.port)]);
        Self::start("floor: read, and thrown away".to_owned(), [None, None], command, feed, None)
    }

    pub fn bothan(provider: &str, store: &str) -> Self {
        let feed = Feed::start();
        let mut command = Command::new(std::env::current_exe().expect("this program"));
        command.args(["bothan", provider, store, &format!("ws://127.0.0.1:{}/stream", feed.port)]);
        let targets = match (provider, store) {
            ("plain", "memory") => [Some(0.38), Some(0.90)],
            ("plain", "rocksdb") => [Some(0.12), None],
            _ => [None, None],
        };
        let parse = if provider == "plain" { "plain parse" } else { "bothan-binance" };
        Self::start(format!("bothan-lib, {parse}, {store}"), targets, command, feed, None)
    }

    fn start(
        name: String,
        targets: [Option<f64>; 2],
        mut command: Command,
        mut feed: Feed,
        directory: Option<TempDir>,
    ) -> Self {
        let client = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let client = client.unwrap_or_else(|why| panic!("{name} does not start: {why}"));
        feed.expect("connected");
        Self { name, targets, client, feed, _directory: directory }
    }

    /// So many frames: the CPU time that they took, and how long.
    pub fn turn(&mut self, frames: u64, pace: Pace) -> (Duration, Duration) {
        let (before, started) = (cpu_time(self.client.id()), Instant::now());
        self.feed.send(frames, pace);
        let elapsed = started.elapsed();
        std::thread::sleep(SETTLE);
        (cpu_time(self.client.id()) - before, elapsed)
    }
}

impl Drop for Side {
    fn drop(&mut self) {
        drop(self.client.kill());
        drop(self.client.wait());
    }
}

/// What all threads of a process have run so far, to the nanosecond, as the kernel counts it.
fn cpu_time(process: u32) -> Duration {
    let threads = std::fs::read_dir(format!("/proc/{process}/task")).expect("it runs");
    let run = threads.flatten().filter_map(|thread| {
        let counted = std::fs::read_to_string(thread.path().join("schedstat")).ok()?;
        counted.split(' ').next()?.parse::<u64>().ok()
    });
    Duration::from_nanos(run.sum::<u64>())
}

/// The feed of one side.
struct Feed {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    port: u16,
}

impl Feed {
    fn start() -> Self {
        let mut command = Command::new(std::env::current_exe().expect("this program"));
        let child = command.arg("feed").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut child = child.expect("it starts");
        let input = child.stdin.take().expect("piped");
        let output = BufReader::new(child.stdout.take().expect("piped"));
        let mut feed = Self { child, input, output, port: 0 };
        feed.port = feed.line().parse().expect("a port");
        feed
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).expect("the feed runs");
        line.trim().to_owned()
    }

    fn expect(&mut self, word: &str) {
        let said = self.line();
        assert_eq!(said, word, "the feed ended: did the client go away?");
    }

    fn send(&mut self, frames: u64, pace: Pace) {
        let pace = match pace {
            Pace::Full => "full",
            Pace::OneAWakeUp => "paced",
        };
        writeln!(self.input, "{pace} {frames}").expect("the feed runs");
        self.expect("done");
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
