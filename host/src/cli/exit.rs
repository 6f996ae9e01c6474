//! How commands end: exit codes, and the words on stderr.

use std::io::{self, Write};
use std::process::ExitCode;

use serde::Serialize;

use crate::api::Done;
use crate::transport::ApiError;

/// Says on stderr why it could not be done.
pub(super) fn fail(why: &str) -> ExitCode {
    eprintln!("feedgate: {why}");
    ExitCode::from(2)
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
pub(super) fn outcome(told: Result<Done, CliError>, out: &mut impl Write) -> Result<Exit, CliError> {
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
pub(super) fn write_json(what: &(impl Serialize + ?Sized), out: &mut impl Write) -> Result<(), CliError> {
    serde_json::to_writer(&mut *out, what).map_err(|error| CliError::Output(error.into()))?;
    Ok(writeln!(out)?)
}

/// The exit code; an error is printed with its cause.
pub(super) fn exit_code(result: Result<Exit, CliError>) -> ExitCode {
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
