//! The command line, as clap reads it. What each command does is in its own file.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use super::daemon::Address;
use super::time::parse_time;

/// Turns outside data feeds into one store of latest values, through sandboxed WebAssembly plugins.
#[derive(Parser)]
#[command(version, about, max_term_width = 100)]
pub(super) struct Cli {
    #[command(subcommand)]
    pub(super) command: Command,
    /// What to log, as `level` or `module=level,…`; FEEDGATE_LOG says the same.
    #[arg(long, global = true, value_name = "FILTER")]
    pub(super) log: Option<String>,
    /// Log as lines of JSON.
    #[arg(long, global = true)]
    pub(super) log_json: bool,
}

#[derive(Subcommand)]
pub(super) enum Command {
    /// Runs the daemon until it is told to stop.
    Run {
        /// The configuration.
        #[arg(long, short, default_value = "feedgate.toml")]
        config: PathBuf,
    },
    /// Shows feedgate at work: simulated venues on loopback, the real plugins, the live table. Needs no network.
    #[cfg(feature = "demo")]
    Demo {
        /// Stop after this time, e.g. 10s.
        #[arg(long = "for", value_name = "TIME", value_parser = parse_time)]
        time: Option<Duration>,
        /// Print what happened as JSON; exit 0 only if every id became fresh.
        #[arg(long)]
        json: bool,
        /// Compiled plugins to use; built from the source tree when left out.
        #[arg(long, value_name = "DIR")]
        plugins: Option<PathBuf>,
    },
    /// Measures what frames cost on this machine, with the plugin and with native code in its place. Needs no network.
    #[cfg(all(feature = "demo", unix))]
    #[command(args_conflicts_with_subcommands = true)]
    Bench {
        #[command(subcommand)]
        scale: Option<Scale>,
        /// Frames of each reader in each round, as fast as they are read.
        #[arg(long, default_value_t = 200_000)]
        frames: usize,
        /// Frames a second, one or ten at a time: a second long, or shorter where FRAMES are fewer.
        #[arg(long, default_value_t = 10_000)]
        rate: usize,
        /// How often everything is measured; medians are shown.
        #[arg(long, default_value_t = 5)]
        rounds: usize,
        #[arg(long, default_value_t = 1)]
        connections: usize,
        /// Over all connections.
        #[arg(long, default_value_t = 1)]
        ids: usize,
        #[arg(long)]
        json: bool,
        /// Compiled plugins to use; built from the source tree when left out.
        #[arg(long, value_name = "DIR")]
        plugins: Option<PathBuf>,
    },
    /// The simulated venue, for the benchmark that starts this.
    #[cfg(all(feature = "demo", unix))]
    #[command(hide = true)]
    BenchVenue,
    /// One step of `bench scale`.
    #[cfg(all(feature = "demo", unix))]
    #[command(hide = true)]
    BenchStep {
        directory: PathBuf,
        connections: usize,
        rate: usize,
        #[arg(value_parser = parse_time)]
        quiet: Duration,
    },
    /// Checks a configuration and the plugins it names, without connecting anywhere.
    Check {
        #[arg(long, short, default_value = "feedgate.toml")]
        config: PathBuf,
        #[arg(long)]
        json: bool,
    },
    /// Prints observations of a running daemon. Exits with 1 if one is not fresh.
    Get {
        /// A provider; all of them when left out.
        provider: Option<String>,
        /// An id of it; all of them when left out.
        id: Option<String>,
        /// Only those that are fresh.
        #[arg(long)]
        fresh: bool,
        #[command(flatten)]
        api: Api,
    },
    /// Shows observations of a running daemon as they change.
    Watch {
        /// A provider; all of them when left out.
        provider: Option<String>,
        /// Stop after this time, e.g. 10s.
        #[arg(long = "for", value_name = "TIME", value_parser = parse_time)]
        time: Option<Duration>,
        #[command(flatten)]
        api: Api,
    },
    /// Lists the providers of a running daemon.
    Providers {
        /// With every id and its state. `--json` has them without.
        #[arg(long)]
        ids: bool,
        #[command(flatten)]
        api: Api,
    },
    /// Tells a running daemon to read its configuration and secrets again. Needs the admin's token.
    Reload {
        /// Wait, and say what came of it: exits with 1 if something was refused.
        #[arg(long, conflicts_with = "last")]
        wait: bool,
        /// Reload nothing; say what came of the last reload. Any token will do.
        #[arg(long)]
        last: bool,
        #[command(flatten)]
        api: Api,
    },
    /// Replaces connections of a running daemon, each without a gap. Needs the admin's token.
    Rotate {
        /// A provider; all of them when left out.
        provider: Option<String>,
        #[command(flatten)]
        daemon: Daemon,
    },
    /// Builds, inspects, signs and replays plugins; lists those of a running daemon and says which build is to run.
    #[command(subcommand)]
    Plugin(Plugin),
    /// Compiles the plugin on stdin, for the daemon that starts this.
    #[command(hide = true)]
    CompilePlugin {
        #[arg(long)]
        bytes: u64,
        #[arg(long)]
        memory: u64,
        #[arg(long)]
        seconds: u64,
    },
    /// Prints a completion script for a shell.
    Completions { shell: clap_complete::Shell },
}

#[cfg(all(feature = "demo", unix))]
#[derive(Subcommand)]
pub(super) enum Scale {
    /// Measures a daemon with 50 plugins and ever more connections: processor time, memory, latency, reconnects.
    Scale {
        /// How many, each with ten ids.
        #[arg(long, value_delimiter = ',', default_values_t = [10, 100, 1_000])]
        connections: Vec<usize>,
        /// Frames a second, over all connections.
        #[arg(long, default_value_t = 10_000)]
        rate: usize,
        /// How long to watch connections on which nothing comes.
        #[arg(long, value_name = "TIME", default_value = "10s", value_parser = parse_time)]
        quiet: Duration,
        #[arg(long)]
        json: bool,
        /// Compiled plugins to use; built from the source tree when left out.
        #[arg(long, value_name = "DIR")]
        plugins: Option<PathBuf>,
    },
}

#[derive(Args)]
pub(super) struct Api {
    #[command(flatten)]
    pub(super) daemon: Daemon,
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Args)]
pub(super) struct Daemon {
    /// Where the daemon's API is.
    #[arg(long, env = "FEEDGATE_API", default_value = "http://127.0.0.1:8787", value_name = "URL")]
    pub(super) api: String,
    /// Holds the API's token; the environment variable FEEDGATE_TOKEN may hold it instead.
    #[arg(long, value_name = "FILE")]
    pub(super) token_file: Option<PathBuf>,
    /// PEM; trusted for https in place of the system's roots.
    #[arg(long, env = "FEEDGATE_CA_FILE", value_name = "FILE")]
    pub(super) ca_file: Option<PathBuf>,
}

impl From<Daemon> for Address {
    fn from(daemon: Daemon) -> Self {
        Self { api: daemon.api, token_file: daemon.token_file, ca_file: daemon.ca_file }
    }
}

#[derive(Subcommand)]
pub(super) enum Plugin {
    /// Builds Rust plugins and puts the components into a directory.
    Build {
        /// A package or a workspace.
        #[arg(default_value = ".")]
        directory: PathBuf,
        /// Where the components go. A running daemon may watch it.
        #[arg(long, short, default_value = "plugins-built", value_name = "DIR")]
        out: PathBuf,
    },
    /// Shows what a plugin is, asks for and keeps to; or why it is refused.
    Inspect {
        file: PathBuf,
        #[arg(long)]
        json: bool,
    },
    /// Prints what a plugin asks for as the section that allows it.
    Grant {
        /// `NAME.wasm`, named as in `plugins_dir`.
        file: PathBuf,
        /// Puts it into this file of grants instead.
        #[arg(long, value_name = "GRANTS")]
        write: Option<PathBuf>,
    },
    /// Makes a key to sign plugins with, and prints its public half for `plugins.trusted_keys`.
    Keygen {
        /// Where the key goes. Must not be there yet.
        file: PathBuf,
    },
    /// Signs plugins: writes `NAME.wasm.sig` beside each, or adds to it.
    Sign {
        /// As `keygen` made it, or any Ed25519 key in PEM.
        #[arg(long, value_name = "FILE")]
        key: PathBuf,
        #[arg(required = true, value_name = "PLUGIN")]
        plugins: Vec<PathBuf>,
    },
    /// Tells whether a key signed a plugin: exits with 0 if so, with 1 if not.
    Verify {
        /// `ed25519:…`, as `keygen` printed it.
        #[arg(long, value_name = "PUBLIC")]
        key: String,
        plugin: PathBuf,
    },
    /// Feeds a recording through a plugin and prints one JSON line an event.
    Replay {
        plugin: PathBuf,
        recording: PathBuf,
        /// Ids, separated by commas; those of the recording's header when left out.
        #[arg(long, value_delimiter = ',')]
        ids: Vec<String>,
        /// Settings as JSON; those of the recording's header when left out.
        #[arg(long, value_name = "JSON")]
        settings: Option<String>,
        /// Say on stderr how many instructions the plugin executed for a frame that brought values, on average. For
        /// plugins of your own: this one is compiled without a process around it.
        #[arg(long)]
        cost: bool,
    },
    /// Lists the plugins of a running daemon.
    List {
        #[command(flatten)]
        api: Api,
    },
    /// Shows the builds of a plugin that a running daemon has seen, and how each stands.
    History {
        name: String,
        #[command(flatten)]
        api: Api,
    },
    /// Goes back to the good build before. Needs the admin's token, as all that follow.
    Rollback {
        name: String,
        #[command(flatten)]
        daemon: Daemon,
    },
    /// Runs one build and no other.
    Pin {
        name: String,
        /// The build's digest, or its first digits; the build that runs when left out.
        digest: Option<String>,
        #[command(flatten)]
        daemon: Daemon,
    },
    /// Lets the newest good build run again.
    Unpin {
        name: String,
        #[command(flatten)]
        daemon: Daemon,
    },
    /// Forgets why a build is not to run: it is tried again.
    Release {
        name: String,
        /// The build's digest, or its first digits; that of the file when left out.
        digest: Option<String>,
        #[command(flatten)]
        daemon: Daemon,
    },
    /// Tries another build on recordings beside the one in use. Exits with 1 if it would be refused.
    Diff {
        old: PathBuf,
        new: PathBuf,
        #[arg(required = true)]
        recordings: Vec<PathBuf>,
        /// Ids, separated by commas; those of each recording's header when left out.
        #[arg(long, value_delimiter = ',')]
        ids: Vec<String>,
        /// Settings as JSON; those of each recording's header when left out.
        #[arg(long, value_name = "JSON")]
        settings: Option<String>,
        #[arg(long)]
        json: bool,
    },
}
