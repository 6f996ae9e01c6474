//! The command `feedgate`: arguments, tracing, exit code. What each command does is in `feedgate::cli`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, CommandFactory, Parser, Subcommand};
use feedgate::cli;

/// Turns outside data feeds into one store of latest values, through sandboxed WebAssembly plugins.
#[derive(Parser)]
#[command(version, about, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// What to log, as `level` or `module=level,…`; FEEDGATE_LOG says the same.
    #[arg(long, global = true, value_name = "FILTER")]
    log: Option<String>,
    /// Log as lines of JSON.
    #[arg(long, global = true)]
    log_json: bool,
}

#[derive(Subcommand)]
enum Command {
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
        #[arg(long = "for", value_name = "TIME", value_parser = cli::parse_time)]
        time: Option<Duration>,
        /// Print what happened as JSON; exit 0 only if every id became fresh.
        #[arg(long)]
        json: bool,
        /// Compiled plugins to use; built from the source tree when left out.
        #[arg(long, value_name = "DIR")]
        plugins: Option<PathBuf>,
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
        #[arg(long = "for", value_name = "TIME", value_parser = cli::parse_time)]
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
    /// Builds, inspects, signs and replays plugins.
    #[command(subcommand)]
    Plugin(Plugin),
    /// Prints a completion script for a shell.
    Completions { shell: clap_complete::Shell },
}

#[derive(Args)]
struct Api {
    /// Where the daemon's API is.
    #[arg(long, env = "FEEDGATE_API", default_value = "http://127.0.0.1:8787", value_name = "URL")]
    api: String,
    #[arg(long)]
    json: bool,
}

#[derive(Subcommand)]
enum Plugin {
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
    },
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let logs = cli::Logs { filter: cli.log, json: cli.log_json };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return cli::fail(&format!("cannot start: {error}")),
    };
    let code = runtime.block_on(run(cli.command, logs));
    // A plugin that is being compiled must not hold up the end.
    runtime.shutdown_background();
    code
}

async fn run(command: Command, logs: cli::Logs) -> ExitCode {
    match command {
        Command::Run { config } => cli::run::run(config, &logs).await,
        #[cfg(feature = "demo")]
        Command::Demo { time, json, plugins } => {
            cli::demo::demo(cli::demo::Demo { limit: time, json, plugins }, &logs).await
        }
        Command::Check { config, json } => {
            logs.start("warn");
            cli::check::check(&config, json)
        }
        Command::Get { provider, id, fresh, api } => {
            cli::get::get(&cli::get::Get { api: api.api, provider, id, fresh, json: api.json }).await
        }
        Command::Watch { provider, time, api } => {
            cli::watch::watch(&cli::watch::Watch { api: api.api, provider, time, json: api.json }).await
        }
        Command::Providers { ids, api } => {
            cli::providers::providers(&cli::providers::Providers { api: api.api, ids, json: api.json }).await
        }
        Command::Plugin(plugin) => {
            logs.start("warn");
            match plugin {
                Plugin::Build { directory, out } => cli::plugin::build(&directory, &out),
                Plugin::Inspect { file, json } => cli::plugin::inspect(&file, json),
                Plugin::Grant { file, write } => cli::grant::grant(&file, write.as_deref()),
                Plugin::Keygen { file } => cli::sign::keygen(&file),
                Plugin::Sign { key, plugins } => cli::sign::sign(&key, &plugins),
                Plugin::Verify { key, plugin } => cli::sign::verify(&key, &plugin),
                Plugin::Replay { plugin, recording, ids, settings } => {
                    cli::plugin::replay(&plugin, &recording, ids, settings).await
                }
            }
        }
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "feedgate", &mut std::io::stdout());
            ExitCode::SUCCESS
        }
    }
}
