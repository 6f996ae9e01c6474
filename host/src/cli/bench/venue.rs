//! The simulated venue in a process of its own, so that what it costs is not counted with what is measured.

use std::io::{self, BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::Context as _;

/// The hidden command that is the venue.
const COMMAND: &str = "bench-venue";

/// Ends with whoever started it, because its stdin does.
pub(super) struct Venue {
    process: Child,
    to: Option<ChildStdin>,
    from: BufReader<ChildStdout>,
    /// `ws://` and where it listens.
    pub(super) origin: String,
}

impl Venue {
    pub(super) fn start() -> anyhow::Result<Self> {
        let start = || -> io::Result<Self> {
            let mut command = Command::new(std::env::current_exe()?);
            let mut process = command.arg(COMMAND).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
            let (to, from) = (process.stdin.take(), process.stdout.take());
            let mut from = BufReader::new(from.ok_or(io::ErrorKind::BrokenPipe)?);
            let mut address = String::new();
            from.read_line(&mut address)?;
            Ok(Self { process, to, from, origin: format!("ws://{}", address.trim()) })
        };
        start().context("cannot start the simulated venue")
    }

    /// Tells it what to do and waits until it is done. Answers how many frames it sent.
    pub(super) fn tell(&mut self, what: &str) -> anyhow::Result<u64> {
        let mut line = String::new();
        let mut ask = || -> io::Result<()> {
            writeln!(self.to.as_mut().ok_or(io::ErrorKind::BrokenPipe)?, "{what}")?;
            self.from.read_line(&mut line).map(drop)
        };
        ask().context("the simulated venue does not answer")?;
        line.trim().parse().ok().context("the simulated venue has ended")
    }
}

impl Drop for Venue {
    fn drop(&mut self) {
        self.to = None;
        // Nobody is left to tell.
        let _ = self.process.wait();
    }
}
