//! What each command of `feedgate` does; `main` only reads the command line, and prints the error of a command. Here are
//! logs, exit codes and words that commands share. Where an error both names its cause and has it as its source,
//! `Error::msg` takes its words alone: `{:#}` would print the cause twice.
//!
//! `run` is the daemon, `check` and `plugin` work without one. `get`, `providers` and `watch` read a running daemon,
//! `reload` and `builds` tell it what to do: they know the API's types and nothing of how it works, and talk to it through
//! `transport`'s client. Their reading
//! order: `daemon` (what is asked), `row` and `table` (how it looks), then `live`, the table that `watch` and `demo`
//! share, and what it is made of: `changes`, `view`, `input`, `screen`.

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::time::Duration;

use serde::Serialize;
use tracing::{Level, Metadata};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::api::Done;
use crate::transport::ApiError;

#[cfg(all(feature = "demo", unix))]
pub mod bench;
pub mod builds;
pub mod check;
#[cfg(feature = "demo")]
pub mod demo;
pub mod diff;
pub mod get;
pub mod grant;
pub mod live;
pub mod plugin;
pub mod providers;
pub mod reload;
pub mod row;
pub mod run;
pub mod sign;
pub mod watch;

mod changes;
mod daemon;
mod input;
mod screen;
mod table;
mod view;
mod width;

pub use daemon::Address;

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

/// Says on stderr why it could not be done.
pub fn fail(why: &str) -> ExitCode {
    eprintln!("feedgate: {why}");
    ExitCode::from(2)
}

/// `500ms`, `10s`, `2m`, `1h`.
pub fn parse_time(text: &str) -> Result<Duration, String> {
    let unit_at = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(unit_at);
    let factor = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err("a time is a number and a unit: 500ms, 10s, 2m, 1h".to_owned()),
    };
    let number: u64 = number.parse().map_err(|_| format!("{number:?} is not a number of {unit}"))?;
    number.checked_mul(factor).map(Duration::from_millis).ok_or_else(|| "longer than any clock runs".to_owned())
}

/// How a command ended that got its answer.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Exit {
    /// 0.
    Fine,
    /// 1: something that was asked for is not fresh.
    NotFresh,
    /// 1: what was asked for was not done, or not all of it.
    NotDone,
}

/// Why a reading command has no answer to show. The exit code is 2.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    #[error(transparent)]
    Api(#[from] ApiError),
    #[error("{place}: {why}")]
    Token { place: &'static str, why: String },
    #[error("the daemon answers {status}: {said}")]
    Refused { status: u16, said: String },
    #[error("the daemon's answer is not understood, perhaps it is of another version")]
    Answer(#[source] serde_json::Error),
    #[error("cannot write the output")]
    Output(#[from] io::Error),
}

/// Says what was done. That the daemon understands and does not do it is an outcome, and no failure to ask.
fn outcome(told: Result<Done, CliError>, out: &mut impl Write) -> Result<Exit, CliError> {
    match told {
        Ok(done) => {
            writeln!(out, "{}", done.done)?;
            out.flush()?;
            Ok(Exit::Fine)
        }
        Err(CliError::Refused { status: 404 | 409, said }) => {
            fail(&said);
            Ok(Exit::NotDone)
        }
        Err(error) => Err(error),
    }
}

/// One line of JSON.
fn write_json(what: &(impl Serialize + ?Sized), out: &mut impl Write) -> Result<(), CliError> {
    serde_json::to_writer(&mut *out, what).map_err(|error| CliError::Output(error.into()))?;
    Ok(writeln!(out)?)
}

/// The exit code; an error is printed with its cause.
pub fn exit_code(result: Result<Exit, CliError>) -> ExitCode {
    match result {
        Ok(Exit::Fine) => ExitCode::SUCCESS,
        Ok(Exit::NotFresh | Exit::NotDone) => ExitCode::from(1),
        // Whoever read the output has seen enough.
        Err(CliError::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => match std::error::Error::source(&error) {
            Some(cause) => fail(&format!("{error}: {cause}")),
            None => fail(&error.to_string()),
        },
    }
}

#[cfg(test)]
mod tests;
