//! One step of `bench scale`: a daemon with so many connections, in this process, measured from its start on.
//!
//! Latency is what the store tells: each value says when it was sent, and the store when it was received. That is looked
//! up after the frames are through, so looking costs nothing meanwhile; what it leaves out is the call that follows.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Error;
use feedgate_tests::load;
use serde::{Deserialize, Serialize};
use tokio::runtime::Handle;
use tokio::time::Instant;

use super::codec::since_sent;
use super::report::at;
use super::side::{section, wait};
use super::usage::Switches;
use super::venue::Venue;
use super::{load_file, shown, usage};
use crate::cli::Logs;
use crate::contract::description::{Bucket, Limited};
use crate::contract::limits::PluginLimits;
use crate::contract::observation::Value;
use crate::daemon::{ConfigSource, Daemon};
use crate::plugin::{Compiler, Engine, Plugin};
use crate::status::metrics::ProviderMetrics;
use crate::status::{ProviderState, Status};
use crate::store::state_dir::StateDir;
use crate::store::{Store, wall_clock};

/// Most plugins, and so providers.
pub(super) const PLUGINS: usize = 50;

/// On each connection.
pub(super) const IDS: usize = 10;

/// How many seconds long frames come.
const FRAMES_FOR: usize = 3;

/// Fewer latencies tell nothing of the hundredth.
const LATENCIES: usize = 10_000;

/// What was asked for.
#[derive(Clone, Debug)]
pub struct StepAsked {
    /// With the plugins, and what they were compiled to.
    pub directory: PathBuf,
    pub connections: usize,
    /// Frames a second, over all connections.
    pub rate: usize,
    /// How long nothing is sent.
    pub quiet: Duration,
}

/// What was measured.
#[derive(Clone, Serialize, Deserialize, Debug)]
pub(super) struct Step {
    pub(super) connections: usize,
    pub(super) ids: usize,
    pub(super) plugins: usize,
    pub(super) run_cpu_ms: f64,
    pub(super) start_cpu_ms: f64,
    pub(super) start_s: f64,
    pub(super) idle_cpu_s_per_s: f64,
    pub(super) idle_switches_per_s: f64,
    pub(super) resident_bytes: u64,
    pub(super) anonymous_bytes: u64,
    pub(super) cpu_ns_per_frame: f64,
    pub(super) frames: u64,
    pub(super) stored: u64,
    /// 50, 99 and 99.9 of a hundred.
    pub(super) latency_ns: [u64; 3],
    pub(super) reconnect_half_s: f64,
    pub(super) reconnect_s: f64,
    pub(super) reconnect_cpu_ms: f64,
    /// What a reconnect keeps to.
    pub(super) limits: String,
}

/// Prints what was measured as JSON.
pub async fn step(asked: StepAsked, logs: &Logs) -> anyhow::Result<ExitCode> {
    logs.start("error");
    shown(move || Ok(serde_json::to_string(&measure(&asked)?)?)).await
}

fn measure(asked: &StepAsked) -> anyhow::Result<Step> {
    let StepAsked { directory, connections, rate, quiet } = asked;
    let (connections, rate, quiet) = (*connections, *rate, *quiet);
    usage::allow_descriptors();
    let mut venue = Venue::start()?;
    let plugins = connections.clamp(1, PLUGINS);
    let each = connections.div_ceil(plugins);
    let connections = plugins * each;
    let ids = connections * IDS;
    let (config, limits) = configuration(directory, &venue.origin, plugins, each)?;
    let path = directory.join("feedgate.toml");
    std::fs::write(&path, config)?;

    let (started, cpu) = (Instant::now(), usage::cpu());
    let runtime = Handle::current();
    let daemon = runtime.block_on(Daemon::start(ConfigSource::File(path))).map_err(Error::msg)?;
    let (store, status) = (daemon.store().clone(), daemon.status().clone());
    wait("not all providers ran", || {
        let providers = status.providers();
        providers.len() == plugins && providers.iter().all(|one| one.info().state == ProviderState::Running)
    })?;
    let run_cpu = usage::cpu() - cpu;
    settle(&status, connections, ids)?;
    let (start, start_cpu) = (started.elapsed(), usage::cpu() - cpu);

    // What the start leaves behind is not quiet yet.
    std::thread::sleep(Duration::from_secs(1));
    let (cpu, switches) = (usage::cpu(), Switches::now());
    std::thread::sleep(quiet);
    let (idle_cpu, idle_switches) = (usage::cpu() - cpu, Switches::now().since(&switches));
    let (resident_bytes, anonymous_bytes) = usage::resident().unwrap_or_default();

    let (cpu, before) = (usage::cpu(), sum(&status, stored));
    let frames = send(&status, &mut venue, connections, rate * FRAMES_FOR, rate)?;
    let cpu_ns_per_frame = (usage::cpu() - cpu).as_nanos() as f64 / frames.max(1) as f64;
    let stored = sum(&status, stored) - before;
    let mut latencies = Vec::new();
    while latencies.len() < LATENCIES {
        // Each id once.
        send(&status, &mut venue, connections, ids, rate)?;
        latencies.extend(received(&store));
    }
    latencies.sort_unstable();

    let (cut, cpu, connects) = (Instant::now(), usage::cpu(), sum(&status, connects));
    venue.tell("cut")?;
    let again = |share: usize| sum(&status, self::connects) - connects >= share as u64;
    wait("not half reconnected", || again(connections.div_ceil(2)))?;
    let reconnect_half = cut.elapsed();
    wait("not all reconnected", || again(connections))?;
    settle(&status, connections, ids)?;
    let (reconnect, reconnect_cpu) = (cut.elapsed(), usage::cpu() - cpu);
    runtime.block_on(daemon.stop());
    let millis = |time: Duration| time.as_secs_f64() * 1000.0;
    Ok(Step {
        connections,
        ids,
        plugins,
        run_cpu_ms: millis(run_cpu),
        start_cpu_ms: millis(start_cpu),
        start_s: start.as_secs_f64(),
        idle_cpu_s_per_s: idle_cpu.as_secs_f64() / quiet.as_secs_f64(),
        idle_switches_per_s: idle_switches as f64 / quiet.as_secs_f64(),
        resident_bytes,
        anonymous_bytes,
        cpu_ns_per_frame,
        frames,
        stored,
        latency_ns: [0.50, 0.99, 0.999].map(|share| at(&latencies, share).unwrap_or_default()),
        reconnect_half_s: reconnect_half.as_secs_f64(),
        reconnect_s: reconnect.as_secs_f64(),
        reconnect_cpu_ms: millis(reconnect_cpu),
        limits,
    })
}

/// The configuration of so many providers, each with so many connections, and what their reconnects keep to.
fn configuration(directory: &Path, origin: &str, plugins: usize, each: usize) -> anyhow::Result<(String, String)> {
    let state = StateDir::open(&directory.join("state"))?;
    let engine = Engine::new(PluginLimits::default(), Compiler::default(), Some(&state)).map_err(Error::msg)?;
    // Nobody is to be asked for anew because the venue is quiet.
    let mut config = "api = { enabled = false }\n".to_owned();
    let mut limits = String::new();
    for number in 0..plugins {
        let name = format!("p{number:02}");
        let plugin = load_file(&engine, &directory.join(format!("plugins/{name}.wasm")))?;
        let ids: Vec<String> = (0..each * IDS).map(|id| load::id(number * each * IDS + id)).collect();
        config += &section(&plugin, origin, &name, &ids, IDS);
        config += "max_age_ms = 3600000\n";
        limits = kept(&plugin);
    }
    Ok((config, limits))
}

/// The limits of a reconnect, in words.
fn kept(plugin: &Plugin) -> String {
    let backoff = crate::logic::backoff::BackoffConfig::default();
    let buckets = plugin
        .description()
        .buckets
        .iter()
        .filter(|bucket| matches!(bucket.what, Limited::Connect | Limited::Send | Limited::Subscribe));
    let word = |bucket: &Bucket| {
        format!("{} × {:?} in {} s for each {:?}", bucket.count, bucket.what, bucket.per.as_secs_f64(), bucket.scope)
    };
    let words: Vec<String> = buckets.map(word).collect();
    let first = format!("a first wait at random of up to {} ms", backoff.first().as_millis());
    [vec![first], words].concat().join(", ").to_lowercase()
}

fn stored(metrics: &ProviderMetrics) -> u64 {
    metrics.counts().good
}

fn connects(metrics: &ProviderMetrics) -> u64 {
    metrics.connects.get()
}

fn sum(status: &Status, of: impl Fn(&ProviderMetrics) -> u64) -> u64 {
    status.providers().iter().map(|provider| of(&provider.metrics)).sum()
}

/// Waits until so many connections are open and so many ids subscribed.
fn settle(status: &Status, connections: usize, ids: usize) -> anyhow::Result<()> {
    wait("not everything was connected", || {
        let open = |metrics: &ProviderMetrics| u64::try_from(metrics.connections_open.get()).unwrap_or_default();
        sum(status, open) == connections as u64
    })?;
    wait("not everything was subscribed", || {
        let subscribed = status
            .providers()
            .iter()
            .flat_map(|provider| provider.info().connections.into_values())
            .map(|connection| if connection.phase == "open" { connection.ids - connection.unconfirmed } else { 0 })
            .sum::<usize>();
        subscribed == ids
    })
}

/// Has the venue send frames, one a wake-up, and waits until their values are in the store.
fn send(status: &Status, venue: &mut Venue, connections: usize, frames: usize, rate: usize) -> anyhow::Result<u64> {
    let before = sum(status, stored);
    let sent = venue.tell(&format!("paced {connections} {frames} {rate} 1"))?;
    wait("frames were lost", || sum(status, stored) - before == sent)?;
    Ok(sent)
}

/// How long the last frame of each id took until it was received.
fn received(store: &Store) -> Vec<u64> {
    let (wall, monotonic) = (wall_clock().0, load::monotonic());
    let readings = store.read_all();
    let took = readings.iter().filter_map(|reading| {
        let held = reading.held.as_ref()?;
        let Value::Decimal(price) = held.value else { return None };
        // The receipt, on the clock of the sender.
        let received = monotonic.checked_sub(u64::try_from(wall - held.received_at.0).ok()?)?;
        since_sent(price, received)
    });
    took.collect()
}
