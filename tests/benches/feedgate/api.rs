//! Reads over the API: HTTP on loopback, one connection, one question after the other, ten thousand ids in the store.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use divan::Bencher;
use feedgate::contract::observation::{Decimal, Key, Observation, Value};
use feedgate::daemon::{ConfigSource, Daemon, Options};
use feedgate::plugin::Compiler;
use tokio::runtime::Runtime;

const IDS: u32 = 10_000;

/// A daemon without plugins, whose store holds values all the same.
struct Asked {
    runtime: Runtime,
    daemon: Daemon,
    reader: BufReader<TcpStream>,
    _directory: tempfile::TempDir,
}

impl Asked {
    fn new() -> Self {
        let directory = tempfile::TempDir::new().expect("a temporary directory");
        std::fs::create_dir(directory.path().join("plugins")).expect("an empty directory");
        let file = directory.path().join("feedgate.toml");
        let config = "api = { listen = \"127.0.0.1:0\", max_requests_per_second = 1000000 }\n";
        std::fs::write(&file, config).expect("writable");
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let options = Options { compiler: Compiler::InThisProcess };
        let daemon = runtime.block_on(Daemon::start_with(ConfigSource::File(file), options));
        let daemon = daemon.unwrap_or_else(|error| panic!("{error}"));
        let slots = daemon.store().provider("bench");
        let ids: Vec<_> = (0..IDS).map(|id| (format!("id{id}").into(), Duration::from_secs(3_600))).collect();
        let table = slots.set_ids(&ids);
        for key in (0..IDS).map(Key) {
            let value = Value::Decimal(Decimal::new(9_125_010, -2).expect("in range"));
            let observation = Observation { key, value, observed_at: None, sequence: Some(1) };
            table.get(key).expect("subscribed").write(observation, slots.receipt(1));
        }
        let stream = TcpStream::connect(daemon.api().expect("it listens")).expect("it accepts");
        stream.set_nodelay(true).expect("a socket");
        Self { runtime, daemon, reader: BufReader::new(stream), _directory: directory }
    }

    /// The length of the answer's body.
    fn ask(&mut self, path: &str) -> usize {
        let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n");
        self.reader.get_mut().write_all(request.as_bytes()).expect("it reads");
        let (mut line, mut length) = (String::new(), 0);
        self.reader.read_line(&mut line).expect("it answers");
        assert!(line.starts_with("HTTP/1.1 200"), "{line}");
        while line != "\r\n" {
            line.clear();
            self.reader.read_line(&mut line).expect("it answers");
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().expect("a number");
            }
        }
        let mut body = vec![0; length];
        self.reader.read_exact(&mut body).expect("it answers");
        body.len()
    }

    fn stop(self) {
        drop(self.reader);
        self.runtime.block_on(self.daemon.stop());
    }
}

#[divan::bench]
fn one_id(bencher: Bencher<'_, '_>) {
    let mut asked = Asked::new();
    bencher.bench_local(|| asked.ask("/v1/observations/bench/id5000"));
    asked.stop();
}

#[divan::bench(sample_count = 20, sample_size = 1)]
fn ten_thousand_ids(bencher: Bencher<'_, '_>) {
    let mut asked = Asked::new();
    assert!(asked.ask("/v1/observations") > 100 * IDS as usize, "every id is there");
    bencher.bench_local(|| asked.ask("/v1/observations"));
    asked.stop();
}
