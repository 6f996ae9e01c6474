//! `feedgate run`: the daemon in the foreground, until SIGINT or SIGTERM; SIGHUP reads the configuration again, SIGUSR1
//! replaces every connection.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Error};

use super::Logs;
use crate::daemon::{ConfigSource, Daemon};

/// Exit code 0 after a clean stop, 1 when something did not stop in time, 2 when it did not start.
pub async fn run(config: PathBuf, logs: &Logs) -> anyhow::Result<ExitCode> {
    logs.start("info");
    // Before anything is started, so that a signal that comes early is not lost.
    let mut signals = Signals::new().context("cannot listen for signals")?;
    let daemon = Daemon::start(ConfigSource::File(config)).await.map_err(Error::msg)?;
    if let Some(url) = daemon.api_url() {
        tracing::info!("API at {url}");
    }
    loop {
        match signals.next().await {
            Signal::Reload => daemon.control().reload_soon(),
            Signal::Rotate => daemon.control().rotate_soon(),
            Signal::Stop => break,
        }
    }
    tracing::info!("stopping");
    let in_time = tokio::select! {
        in_time = daemon.stop() => in_time,
        // Whoever asks twice means it.
        () = signals.stop() => false,
    };
    Ok(if in_time { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

enum Signal {
    Reload,
    #[cfg_attr(not(unix), expect(dead_code, reason = "there is no such signal"))]
    Rotate,
    Stop,
}

#[cfg(unix)]
struct Signals {
    hangup: tokio::signal::unix::Signal,
    user: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn new() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            hangup: signal(SignalKind::hangup())?,
            user: signal(SignalKind::user_defined1())?,
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.hangup.recv() => Signal::Reload,
            _ = self.user.recv() => Signal::Rotate,
            _ = self.interrupt.recv() => Signal::Stop,
            _ = self.terminate.recv() => Signal::Stop,
        }
    }
}

#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self)
    }

    async fn next(&mut self) -> Signal {
        // Without a console there is nothing to wait for.
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
        Signal::Stop
    }
}

impl Signals {
    async fn stop(&mut self) {
        while !matches!(self.next().await, Signal::Stop) {}
    }
}
