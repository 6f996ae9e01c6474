//! Where logs go, and which of them.

use std::io::{self, IsTerminal};

use tracing::{Level, Metadata};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

/// Where logs go and what is logged.
#[derive(Clone, Debug)]
pub struct Logs {
    /// From the command line; the environment variable FEEDGATE_LOG comes second.
    pub filter: Option<String>,
    pub json: bool,
}

impl Logs {
    /// Logs to stderr from here on, at `level` where nobody says otherwise.
    pub fn start(&self, level: &str) {
        self.begin(level, io::stderr, io::stderr().is_terminal());
    }

    /// As [`Logs::start`], to somewhere else.
    pub fn start_to(&self, level: &str, writer: impl for<'a> MakeWriter<'a> + Send + Sync + 'static) {
        self.begin(level, writer, false);
    }

    fn begin(&self, level: &str, writer: impl for<'a> MakeWriter<'a> + Send + Sync + 'static, colours: bool) {
        let wanted = self.filter.clone().or_else(|| std::env::var("FEEDGATE_LOG").ok());
        let wanted = wanted.as_deref().unwrap_or(level);
        let filter = EnvFilter::try_new(wanted).unwrap_or_else(|error| {
            eprintln!("feedgate: log filter {wanted} is not valid ({error}); logging at {level}");
            EnvFilter::new(level)
        });
        // It writes out what is sent and received, keys and all.
        let discreet =
            |metadata: &Metadata<'_>| *metadata.level() <= Level::INFO || !metadata.target().starts_with("tungstenite");
        let logs = tracing_subscriber::registry().with(filter).with(filter_fn(discreet));
        let lines = tracing_subscriber::fmt::layer().with_writer(writer).with_ansi(colours);
        if self.json { logs.with(lines.json()).init() } else { logs.with(lines).init() }
    }
}
