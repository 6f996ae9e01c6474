//! From the command line to the command: logs, the runtime, the exit code. An error that reaches this file is printed here,
//! in one line.
//!
//! It stands in the library, so that what the commands are made of is compiled once, and not again for the binary.

use std::process::ExitCode;

use anyhow::Context as _;
use clap::{CommandFactory, Parser};

#[cfg(all(feature = "demo", unix))]
use super::arguments::Scale;
use super::arguments::{Cli, Command, Plugin};
#[cfg(all(feature = "demo", unix))]
use super::bench;
use super::builds::{self, Verb};
#[cfg(feature = "demo")]
use super::demo;
use super::exit::fail;
use super::logs::Logs;
use super::reload::How;
use super::{check, diff, get, grant, plugin, providers, reload, run, sign, watch};

/// The whole of the program: reads the command line and does what it says.
pub fn main() -> ExitCode {
    start(Cli::parse()).unwrap_or_else(|error| fail(&format!("{error:#}")))
}

fn start(arguments: Cli) -> anyhow::Result<ExitCode> {
    // Before anything else is started: it runs on little, and on what a stranger wrote.
    if let Command::CompilePlugin { bytes, memory, seconds } = arguments.command {
        return Ok(crate::plugin::compile_plugin(bytes, memory, seconds));
    }
    #[cfg(all(feature = "demo", unix))]
    if let Command::BenchVenue = arguments.command {
        return bench::venue();
    }
    let logs = Logs { filter: arguments.log, json: arguments.log_json };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start")?;
    let code = runtime.block_on(run(arguments.command, logs));
    // A plugin that is being compiled must not hold up the end.
    runtime.shutdown_background();
    code
}

async fn run(command: Command, logs: Logs) -> anyhow::Result<ExitCode> {
    let code = match command {
        Command::Run { config } => run::run(config, &logs).await?,
        #[cfg(feature = "demo")]
        Command::Demo { time, json, plugins } => demo::demo(demo::Demo { limit: time, json, plugins }, &logs).await?,
        #[cfg(all(feature = "demo", unix))]
        Command::Bench { scale: Some(Scale::Scale { connections, rate, quiet, json, plugins }), .. } => {
            bench::scale(bench::Scale { connections, rate, quiet, json, plugins }, &logs).await?
        }
        #[cfg(all(feature = "demo", unix))]
        Command::BenchStep { directory, connections, rate, quiet } => {
            bench::step(bench::StepAsked { directory, connections, rate, quiet }, &logs).await?
        }
        #[cfg(all(feature = "demo", unix))]
        Command::Bench { frames, rate, rounds, connections, ids, json, plugins, scale: None } => {
            let asked = bench::Bench { frames, rate, rounds, connections, ids, json, plugins };
            bench::bench(asked, &logs).await?
        }
        // `start` has done it.
        #[cfg(all(feature = "demo", unix))]
        Command::BenchVenue => ExitCode::FAILURE,
        Command::Check { config, json } => {
            logs.start("warn");
            check::check(&config, json)?
        }
        Command::Get { provider, id, fresh, api } => {
            get::get(&get::Get { daemon: api.daemon.into(), provider, id, fresh, json: api.json }).await
        }
        Command::Watch { provider, time, api } => {
            watch::watch(&watch::Watch { daemon: api.daemon.into(), provider, time, json: api.json }).await
        }
        Command::Providers { ids, api } => {
            providers::providers(&providers::Providers { daemon: api.daemon.into(), ids, json: api.json }).await
        }
        Command::Reload { wait, last, api } => {
            let how = match (wait, last) {
                (_, true) => How::Last,
                (true, false) => How::Wait,
                (false, false) => How::Ask,
            };
            let asked = reload::ReloadAsked { daemon: api.daemon.into(), how, json: api.json };
            reload::reload(&asked).await
        }
        Command::Rotate { provider, daemon } => reload::rotate(&daemon.into(), provider.as_deref()).await,
        Command::Plugin(plugin) => {
            logs.start("warn");
            match plugin {
                Plugin::Build { directory, out } => plugin::build(&directory, &out)?,
                Plugin::Inspect { file, json } => plugin::inspect(&file, json)?,
                Plugin::Grant { file, write } => grant::grant(&file, write.as_deref())?,
                Plugin::Keygen { file } => sign::keygen(&file)?,
                Plugin::Sign { key, plugins } => sign::sign(&key, &plugins)?,
                Plugin::Verify { key, plugin } => sign::verify(&key, &plugin)?,
                Plugin::Replay { plugin, recording, ids, settings, cost } => {
                    plugin::replay(plugin::Replay { plugin, recording, ids, settings, cost }).await?
                }
                Plugin::List { api } => builds::list(&api.daemon.into(), api.json).await,
                Plugin::History { name, api } => builds::history(&api.daemon.into(), &name, api.json).await,
                Plugin::Rollback { name, daemon } => builds::tell(&daemon.into(), &name, &Verb::Rollback).await,
                Plugin::Pin { name, digest, daemon } => builds::tell(&daemon.into(), &name, &Verb::Pin(digest)).await,
                Plugin::Unpin { name, daemon } => builds::tell(&daemon.into(), &name, &Verb::Unpin).await,
                Plugin::Release { name, digest, daemon } => {
                    builds::tell(&daemon.into(), &name, &Verb::Release(digest)).await
                }
                Plugin::Diff { old, new, recordings, ids, settings, json } => {
                    diff::diff(&diff::Diff { old, new, recordings, ids, settings, json }).await?
                }
            }
        }
        // `start` has done it.
        Command::CompilePlugin { .. } => ExitCode::FAILURE,
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "feedgate", &mut std::io::stdout());
            ExitCode::SUCCESS
        }
    };
    Ok(code)
}
