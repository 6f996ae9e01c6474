//! The side that is measured: one provider as the daemon runs it, with one of the readers where its codec stands.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Error, ensure};
use tokio::runtime::Handle;
use tokio::time::Instant;

use super::codec::{Open, Reader, Watch};
use super::usage;
use super::venue::Venue;
use crate::config::{Config, ProviderConfig};
use crate::plugin::Plugin;
use crate::provider::Provider;
use crate::status::Status;
use crate::status::metrics::StageTimes;
use crate::store::Store;
use crate::transport::OriginLimits;

/// How long anything may take that takes milliseconds.
const PATIENCE: Duration = Duration::from_secs(60);

/// How frames come.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Load {
    /// As fast as they are read.
    Full,
    /// At a rate, one a wake-up.
    Paced,
    /// At the same rate, ten at a time.
    Burst,
}

impl Load {
    pub(super) const ALL: [Self; 3] = [Self::Full, Self::Paced, Self::Burst];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Paced => "paced",
            Self::Burst => "burst",
        }
    }
}

/// One load, once.
pub(super) struct Run {
    pub(super) sent: u64,
    pub(super) received: u64,
    /// Values that reached the store.
    pub(super) stored: u64,
    pub(super) took: Duration,
    pub(super) cpu: Duration,
    /// Of the batches that were timed.
    pub(super) stages: StageTimes,
    /// Nanoseconds from sent to read, in ascending order; none where nobody reads.
    pub(super) latencies: Vec<u64>,
}

/// A provider at work.
pub(super) struct Side {
    provider: Provider<Open>,
    watch: Arc<Watch>,
    reader: Reader,
}

impl Side {
    /// Connects to the venue at `origin` and waits until everything is subscribed.
    pub(super) fn start(
        plugin: &Plugin,
        origin: &str,
        ids: &[String],
        per_connection: usize,
        reader: Reader,
    ) -> anyhow::Result<Self> {
        let status = Status::default().detached("bench");
        let watch = Arc::<Watch>::default();
        let config = config(plugin, origin, ids, per_connection)?;
        // Limits of its own: the venue is none that could mind.
        let origins = Arc::<OriginLimits>::default();
        let open = |plugin| Open { plugin, reader, watch: watch.clone() };
        let provider = Provider::with_codec(plugin.clone(), config, &Store::default(), status, origins, open)
            .map_err(Error::msg)?;
        let mut side = Self { provider, watch, reader };
        side.provider.run().map_err(Error::msg)?;
        side.settle(ids.len())?;
        Ok(side)
    }

    /// Other ids, and room for so many on each connection.
    pub(super) fn set_ids(
        &mut self,
        plugin: &Plugin,
        origin: &str,
        ids: &[String],
        per_connection: usize,
    ) -> anyhow::Result<()> {
        self.provider.set_ids(config(plugin, origin, ids, per_connection)?).map_err(Error::msg)?;
        self.settle(ids.len())
    }

    /// Waits until so many ids are subscribed.
    fn settle(&self, ids: usize) -> anyhow::Result<()> {
        wait("not everything was subscribed", || {
            let info = self.provider.status().info();
            let open = info.connections.values().filter(|connection| connection.phase == "open");
            let subscribed: usize = open.map(|connection| connection.ids - connection.unconfirmed).sum();
            subscribed == ids
        })
    }

    pub(super) fn connections(&self) -> usize {
        self.provider.connections()
    }

    /// Has the venue send `frames` and waits until they are read.
    pub(super) fn run(&self, venue: &mut Venue, load: Load, frames: usize, rate: usize) -> anyhow::Result<Run> {
        let metrics = &self.provider.status().metrics;
        let before = (metrics.frames_received.get(), metrics.counts().good);
        let stages = metrics.stage_times();
        if load != Load::Full {
            self.watch.start(frames);
        }
        let (started, cpu) = (Instant::now(), usage::cpu());
        // The venue's answer is waited for, so that looking for the end does not add to what is measured.
        let connections = self.connections();
        let sent = venue.tell(&match load {
            Load::Full => format!("full {connections} {frames}"),
            Load::Paced => format!("paced {connections} {frames} {rate} 1"),
            Load::Burst => format!("paced {connections} {frames} {rate} 10"),
        })?;
        let counted = || (metrics.frames_received.get() - before.0, metrics.counts().good - before.1);
        wait("frames were lost", || {
            let (received, stored) = counted();
            received == sent && (stored == sent || self.reader == Reader::Null)
        })?;
        let (cpu, took) = (usage::cpu() - cpu, started.elapsed());
        let mut latencies = self.watch.stop();
        latencies.sort_unstable();
        let (received, stored) = counted();
        let stages = since(stages, metrics.stage_times());
        Ok(Run { sent, received, stored, took, cpu, stages, latencies })
    }

    pub(super) fn stop(self) {
        Handle::current().block_on(self.provider.stop("measured"));
    }
}

fn since(before: StageTimes, now: StageTimes) -> StageTimes {
    StageTimes {
        frames: now.frames - before.frames,
        socket: now.socket - before.socket,
        unpack: now.unpack - before.unpack,
        plugin: now.plugin - before.plugin,
        store: now.store - before.store,
    }
}

/// Looks again and again until something holds.
pub(super) fn wait(otherwise: &str, holds: impl Fn() -> bool) -> anyhow::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        ensure!(Instant::now() < deadline, "{otherwise} within {} s", PATIENCE.as_secs());
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

fn config(plugin: &Plugin, origin: &str, ids: &[String], per_connection: usize) -> anyhow::Result<ProviderConfig> {
    let section = section(plugin, origin, "bench", ids, per_connection);
    let config = Config::parse(&section, Path::new("bench.toml"))?;
    config.providers.into_values().next().context("no provider to measure")
}

/// The configuration of a provider whose venue is simulated at `origin`.
pub(super) fn section(plugin: &Plugin, origin: &str, name: &str, ids: &[String], per_connection: usize) -> String {
    let streams = plugin.description().origins.iter().map(ToString::to_string).filter(|from| from.starts_with("ws"));
    let redirected: Vec<String> = streams.map(|from| format!("{from:?} = {origin:?}")).collect();
    format!(
        "[provider.{name}]\nids = {ids:?}\ntransports = [\"websocket\"]\nredirect_origins = {{ {} }}\n\
         websocket = {{ ids_per_connection = {per_connection} }}\n",
        redirected.join(", ")
    )
}
