//! `feedgate reload` and `feedgate rotate`: telling a running daemon to read its configuration again, or to replace
//! connections.

use std::io::{self, Write};
use std::process::ExitCode;

use super::daemon::{Address, Daemon};
use super::table::{Cell, Column, Tone, layout};
use super::{CliError, Exit, exit_code, outcome, write_json};
use crate::api::{Applied, Done, Reload};

const COLUMNS: [Column; 3] = [Column::left("PROVIDER"), Column::left("RESULT"), Column::left("REASON")];

/// Whom to tell, and what to show.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ReloadAsked {
    pub daemon: Address,
    pub how: How,
    pub json: bool,
}

#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum How {
    /// Say only that it was asked for.
    Ask,
    /// Say what came of it.
    Wait,
    /// Say what came of the last one, and change nothing.
    Last,
}

/// Exit code 0 when everything that was written then applies, 1 when something was refused or kept back, 2 when there is no
/// answer. Where it is only asked for, 0 says that it was.
pub async fn reload(asked: &ReloadAsked) -> ExitCode {
    exit_code(print(asked, &mut io::stdout(), &mut io::stderr()).await)
}

/// Replaces every connection, or those of one provider. Exit code 0 when that has begun, 1 when the daemon does not do it,
/// 2 when there is no answer.
pub async fn rotate(daemon: &Address, provider: Option<&str>) -> ExitCode {
    let told = async { Daemon::new(daemon)?.rotate(provider).await };
    exit_code(outcome(told.await, &mut io::stdout()))
}

pub(super) async fn print(asked: &ReloadAsked, out: &mut impl Write, err: &mut impl Write) -> Result<Exit, CliError> {
    let daemon = Daemon::new(&asked.daemon)?;
    let report = match asked.how {
        How::Ask => {
            let done = daemon.reload_soon().await?;
            if asked.json {
                write_json(&done, out)?
            } else {
                writeln!(out, "{}", done.done)?
            }
            out.flush()?;
            return Ok(Exit::Fine);
        }
        How::Wait => daemon.reload().await?,
        How::Last => match daemon.config().await?.last_reload {
            Some(report) => report,
            None => {
                let said = "nothing was reloaded since the daemon started";
                if asked.json {
                    write_json(&Done { done: said.to_owned() }, out)?
                } else {
                    writeln!(out, "{said}")?
                }
                out.flush()?;
                return Ok(Exit::Fine);
            }
        },
    };
    if asked.json {
        write_json(&report, out)?
    } else {
        table(&report, out)?
    }
    for error in &report.errors {
        writeln!(err, "feedgate: {error}")?;
    }
    out.flush()?;
    Ok(if report.ok { Exit::Fine } else { Exit::NotDone })
}

fn table(report: &Reload, out: &mut impl Write) -> io::Result<()> {
    if report.providers.is_empty() {
        return writeln!(out, "no providers are configured");
    }
    let cells = |applied: &Applied| {
        let cells = [Cell::plain(&applied.provider), Cell::plain(&applied.result)];
        cells.into_iter().chain([Cell::new(&applied.reason, Tone::Faint)]).collect()
    };
    let rows: Vec<_> = report.providers.iter().map(cells).collect();
    layout(&COLUMNS, &rows, None).into_iter().try_for_each(|line| writeln!(out, "{line}"))
}
