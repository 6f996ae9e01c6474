//! `feedgate bench`: what the daemon's path costs, with the plugin and with native code in its place, in one run.
//!
//! The simulated venue is a process of its own (`venue`) that blasts frames over loopback; this process is what is
//! measured: a provider as the daemon runs it (`side`), with one of the readers of `codec` where the plugin's codec stands.
//! Readers take turns, round by round, so that what else the machine does strikes all alike; `usage` reads what the system
//! counts, `report` makes medians and ratios of it. `scale` is the other half: a whole daemon with many connections, step by step (`step`).
//!
//! Nothing here judges: numbers are shown beside their targets, and the exit code says only whether it could be measured.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Error, anyhow};
use feedgate_tests::load;
use serde_json::json;

use self::codec::Reader;
use self::report::{Memory, Rounds};
use self::side::{Load, Side};
use self::venue::Venue;
use super::Logs;
use super::demo::compiled;
use crate::contract::limits::PluginLimits;
use crate::plugin::{Compiler, Engine, Plugin};

mod codec;
mod report;
mod scale;
mod side;
mod step;
mod usage;
mod venue;

pub use scale::{Scale, scale};
pub use step::{StepAsked, step};

/// What was asked for.
#[derive(Clone, Debug)]
pub struct Bench {
    /// Of each reader in each round, as fast as they are read.
    pub frames: usize,
    /// Frames a second, where they are not read as fast as they come.
    pub rate: usize,
    pub rounds: usize,
    pub connections: usize,
    /// Over all connections.
    pub ids: usize,
    pub json: bool,
    /// Built from the source tree, if `None`.
    pub plugins: Option<PathBuf>,
}

/// More connections to see what one takes, and more ids on each to see what one takes.
const MORE_CONNECTIONS: usize = 20;
const MORE_IDS: usize = 100;

/// The venue: the hidden command's whole life.
pub fn venue() -> anyhow::Result<ExitCode> {
    usage::allow_descriptors();
    load::run().context("the simulated venue")?;
    Ok(ExitCode::SUCCESS)
}

/// Exit code 0 when everything could be measured, 2 when not.
pub async fn bench(asked: Bench, logs: &Logs) -> anyhow::Result<ExitCode> {
    logs.start("error");
    shown(move || measure(&asked)).await
}

async fn shown(measure: impl FnOnce() -> anyhow::Result<String> + Send + 'static) -> anyhow::Result<ExitCode> {
    println!("{}", tokio::task::spawn_blocking(measure).await??.trim_end());
    Ok(ExitCode::SUCCESS)
}

fn measure(asked: &Bench) -> anyhow::Result<String> {
    usage::allow_descriptors();
    let file = plugin_file(asked.plugins.as_deref())?;
    let engine = Engine::new(PluginLimits::default(), Compiler::default(), None).map_err(Error::msg)?;
    let plugin = load_file(&engine, &file)?;
    let connections = asked.connections.max(1);
    let ids = ids(asked.ids.max(connections));
    let per_connection = ids.len().div_ceil(connections);
    let load_before = usage::load();
    let mut venue = Venue::start()?;
    // First, while this process is small.
    let memory = memory(&plugin, &venue)?;
    let mut rounds = Rounds::default();
    let mut connected = 0;
    for _ in 0..asked.rounds.max(1) {
        for reader in Reader::ALL {
            let side = Side::start(&plugin, &venue.origin, &ids, per_connection, reader)?;
            connected = side.connections();
            // Not counted: what is touched for the first time.
            side.run(&mut venue, Load::Full, asked.frames.div_ceil(10), asked.rate)?;
            for load in Load::ALL {
                let frames = if load == Load::Full { asked.frames } else { asked.frames.min(asked.rate) };
                rounds.add(load, reader, side.run(&mut venue, load, frames, asked.rate)?);
            }
            side.stop();
        }
    }
    let load_after = usage::load();
    let description = plugin.description();
    if asked.json {
        let mut report = rounds.json(memory);
        report["plugin"] =
            json!({ "name": description.name, "version": description.version, "digest": plugin.digest().to_string() });
        report["machine"] =
            json!({ "processors": usage::processors(), "load_before": load_before, "load_after": load_after });
        report["asked"] = json!({
            "frames": asked.frames, "rate": asked.rate, "rounds": asked.rounds, "connections": connected, "ids": ids.len(),
        });
        return Ok(format!("{report:#}"));
    }
    let load = |load: Option<f64>| load.map_or_else(|| "?".to_owned(), |load| load.to_string());
    let head = format!(
        "{} {}: {connected} connections, {} ids; medians of {} interleaved rounds; load {} before, {} after, on {} processors\n",
        description.name,
        description.version,
        ids.len(),
        asked.rounds.max(1),
        load(load_before),
        load(load_after),
        usage::processors(),
    );
    Ok(head + &rounds.table(asked.rate, memory)?)
}

/// What quiet connections and ids take, from how much more this process has with more of them.
fn memory(plugin: &Plugin, venue: &Venue) -> anyhow::Result<Option<Memory>> {
    let resident = || usage::resident().map(|(all, _)| all);
    let mut side = Side::start(plugin, &venue.origin, &ids(1), 1, Reader::Plugin)?;
    let one = resident();
    let connections = 1 + MORE_CONNECTIONS;
    side.set_ids(plugin, &venue.origin, &ids(connections), 1)?;
    let many = resident();
    let each = 1 + MORE_IDS;
    side.set_ids(plugin, &venue.origin, &ids(connections * each), each)?;
    let full = resident();
    side.stop();
    let (Some(one), Some(many), Some(full)) = (one, many, full) else { return Ok(None) };
    let share = |more: u64, of: u64, count: usize| more.saturating_sub(of) / count as u64;
    Ok(Some(Memory {
        resident: one,
        per_connection: share(many, one, MORE_CONNECTIONS),
        per_id: share(full, many, connections * MORE_IDS),
    }))
}

fn ids(count: usize) -> Vec<String> {
    (0..count).map(load::id).collect()
}

/// The plugin that the simulated venue feeds.
fn plugin_file(plugins: Option<&Path>) -> anyhow::Result<PathBuf> {
    let named = |file: &PathBuf| file.file_stem().is_some_and(|stem| stem == load::PLUGIN);
    compiled(plugins)?
        .into_iter()
        .find(named)
        .with_context(|| format!("{}.wasm is not among the plugins", load::PLUGIN))
}

fn load_file(engine: &Engine, file: &Path) -> anyhow::Result<Plugin> {
    let bytes = std::fs::read(file).with_context(|| file.display().to_string())?;
    engine.load_blocking(&bytes).map_err(|error| anyhow!("{}: {error}", file.display()))
}
