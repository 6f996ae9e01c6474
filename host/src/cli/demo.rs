//! `feedgate demo`: simulated venues on loopback, the real plugins from a directory, real sockets, the live table.
//!
//! Nothing is faked on the daemon's side: it is started as `run` starts it, and the plugins' origins are sent to the
//! simulated venues by the same setting that an operator has.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Error, bail, ensure};
use feedgate_tests::{Kind, Venue};
use serde_json::json;
use tokio::time::Instant;

use super::live::{Live, live};
use super::plugin::install;
use super::{Logs, exit_code};
use crate::api::Observation;
use crate::authoring::build;
use crate::daemon::{ConfigSource, Daemon};
use crate::status::Status;
use crate::store::{Reading, State};

/// What was asked for.
#[derive(Clone, Debug)]
pub struct Demo {
    /// Until it is stopped by hand, if `None`; with `json`, ten seconds.
    pub limit: Option<Duration>,
    pub json: bool,
    /// Built from the source tree, if `None`.
    pub plugins: Option<PathBuf>,
}

/// How long the table waits for something to show.
const FIRST_PROVIDER: Duration = Duration::from_secs(10);

/// Where `curl` finds the API while nobody else has the port.
const API: &str = "127.0.0.1:8787";

/// The file of a key, beside the configuration.
const KEY: &str = "demo.key";

/// Exit code 0 when every id of every provider became fresh, 1 when one did not, 2 when it could not start.
pub async fn demo(asked: Demo, logs: &Logs) -> anyhow::Result<ExitCode> {
    let scene = Scene::set(asked.plugins.as_deref(), logs).await?;
    let code = if asked.json {
        scene.report(asked.limit.unwrap_or(Duration::from_secs(10))).await
    } else {
        scene.show(asked.limit).await
    };
    scene.strike().await;
    Ok(code)
}

struct Scene {
    directory: tempfile::TempDir,
    venues: Vec<Venue>,
    daemon: Daemon,
}

impl Scene {
    async fn set(plugins: Option<&Path>, logs: &Logs) -> anyhow::Result<Self> {
        let directory = tempfile::Builder::new().prefix("feedgate-demo-").tempdir()?;
        let log = std::fs::File::create(directory.path().join("demo.log"))?;
        logs.start_to("info", std::sync::Mutex::new(log));
        let plugins_dir = directory.path().join("plugins");
        for file in compiled(plugins)? {
            install(&file, &plugins_dir).with_context(|| file.display().to_string())?;
        }
        let mut venues = Vec::new();
        let mut config = toml::Table::new();
        config.insert("autostart".to_owned(), true.into());
        config.insert(
            "api".to_owned(),
            toml::Value::Table([("listen".to_owned(), api_address().await.into())].into_iter().collect()),
        );
        let mut providers = toml::Table::new();
        for &kind in Kind::ALL {
            let venue = Venue::start(kind).await.context("cannot start a simulated venue")?;
            providers.insert(kind.name().to_owned(), toml::Value::Table(provider(kind, &venue)));
            venues.push(venue);
        }
        config.insert("provider".to_owned(), toml::Value::Table(providers));
        let path = directory.path().join("feedgate.toml");
        std::fs::write(&path, toml::to_string_pretty(&config)?)?;
        std::fs::write(directory.path().join(KEY), "the-simulated-venue-takes-any-key")?;
        let daemon = Daemon::start(ConfigSource::File(path)).await.map_err(Error::msg)?;
        Ok(Self { directory, venues, daemon })
    }

    /// What to try next, a line each.
    fn hints(&self) -> Vec<String> {
        let api = self.daemon.api().map_or_else(String::new, |api| api.to_string());
        let directory = self.directory.path().display();
        let readings = self.daemon.store().read_all();
        let (provider, id) = readings.first().map_or(("PROVIDER", "ID"), |reading| (&*reading.provider, &*reading.id));
        // `cargo run` puts no `feedgate` on the path.
        let feedgate =
            std::env::current_exe().map_or_else(|_| "feedgate".to_owned(), |path| path.display().to_string());
        let files = self.daemon.status().plugins();
        let file = files.last().map_or("NAME", |(stem, _)| stem);
        vec![
            String::new(),
            format!("{} simulated venues, everything on loopback. Try, in another terminal:", self.venues.len()),
            format!("  curl http://{api}/v1/observations/{provider}/{id}"),
            format!("  curl http://{api}/v1/providers ; curl http://{api}/readyz ; curl http://{api}/metrics"),
            format!(
                "  {feedgate} plugin build my-venue --out {directory}/plugins     runs at once; configure it in my-venue.toml beside it"
            ),
            format!(
                "  echo broken > {directory}/plugins/{file}.wasm     refused, the old build goes on: curl http://{api}/v1/plugins"
            ),
            format!("  rm {directory}/plugins/{file}.wasm"),
            format!("configuration, read when it changes: {directory}/feedgate.toml     logs: {directory}/demo.log"),
        ]
    }

    async fn show(&self, limit: Option<Duration>) -> ExitCode {
        let (store, status) = (self.daemon.store().clone(), self.daemon.status().clone());
        let mut seen = Seen::default();
        // The hints name what is there: wait for the first provider, which takes about a second.
        let patience = Instant::now() + limit.unwrap_or(FIRST_PROVIDER).min(FIRST_PROVIDER);
        while store.providers().is_empty() && Instant::now() < patience {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let notes = self.hints();
        if !std::io::stdout().is_terminal() {
            println!("{}", notes.join("\n"));
        }
        let look = async || {
            let readings = store.read_all();
            seen.look(&readings);
            Ok(readings.iter().map(|reading| observation(&status, reading)).collect())
        };
        let title = "feedgate demo".to_owned();
        let shown = live(look, &Live { title, notes, limit, json: false }).await;
        let code = exit_code(shown.map(|_| super::Exit::Fine));
        seen.look(&self.daemon.store().read_all());
        let missing = seen.missing();
        if code != ExitCode::SUCCESS || missing.is_empty() {
            return code;
        }
        for (id, reason) in &missing {
            println!("never fresh: {id}: {reason}");
        }
        ExitCode::FAILURE
    }

    /// Waits until every id was fresh, or for `limit`.
    async fn report(&self, limit: Duration) -> ExitCode {
        let started = Instant::now();
        let (store, status) = (self.daemon.store(), self.daemon.status());
        let mut seen = Seen::default();
        loop {
            seen.look(&store.read_all());
            let running = status.providers().len() >= self.venues.len() && status.not_ready(store).is_empty();
            if started.elapsed() >= limit || (running && seen.missing().is_empty()) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let missing = seen.missing();
        let not_ready = status.not_ready(store);
        let ok = missing.is_empty() && not_ready.is_empty() && !seen.ids.is_empty();
        let providers: Vec<_> = status
            .providers()
            .iter()
            .map(|provider| {
                let info = provider.info();
                let ids = seen.ids.keys().filter(|(name, _)| *name == *provider.name).count();
                json!({
                    "provider": &*provider.name, "state": info.state.as_str(), "reason": info.reason, "ids": ids,
                    "connections": info.connections.len(),
                    "outcomes": provider.metrics.outcomes().collect::<BTreeMap<_, _>>(),
                })
            })
            .collect();
        let report = json!({
            "ok": ok,
            "took_ms": u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
            "ids": seen.ids.len(),
            "never_fresh": missing.iter().map(|(id, reason)| json!({"id": id, "reason": reason})).collect::<Vec<_>>(),
            "not_ready": not_ready.iter().map(|(name, why)| json!({"provider": name, "reason": why})).collect::<Vec<_>>(),
            "providers": providers,
            "observations": store.read_all().iter().map(|reading| observation(status, reading)).collect::<Vec<_>>(),
        });
        println!("{report:#}");
        if ok { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }

    async fn strike(self) {
        self.daemon.stop().await;
        for venue in self.venues {
            venue.shutdown().await;
        }
    }
}

/// What was seen of each id: fresh once, and if not, why.
#[derive(Default)]
struct Seen {
    ids: BTreeMap<(String, String), Option<String>>,
}

impl Seen {
    fn look(&mut self, readings: &[Reading]) {
        for reading in readings {
            let seen = self.ids.entry((reading.provider.to_string(), reading.id.to_string()));
            let why = seen.or_insert_with(|| Some(String::new()));
            if reading.state == State::Fresh {
                *why = None;
            } else if why.is_some() {
                *why = Some(format!("{}: {}", reading.state.as_str(), reading.reason));
            }
        }
    }

    fn missing(&self) -> Vec<(String, String)> {
        let never =
            self.ids.iter().filter_map(|((provider, id), why)| Some((format!("{provider} {id}"), why.clone()?)));
        never.collect()
    }
}

fn observation(status: &Status, reading: &Reading) -> Observation {
    Observation::new(reading, status.provider(&reading.provider).info().kind)
}

/// A provider's section: its venue's origins sent to the simulated one, and polls often enough to watch.
fn provider(kind: Kind, venue: &Venue) -> toml::Table {
    let mut section = toml::Table::new();
    let origins = venue.origins().into_iter().map(|(from, to)| (from, toml::Value::String(to)));
    section.insert("redirect_origins".to_owned(), toml::Value::Table(origins.collect()));
    // For the venues that want one; others never see it.
    let key = [("file".to_owned(), KEY.into())].into_iter().collect();
    let secrets = [("api_key".to_owned(), toml::Value::Table(key))].into_iter().collect();
    section.insert("secrets".to_owned(), toml::Value::Table(secrets));
    if !kind.has_websocket() {
        section.insert("loosen_limits".to_owned(), true.into());
        let http = [("poll_interval_ms".to_owned(), 2_000.into())].into_iter().collect();
        section.insert("http".to_owned(), toml::Value::Table(http));
    }
    section
}

/// The usual address while it is free, any other if not.
async fn api_address() -> String {
    match tokio::net::TcpListener::bind(API).await {
        Ok(_) => API.to_owned(),
        Err(_) => "127.0.0.1:0".to_owned(),
    }
}

/// The compiled plugins: those in `plugins`, or what the source tree builds.
pub(super) fn compiled(plugins: Option<&Path>) -> anyhow::Result<Vec<PathBuf>> {
    if let Some(directory) = plugins {
        let entries = std::fs::read_dir(directory).with_context(|| directory.display().to_string())?;
        let mut files: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
        files.retain(|file| file.extension().is_some_and(|extension| extension == "wasm"));
        files.sort();
        ensure!(!files.is_empty(), "{}: no .wasm files", directory.display());
        return Ok(files);
    }
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("../plugins");
    if !sources.is_dir() {
        bail!("the plugins' sources are not here; name a directory of compiled plugins with --plugins");
    }
    eprintln!("feedgate: building the plugins (a minute or two at first)");
    Ok(build::build(&sources, |line| eprintln!("feedgate: {line}"))?)
}
