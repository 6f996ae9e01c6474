//! `feedgate plugin …`: building, inspecting and replaying plugins, without a daemon.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Error, anyhow};
use serde_json::{Value as Json, json};

use crate::authoring::build;
use crate::builds::{directory, recording, replay};
use crate::contract::description::{Bucket, Description, Scope};
use crate::contract::limits::PluginLimits;
use crate::contract::observation::ValueKind;
use crate::plugin::{Compiler, Engine, LoadError, Plugin, componentize, digest_of};

/// Builds, makes components of what came out, and moves each into place when it is whole.
pub fn build(directory: &Path, out: &Path) -> anyhow::Result<ExitCode> {
    for file in build::build(directory, |line| eprintln!("feedgate: {line}"))? {
        println!("{}", install(&file, out).with_context(|| file.display().to_string())?);
    }
    Ok(ExitCode::SUCCESS)
}

/// Copies one built file into `out` as a component, under a hidden name first: a daemon that watches the directory
/// never sees half of it.
pub fn install(file: &Path, out: &Path) -> anyhow::Result<String> {
    let component = componentize(&std::fs::read(file)?)?;
    // Cargo writes underscores where a package, and so a plugin, has hyphens in its name.
    let name = file.file_name().context("it has no name")?.to_string_lossy().replace('_', "-");
    std::fs::create_dir_all(out)?;
    let hidden = out.join(format!(".{name}.tmp"));
    let target = out.join(name);
    std::fs::write(&hidden, &component)?;
    std::fs::rename(&hidden, &target)?;
    Ok(format!("{}  {} KiB  sha256 {}", target.display(), component.len() >> 10, digest_of(&component)))
}

/// For a person who looks at one file: it may use what it asks for.
pub(super) fn load(file: &Path) -> anyhow::Result<(Engine, Plugin)> {
    load_into(Engine::new(PluginLimits::default(), Compiler::default(), None).map_err(Error::msg)?, file)
}

fn load_into(engine: Engine, file: &Path) -> anyhow::Result<(Engine, Plugin)> {
    let read = directory::read(file, engine.limits().max_file_bytes);
    let loaded = std::thread::scope(|scope| {
        // A thread of the runtime may not enter another one.
        let load = scope.spawn(|| read.and_then(|bytes| Ok(engine.load_blocking(&bytes)?)));
        load.join().unwrap_or_else(|_| Err(LoadError::Compile("loading it ended in a panic".to_owned()).into()))
    });
    let plugin = loaded.map_err(|error| anyhow!("{}: {error}", file.display()))?;
    let plugin = plugin.granted(&plugin.description().resources);
    Ok((engine, plugin))
}

/// Exit code 0 for a plugin of this host, 2 for anything else.
pub fn inspect(file: &Path, json: bool) -> anyhow::Result<ExitCode> {
    let (_engine, plugin) = load(file)?;
    let mut report = report(&plugin);
    let signatures = directory::signatures_of(file);
    report["signatures"] =
        if signatures.is_file() { signatures.display().to_string().into() } else { "none beside it".into() };
    if json {
        println!("{report:#}");
    } else {
        print_report(&report, 0);
    }
    Ok(ExitCode::SUCCESS)
}

fn report(plugin: &Plugin) -> Json {
    let description = plugin.description();
    let fit = plugin.fit();
    let worlds: Vec<&str> = [(fit.websocket, "websocket-provider"), (fit.http, "http-provider")]
        .into_iter()
        .filter_map(|(has, world)| has.then_some(world))
        .collect();
    json!({
        "name": description.name,
        "version": description.version,
        "summary": description.summary,
        "documentation": description.documentation,
        "worlds": worlds,
        "size": plugin.size(),
        "sha256": plugin.digest().to_string(),
        "imports": fit.imports,
        "exports": fit.exports,
        "wasi": if fit.wasi { "imported; it gets an empty one" } else { "not imported" },
        "origins": description.origins.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "mirrors": description.mirrors.iter()
            .flat_map(|(of, instead)| instead.iter().map(move |origin| format!("{origin} for {of}"))).collect::<Vec<_>>(),
        "values": description.values.iter().copied().map(ValueKind::as_str).collect::<Vec<_>>(),
        "default_ids": description.default_ids,
        "secrets": description.secrets.iter().map(|secret| json!({
            "name": secret.name, "purpose": secret.purpose, "required": secret.required,
        })).collect::<Vec<_>>(),
        "resources": description.resources.each().into_iter()
            .filter_map(|(name, asked)| Some(format!("{name} = {}", asked?))).collect::<Vec<_>>(),
        "limits": limits(description),
        // That it is JSON was checked when it was described.
        "settings_schema": serde_json::from_str::<Json>(&description.settings_schema).unwrap_or_default(),
    })
}

fn limits(description: &Description) -> Json {
    let ms = |time: std::time::Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let bucket = |bucket: &Bucket| {
        let scope = if bucket.scope == Scope::Origin { "origin" } else { "connection" };
        format!(
            "at most {} {} in {} ms per {scope}{}",
            bucket.count,
            bucket.what.as_str(),
            ms(bucket.per),
            if bucket.counts_control_frames { ", pings and pongs counted" } else { "" }
        )
    };
    let mut limits = json!({ "buckets": description.buckets.iter().map(bucket).collect::<Vec<_>>() });
    if let Some(websocket) = &description.websocket {
        limits["websocket"] = json!({
            "ids_per_connection": websocket.ids_per_connection,
            "max_connections": websocket.max_connections,
            "ids_per_message": websocket.ids_per_message,
            "heartbeat_ms": websocket.heartbeat.map(|(interval, _)| ms(interval)),
            "idle_timeout_ms": websocket.idle_timeout.map(ms),
            "max_age_ms": websocket.max_age.map(ms),
            "first_send_delay_ms": ms(websocket.first_send_delay),
            "waits_for_ready": websocket.waits_for_ready,
            "acknowledges": websocket.acknowledges,
            "compression": format!("{:?}", websocket.compression),
        });
    }
    if let Some(http) = &description.http {
        limits["http"] = json!({
            "poll_interval_ms": ms(http.poll_interval),
            "timeout_ms": ms(http.timeout),
            "max_in_flight": http.max_in_flight,
        });
    }
    limits
}

/// The same as the JSON, for people.
fn print_report(report: &Json, indent: usize) {
    let Json::Object(fields) = report else { return };
    for (name, value) in fields {
        let name = name.replace('_', " ");
        let plain = |value: &Json| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        match value {
            Json::Object(_) if name != "settings schema" => {
                println!("{:indent$}{name}", "");
                print_report(value, indent + 2);
            }
            Json::Array(list) if list.is_empty() => println!("{:indent$}{name:<20} none", ""),
            Json::Array(list) => {
                for (number, item) in list.iter().enumerate() {
                    let label = if number == 0 { name.as_str() } else { "" };
                    println!("{:indent$}{label:<20} {}", "", plain(item));
                }
            }
            Json::Null => println!("{:indent$}{name:<20} none", ""),
            value => println!("{:indent$}{name:<20} {}", "", plain(value)),
        }
    }
}

/// What is replayed, and how.
#[derive(Debug)]
pub struct Replay {
    pub plugin: PathBuf,
    pub recording: PathBuf,
    pub ids: Vec<String>,
    pub settings: Option<String>,
    /// Say what it cost, too.
    pub cost: bool,
}

/// Exit code 0 when the whole recording was read, 2 when plugin or recording cannot be.
pub async fn replay(asked: Replay) -> anyhow::Result<ExitCode> {
    let Replay { plugin, recording, ids, settings, cost } = asked;
    let metered = || load_into(Engine::metered(PluginLimits::default()).map_err(Error::msg)?, &plugin);
    let (_engine, plugin) = if cost { metered() } else { load(&plugin) }?;
    let open = || recording::open(&recording).map_err(recording::RecordingError::from);
    let failed = |error| anyhow!("{}: {error}", recording.display());
    let header = open().and_then(|mut lines| recording::header(&mut lines)).map_err(failed)?;
    let mut lines = open().map_err(failed)?;
    let ids = [ids, header.ids, plugin.description().default_ids.clone()].into_iter().find(|ids| !ids.is_empty());
    let settings = settings.or_else(|| header.settings.map(|settings| settings.to_string()));
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    let mut broken = false;
    let replayed = replay::replay(
        &plugin,
        &mut lines,
        &ids.unwrap_or_default(),
        settings.as_deref().unwrap_or("{}"),
        // A closed pipe (`| head`) ends the printing, not the program.
        |event| broken |= !broken && writeln!(out, "{event}").is_err(),
    )
    .await;
    if !broken {
        out.flush().context("the output cannot be written")?;
    }
    let counted = replayed.map_err(failed)?;
    if let Some(instructions) = counted.per_frame() {
        let frames = counted.frames;
        eprintln!("feedgate: {instructions} instructions a frame, over {frames} frames that brought values");
    }
    Ok(ExitCode::SUCCESS)
}
