//! `feedgate plugin list` and `history`, `rollback`, `pin`, `unpin` and `release`: the plugins of a running daemon and
//! their builds.

use std::io::{self, Write};
use std::process::ExitCode;

use super::daemon::{Address, Daemon};
use super::table::{Cell, Column, Tone, layout};
use super::{CliError, Exit, exit_code, fail, outcome, write_json};
use crate::api::{Build, Plugin};

const PLUGINS: [Column; 7] = [
    Column::left("PLUGIN"),
    Column::left("VERSION"),
    Column::left("DIGEST"),
    Column::left("PINNED"),
    Column::right("BUILDS"),
    Column::left("PROVIDERS"),
    Column::left("REASON"),
];

const BUILDS: [Column; 6] = [
    Column::left("DIGEST"),
    Column::left("VERSION"),
    Column::left("STANDING"),
    Column::left("SINCE"),
    Column::right("FAULTS"),
    Column::left("REASON"),
];

/// Enough to tell builds apart, and to name one.
const SHORT: usize = 12;

/// What may be said of a plugin's builds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verb {
    Rollback,
    /// The digest, or its first digits; the build that runs, if `None`.
    Pin(Option<String>),
    Unpin,
    /// The digest, or its first digits; the file's, if `None`.
    Release(Option<String>),
}

/// Prints the plugins of a running daemon. Exit code 0, or 2 when there is no answer.
pub async fn list(daemon: &Address, json: bool) -> ExitCode {
    exit_code(print_list(daemon, json, &mut io::stdout()).await)
}

/// Prints what is known of one plugin's builds. Exit code 0, 1 when there is no such plugin, 2 when there is no answer.
pub async fn history(daemon: &Address, name: &str, json: bool) -> ExitCode {
    exit_code(print_history(daemon, name, json, &mut io::stdout()).await)
}

/// Exit code 0 when it was done, 1 when the daemon does not do it, 2 when there is no answer.
pub async fn tell(daemon: &Address, name: &str, verb: &Verb) -> ExitCode {
    exit_code(print_told(daemon, name, verb, &mut io::stdout()).await)
}

pub(super) async fn print_list(daemon: &Address, json: bool, out: &mut impl Write) -> Result<Exit, CliError> {
    let plugins = Daemon::new(daemon)?.plugins().await?;
    if json {
        write_json(&plugins, out)?;
    } else if plugins.is_empty() {
        writeln!(out, "no plugins are there")?;
    } else {
        print(&PLUGINS, plugins.iter().map(plugin_cells), out)?;
    }
    out.flush()?;
    Ok(Exit::Fine)
}

pub(super) async fn print_history(
    daemon: &Address,
    name: &str,
    json: bool,
    out: &mut impl Write,
) -> Result<Exit, CliError> {
    let plugins = Daemon::new(daemon)?.plugins().await?;
    let Some(plugin) = plugins.iter().find(|plugin| plugin.file == name) else {
        let known: Vec<_> = plugins.iter().map(|plugin| plugin.file.as_str()).collect();
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        fail(&format!("no plugin {name:?}; there are: {known}"));
        return Ok(Exit::NotDone);
    };
    if json {
        write_json(plugin, out)?;
    } else if plugin.builds.is_empty() {
        writeln!(out, "nothing is known of builds of {name}")?;
    } else {
        print(&BUILDS, plugin.builds.iter().map(|build| build_cells(build, plugin)), out)?;
    }
    out.flush()?;
    Ok(Exit::Fine)
}

pub(super) async fn print_told(
    daemon: &Address,
    name: &str,
    verb: &Verb,
    out: &mut impl Write,
) -> Result<Exit, CliError> {
    let (path, digest) = match verb {
        Verb::Rollback => ("rollback", None),
        Verb::Pin(digest) => ("pin", digest.as_deref()),
        Verb::Unpin => ("unpin", None),
        Verb::Release(digest) => ("release", digest.as_deref()),
    };
    outcome(Daemon::new(daemon)?.build(name, path, digest).await, out)
}

fn plugin_cells(plugin: &Plugin) -> Vec<Cell> {
    let loaded = plugin.loaded.as_ref();
    let of_loaded = |what: Option<&str>| what.unwrap_or("-").to_owned();
    let providers = if plugin.providers.is_empty() { "idle".to_owned() } else { plugin.providers.join(", ") };
    [
        plugin.file.clone(),
        of_loaded(loaded.map(|loaded| loaded.version.as_str())),
        of_loaded(loaded.map(|loaded| short(&loaded.digest))),
        of_loaded(plugin.pinned.as_deref().map(short)),
        plugin.builds.len().to_string(),
        providers,
    ]
    .iter()
    .map(|text| Cell::plain(text))
    .chain([Cell::new(&plugin.error, Tone::Faint)])
    .collect()
}

fn build_cells(build: &Build, plugin: &Plugin) -> Vec<Cell> {
    let mut standing = build.standing.clone();
    if plugin.pinned.as_ref() == Some(&build.digest) {
        standing += ", pinned";
    }
    let version = if build.version.is_empty() { "-" } else { &build.version };
    [short(&build.digest), version, &standing, &build.since, &build.faults.to_string()]
        .into_iter()
        .map(Cell::plain)
        .chain([Cell::new(&build.reason, Tone::Faint)])
        .collect()
}

fn short(digest: &str) -> &str {
    digest.get(..SHORT).unwrap_or(digest)
}

fn print(columns: &[Column], rows: impl Iterator<Item = Vec<Cell>>, out: &mut impl Write) -> io::Result<()> {
    let rows: Vec<_> = rows.collect();
    layout(columns, &rows, None).into_iter().try_for_each(|line| writeln!(out, "{line}"))
}
