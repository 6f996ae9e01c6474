//! `feedgate watch`: a running daemon's observations, live.

use std::process::ExitCode;
use std::time::Duration;

use super::daemon::{Address, Daemon};
use super::live::{Live, live};
use super::{CliError, Exit, exit_code};

/// What to watch and how to show it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Watch {
    pub daemon: Address,
    /// All of them, if `None`.
    pub provider: Option<String>,
    /// For how long; until `q` or a signal, if `None`.
    pub time: Option<Duration>,
    /// Lines of JSON, even where there is a terminal.
    pub json: bool,
}

/// Shows the observations until told to stop. Exit code 0, or 2 when the daemon cannot be reached or refuses the
/// question, at the first look or at the last.
pub async fn watch(asked: &Watch) -> ExitCode {
    exit_code(show(asked).await)
}

async fn show(asked: &Watch) -> Result<Exit, CliError> {
    let daemon = Daemon::new(&asked.daemon)?;
    let title = format!("feedgate at {}", daemon.base());
    let look = async || {
        let answer = daemon.observations(asked.provider.as_deref(), None).await?;
        Ok(answer.observations)
    };
    live(look, &Live { notes: Vec::new(), title, limit: asked.time, json: asked.json }).await
}
