//! `feedgate bench scale`: a whole daemon with few, many and very many connections, and what grows with them.
//!
//! Plugins are copies of one, each with a venue of its own: a copy names another host, so that each has its own file, code,
//! provider, thread and limits. They are compiled before anything is measured. Each step is a process of its own (`step`),
//! so that what it has in memory is its own.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Error, ensure};
use serde_json::json;

use super::report::{CONNECTION_TARGET, hundredths};
use super::step::{IDS, PLUGINS, Step};
use super::{load_file, plugin_file, shown, usage};
use crate::cli::Logs;
use crate::contract::limits::PluginLimits;
use crate::contract::origin::Origin;
use crate::plugin::{Compiler, Engine, Plugin};
use crate::store::state_dir::StateDir;

/// The hidden command that is one step.
const COMMAND: &str = "bench-step";

/// What was asked for.
#[derive(Clone, Debug)]
pub struct Scale {
    pub connections: Vec<usize>,
    /// Frames a second, over all connections.
    pub rate: usize,
    /// How long to watch connections on which nothing comes.
    pub quiet: Duration,
    pub json: bool,
    /// Built from the source tree, if `None`.
    pub plugins: Option<PathBuf>,
}

/// Exit code 0 when everything could be measured, 2 when not.
pub async fn scale(asked: Scale, logs: &Logs) -> anyhow::Result<ExitCode> {
    logs.start("error");
    shown(move || measure(&asked)).await
}

fn measure(asked: &Scale) -> anyhow::Result<String> {
    let directory = tempfile::Builder::new().prefix("feedgate-bench-").tempdir()?;
    let most = asked.connections.iter().copied().max().unwrap_or_default();
    copies(&plugin_file(asked.plugins.as_deref())?, directory.path(), most.min(PLUGINS))?;
    let load_before = usage::load();
    let steps = asked.connections.iter().map(|&connections| {
        eprintln!("feedgate: {connections} connections");
        step(directory.path(), connections, asked).with_context(|| format!("with {connections} connections"))
    });
    let steps: Vec<Step> = steps.collect::<Result<_, _>>()?;
    if asked.json {
        let growth = growths(&steps).into_iter().map(|(name, factor)| (name.to_owned(), json!(hundredths(factor))));
        let report = json!({
            "machine": { "processors": usage::processors(), "load_before": load_before, "load_after": usage::load() },
            "rate": asked.rate,
            "steps": steps,
            "growth_beyond_linear": growth.collect::<serde_json::Map<_, _>>(),
        });
        return Ok(format!("{report:#}"));
    }
    Ok(table(&steps, asked.rate)?)
}

/// Puts the copies into the directory, compiled ahead.
fn copies(file: &Path, directory: &Path, count: usize) -> anyhow::Result<()> {
    let bytes = std::fs::read(file).with_context(|| file.display().to_string())?;
    let plugins = directory.join("plugins");
    std::fs::create_dir(&plugins)?;
    let state = StateDir::open(&directory.join("state"))?;
    let engine = Engine::new(PluginLimits::default(), Compiler::default(), Some(&state)).map_err(Error::msg)?;
    let origin = stream(&load_file(&engine, file)?)?;
    eprintln!("feedgate: compiling {count} plugins");
    for number in 0..count {
        let copy = plugins.join(format!("p{number:02}.wasm"));
        std::fs::write(&copy, elsewhere(&bytes, &origin, number))?;
        let moved = stream(&load_file(&engine, &copy)?)? != origin;
        ensure!(moved, "the plugin cannot be given another venue: its file does not name the host in one piece");
    }
    Ok(())
}

/// Where it streams from.
fn stream(plugin: &Plugin) -> anyhow::Result<Origin> {
    let origins = &plugin.description().origins;
    let stream = origins.iter().find(|origin| origin.to_string().starts_with("wss://"));
    stream.cloned().context("the plugin streams from nowhere")
}

/// The same file with another host, of the same length.
fn elsewhere(file: &[u8], origin: &Origin, number: usize) -> Vec<u8> {
    let host = format!("wss://{}", origin.host());
    let other = format!("wss://{number:02}{}", origin.host().get(2..).unwrap_or_default());
    let mut copy = file.to_vec();
    let mut at = 0;
    while let Some(found) = copy[at..].windows(host.len()).position(|bytes| bytes == host.as_bytes()) {
        copy[at + found..][..host.len()].copy_from_slice(other.as_bytes());
        at += found + host.len();
    }
    copy
}

fn step(directory: &Path, connections: usize, asked: &Scale) -> anyhow::Result<Step> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg(COMMAND).arg(directory).args([connections, asked.rate].map(|number| number.to_string()));
    command.arg(format!("{}ms", asked.quiet.as_millis()));
    let ended = command.stderr(Stdio::inherit()).output()?;
    ensure!(ended.status.success(), "the step failed: {}", ended.status);
    Ok(serde_json::from_slice(&ended.stdout)?)
}

/// What more connections should take in proportion, and how much more it is from step to step than that: the last
/// difference for one connection by the one before. 1 is linear.
fn growths(steps: &[Step]) -> Vec<(&'static str, f64)> {
    let [.., a, b, c] = steps else { return Vec::new() };
    let slope = |of: fn(&Step) -> f64, from: &Step, to: &Step| {
        (of(to) - of(from)) / (to.connections as f64 - from.connections as f64)
    };
    let growth = |of: fn(&Step) -> f64| slope(of, b, c) / slope(of, a, b);
    vec![
        ("memory", growth(|step| step.resident_bytes as f64)),
        ("idle processor time", growth(|step| step.idle_cpu_s_per_s)),
        ("processor time to start", growth(|step| step.start_cpu_ms)),
        ("processor time to reconnect", growth(|step| step.reconnect_cpu_ms)),
    ]
}

fn table(steps: &[Step], rate: usize) -> Result<String, std::fmt::Error> {
    let mut out = String::new();
    let mut row = |name: &str, of: &dyn Fn(&Step) -> String| {
        write!(out, "{name:<48}")?;
        for step in steps {
            write!(out, "{:>12}", of(step))?;
        }
        writeln!(out)
    };
    row("connections", &|step| step.connections.to_string())?;
    row("ids", &|step| step.ids.to_string())?;
    row("plugins, each with a provider", &|step| step.plugins.to_string())?;
    row("start → all providers run, CPU ms", &|step| format!("{:.0}", step.run_cpu_ms))?;
    row("start → everything subscribed, CPU ms", &|step| format!("{:.0}", step.start_cpu_ms))?;
    row("start → everything subscribed, s", &|step| format!("{:.2}", step.start_s))?;
    row("quiet: CPU ms a second", &|step| format!("{:.2}", step.idle_cpu_s_per_s * 1000.0))?;
    row("quiet: context switches a second", &|step| format!("{:.0}", step.idle_switches_per_s))?;
    row("resident, MiB", &|step| format!("{:.1}", step.resident_bytes as f64 / f64::from(1 << 20)))?;
    row(&format!("{rate} frames/s: CPU ns a frame"), &|step| format!("{:.0}", step.cpu_ns_per_frame))?;
    for (number, name) in ["p50", "p99", "p99.9"].into_iter().enumerate() {
        let micros = |step: &Step| format!("{:.1}", step.latency_ns[number] as f64 / 1000.0);
        row(&format!("{rate} frames/s: sent → received, {name}, µs"), &micros)?;
    }
    row("all cut → half are connected again, s", &|step| format!("{:.2}", step.reconnect_half_s))?;
    row("all cut → everything subscribed again, s", &|step| format!("{:.2}", step.reconnect_s))?;
    row("all cut → everything subscribed again, CPU ms", &|step| format!("{:.0}", step.reconnect_cpu_ms))?;
    if let [.., before, last] = steps {
        let more = last.connections.saturating_sub(before.connections).max(1) as u64;
        let each = last.resident_bytes.saturating_sub(before.resident_bytes) / more / 1024;
        let target = CONNECTION_TARGET >> 10;
        writeln!(out, "one more connection with {IDS} ids takes {each} KiB (target ≤ {target}, with one id)")?;
    }
    if let Some(last) = steps.last() {
        writeln!(out, "reconnects keep to: {}", last.limits)?;
    }
    let growths = growths(steps);
    let faster = growths.iter().filter(|(_, factor)| *factor > 1.25);
    let faster: Vec<String> = faster.map(|(name, factor)| format!("{name} (×{factor:.2} for each)")).collect();
    if !growths.is_empty() {
        writeln!(
            out,
            "faster than linear: {}",
            if faster.is_empty() { "nothing".to_owned() } else { faster.join(", ") }
        )?;
    }
    Ok(out)
}
