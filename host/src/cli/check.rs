//! `feedgate check`: would this configuration run? Reads every file and loads every plugin, and connects nowhere.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, Error, anyhow};
use serde_json::json;

use crate::access::grants::{self, Asks};
use crate::builds::directory;
use crate::builds::file_error::FileError;
use crate::builds::provenance;
use crate::config::{Config, Loaded, ProviderConfig};
use crate::contract::codec::OpenCodec;
use crate::plugin::{Compiler, Engine, Plugin, digest_of};
use crate::provider::Provider;
use crate::status::Status;
use crate::store::Store;

/// Exit code 0 when everything would run, 1 when something would not, 2 when the configuration is refused.
pub fn check(path: &Path, json: bool) -> anyhow::Result<ExitCode> {
    // Loading enters a runtime of its own, which the caller's thread may not do inside another one.
    let checked = std::thread::scope(|scope| scope.spawn(|| checked(path, json)).join());
    checked.unwrap_or_else(|_| Err(anyhow!("checking ended in a panic")))
}

fn checked(path: &Path, json: bool) -> anyhow::Result<ExitCode> {
    let Loaded { config, bad, bad_grants, .. } = Config::load(path)?;
    let place = || format!("plugins_dir {}", config.plugins_dir.display());
    let listing = directory::scan(&config.plugins_dir).with_context(place)?;
    // Nothing of the daemon's is used or left behind: who checks may be another user.
    let engine = Engine::new(config.plugin_limits.clone(), Compiler::default(), None).map_err(Error::msg)?;
    let mut providers = config.providers.clone();
    let bad = bad.iter().map(|(name, error)| (format!("provider {name}"), error.to_string()));
    let bad_grants = bad_grants.map(|error| ("grants".to_owned(), error.to_string()));
    let mut problems: BTreeMap<String, String> = bad.chain(bad_grants).collect();
    let mut plugins: BTreeMap<String, Plugin> = BTreeMap::new();
    for name in listing.keys() {
        let Some((stem, is_plugin)) = directory::stem(name) else { continue };
        let file = config.plugins_dir.join(name);
        if is_plugin {
            let read = directory::read_inside(&file, engine.limits().max_file_bytes);
            let admitted = read.and_then(|bytes| {
                let signatures = directory::read_signatures(&file)?;
                let policy = &config.plugins;
                let (digest, written) = (digest_of(&bytes), policy.sha256(stem));
                // What the daemon remembers is not asked here.
                provenance::check(&policy.provenance, digest, written, None, signatures.as_deref())?;
                engine.load_blocking(&bytes).map_err(FileError::Content)
            });
            let granted = admitted.map_err(|error| error.to_string()).and_then(|plugin| {
                let (asks, grant) = (Asks::of(plugin.description(), engine.limits()), config.plugins.grant(stem));
                let decided = grants::decide(config.plugins.policy, &asks, None, &grant);
                decided.map_err(|needs| needs.words(stem, &grant))?;
                Ok(plugin.granted(&asks.resources.max(grant.resources)))
            });
            match granted {
                Ok(plugin) => drop(plugins.insert(stem.to_owned(), plugin)),
                Err(error) => drop(problems.insert(format!("plugin {name}"), error)),
            }
        } else if config.providers.contains_key(stem) {
            let why = format!("{} and the section [provider.{stem}] both configure it", file.display());
            problems.insert(format!("provider {stem}"), why);
        } else {
            match ProviderConfig::load(&file, stem) {
                Ok(provider) => drop(providers.insert(stem.to_owned(), provider)),
                Err(error) => drop(problems.insert(format!("provider {stem}"), error.to_string())),
            }
        }
    }
    for (name, provider) in &providers {
        let checked = match plugins.get(&provider.plugin) {
            _ if !provider.enabled => Ok(()),
            None => Err(anyhow!("plugin {}.wasm is not there or was refused", provider.plugin)),
            Some(plugin) => check_provider(name, plugin, provider),
        };
        if let Err(why) = checked {
            problems.insert(format!("provider {name}"), format!("{why:#}"));
        }
    }
    let used: BTreeSet<&String> = providers.values().map(|provider| &provider.plugin).collect();
    let idle: Vec<&String> = plugins.keys().filter(|stem| !used.contains(stem) && !config.autostart).collect();
    if json {
        let report = json!({
            "ok": problems.is_empty(), "plugins": plugins.keys().collect::<Vec<_>>(),
            "providers": providers.keys().collect::<Vec<_>>(), "idle_plugins": idle, "problems": problems,
        });
        println!("{report:#}");
    } else {
        println!("{} plugins, {} providers", plugins.len(), providers.len());
        for stem in idle {
            println!("  idle: plugin {stem} is configured nowhere, and autostart is off");
        }
        for (what, why) in &problems {
            println!("  PROBLEM: {what}: {why}");
        }
        println!("{}", if problems.is_empty() { "ok" } else { "not ok" });
    }
    Ok(if problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn check_provider(name: &str, plugin: &Plugin, config: &ProviderConfig) -> anyhow::Result<()> {
    let status = Status::default().detached(name);
    Provider::new(plugin.clone(), config.clone(), &Store::default(), status, Arc::default()).map_err(Error::msg)?;
    let open = plugin.configured(name.into(), config.settings.clone());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(open.open())?;
    Ok(())
}
