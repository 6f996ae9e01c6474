//! `feedgate providers`: what every provider is doing, and why those that do nothing do not.

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use serde::Serialize;

use super::daemon::{Address, Daemon};
use super::row::{self, Row, age};
use super::table::{Cell, Column, Tone, layout};
use super::{CliError, Exit, exit_code};
use crate::api::{Connection, Observations, Provider};
use crate::logic::schedule::Circuit;
use crate::store::State;

/// What to read and how to show it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Providers {
    pub daemon: Address,
    /// Also a table of each id's state. JSON has every id anyway.
    pub ids: bool,
    pub json: bool,
}

#[derive(Serialize)]
struct Whole<'a> {
    providers: &'a [Provider],
    #[serde(flatten)]
    observations: &'a Observations,
}

const COLUMNS: [Column; 7] = [
    Column::left("PROVIDER"),
    Column::left("STATE"),
    Column::left("PLUGIN"),
    Column::left("KIND"),
    Column::right("FRESH"),
    Column::left("TRANSPORT"),
    Column::left("REASON"),
];

/// Prints every provider. Exit code 0, or 2 when the daemon cannot be reached.
pub async fn providers(asked: &Providers) -> ExitCode {
    exit_code(print(asked, &mut io::stdout()).await)
}

pub(super) async fn print(asked: &Providers, out: &mut impl Write) -> Result<Exit, CliError> {
    let daemon = Daemon::new(&asked.daemon)?;
    let providers = daemon.providers().await?;
    if asked.json {
        let observations = daemon.observations(None, None).await?;
        let whole = Whole { providers: &providers, observations: &observations };
        serde_json::to_writer(&mut *out, &whole).map_err(|error| CliError::Output(error.into()))?;
        writeln!(out)?;
    } else if providers.is_empty() {
        writeln!(out, "no providers are configured")?;
    } else {
        let rows: Vec<_> = providers.iter().map(cells).collect();
        for line in layout(&COLUMNS, &rows, None) {
            writeln!(out, "{line}")?;
        }
        if asked.ids {
            let observations = daemon.observations(None, None).await?;
            let rows: Vec<_> = observations.observations.iter().map(|o| Row::from(o).cells()).collect();
            writeln!(out)?;
            for line in layout(&row::COLUMNS, &rows, None) {
                writeln!(out, "{line}")?;
            }
        }
    }
    out.flush()?;
    Ok(Exit::Fine)
}

fn cells(provider: &Provider) -> Vec<Cell> {
    let fresh = provider.ids.get(State::Fresh.as_str()).copied().unwrap_or(0);
    let ids: usize = provider.ids.values().sum();
    let plugin = [provider.plugin.as_str(), &provider.plugin_version].join(" ");
    [
        provider.name.as_str(),
        &provider.state,
        plugin.trim_end(),
        provider.kind.as_deref().unwrap_or("-"),
        &format!("{fresh}/{ids}"),
        &transport(provider),
    ]
    .into_iter()
    .map(Cell::plain)
    .chain([Cell::new(&reason(provider), Tone::Faint)])
    .collect()
}

fn transport(provider: &Provider) -> String {
    let mut parts = Vec::new();
    if !provider.connections.is_empty() {
        let open = provider.connections.iter().filter(|connection| is_open(connection)).count();
        parts.push(format!("{open}/{} open", provider.connections.len()));
        let reconnects: u64 = provider.connections.iter().map(|connection| connection.reconnects).sum();
        if reconnects > 0 {
            parts.push(format!("{reconnects} reconnects"));
        }
    }
    if let Some(poller) = &provider.poller {
        parts.push(match poller.last_poll_ms_ago {
            Some(ago) => format!("polled {} ago", millis(ago)),
            None => "not polled yet".to_owned(),
        });
        if let Some(cycle) = poller.cycle_ms {
            parts.push(format!("each id every {}", millis(cycle)));
        }
    }
    if parts.is_empty() { "-".to_owned() } else { parts.join(", ") }
}

/// Everything that is wrong with it.
fn reason(provider: &Provider) -> String {
    let mut reasons = Vec::new();
    if !provider.reason.is_empty() {
        reasons.push(provider.reason.clone());
    }
    if let Some(trouble) = &provider.trouble {
        reasons.push(format!("{} for {}: {}", trouble.what, millis(trouble.since_ms_ago), trouble.reason));
    }
    for connection in provider.connections.iter().filter(|connection| !is_open(connection)) {
        let mut said = format!("connection {} is {}", connection.number, connection.phase);
        if let Some(end) = &connection.last_end {
            said += &format!(" since {} {} ago", end.reason, millis(end.ms_ago));
        }
        if let Some(next) = connection.next_attempt_in_ms {
            said += &format!(", next attempt in {}", millis(next));
        }
        reasons.push(said);
    }
    for connection in &provider.connections {
        if let Some(phase) = &connection.successor {
            reasons.push(format!("connection {} is being replaced, its successor is {phase}", connection.number));
        }
    }
    let unconfirmed: usize =
        provider.connections.iter().filter(|connection| is_open(connection)).map(|it| it.unconfirmed).sum();
    if unconfirmed > 0 {
        reasons.push(format!("{unconfirmed} ids not confirmed by the venue"));
    }
    if let Some(poller) = provider.poller.as_ref().filter(|poller| !poller.last_error.is_empty()) {
        let mut said = format!("last poll: {}", poller.last_error);
        if poller.failures > 1 {
            said += &format!(" ({} in a row failed)", poller.failures);
        }
        if poller.circuit != Circuit::Closed.as_str() {
            said += &format!(", circuit {}", poller.circuit);
        }
        reasons.push(said);
    }
    for state in State::ALL.into_iter().filter(|state| *state != State::Fresh) {
        match provider.ids.get(state.as_str()) {
            Some(count) if *count > 0 => reasons.push(format!("{count} {}", state.as_str())),
            _ => {}
        }
    }
    reasons.join("; ")
}

fn is_open(connection: &Connection) -> bool {
    connection.phase == "open"
}

fn millis(millis: u64) -> String {
    age(Duration::from_millis(millis))
}
