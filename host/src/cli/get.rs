//! `feedgate get`: what the store holds now, and an exit code that says whether it is to be trusted.

use std::io::{self, Write};
use std::process::ExitCode;

use super::daemon::{Address, Daemon};
use super::row::{COLUMNS, Row};
use super::table::layout;
use super::{CliError, Exit, exit_code};
use crate::store::State;

/// What to read and how to show it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Get {
    pub daemon: Address,
    /// All of them, if `None`.
    pub provider: Option<String>,
    pub id: Option<String>,
    /// Show only what is fresh. What is left out still counts for the exit code.
    pub fresh: bool,
    pub json: bool,
}

/// Prints the observations asked for. Exit code 0 when all of them are fresh, 1 when one is not or there is none, 2
/// when the daemon cannot be reached or refuses the question.
pub async fn get(asked: &Get) -> ExitCode {
    exit_code(print(asked, &mut io::stdout()).await)
}

pub(super) async fn print(asked: &Get, out: &mut impl Write) -> Result<Exit, CliError> {
    let daemon = Daemon::new(&asked.daemon)?;
    let mut answer = daemon.observations(asked.provider.as_deref(), asked.id.as_deref()).await?;
    let is_fresh = |state: &str| state == State::Fresh.as_str();
    let all_fresh = !answer.observations.is_empty() && answer.observations.iter().all(|o| is_fresh(&o.state));
    if asked.fresh {
        answer.observations.retain(|observation| is_fresh(&observation.state));
    }
    if asked.json {
        serde_json::to_writer(&mut *out, &answer).map_err(|error| CliError::Output(error.into()))?;
        writeln!(out)?;
    } else if answer.observations.is_empty() {
        writeln!(out, "no {}ids", if asked.fresh { "fresh " } else { "" })?;
    } else {
        let rows: Vec<_> = answer.observations.iter().map(|observation| Row::from(observation).cells()).collect();
        for line in layout(&COLUMNS, &rows, None) {
            writeln!(out, "{line}")?;
        }
    }
    out.flush()?;
    Ok(if all_fresh { Exit::Fine } else { Exit::NotFresh })
}
