//! From files to builds: loaded one at a time off to the side, judged against what runs, remembered. Which build is to run
//! is `logic::builds`'; running it is `replace`'s.

use std::time::Duration;

use super::Supervisor;
use super::loader::{Done, Load};
use crate::access::grants::{self, Asks};
use crate::builds::directory;
use crate::builds::file_error::FileError;
use crate::builds::provenance::{self, Require};
use crate::builds::registry::Registry;
use crate::builds::shadow::shadow;
use crate::builds::tape::Tape;
use crate::contract::codec::OpenCodec;
use crate::contract::digest::Digest;
use crate::logic::builds::{Builds, Standing};
use crate::plugin::{Configured, Plugin, digest_of};
use crate::provider::Provider;
use crate::status::control::BuildCommand;
use crate::store::wall_clock;

/// How long a provider whose instances die does not run, where others live well with the same build.
const QUARANTINE: Duration = Duration::from_secs(3_600);

/// One provider whose next build is judged.
struct Case {
    provider: String,
    candidate: Configured,
    /// What runs, and what it received lately; `None` where the settings change, too, so that the two cannot be compared.
    running: Option<(Configured, Vec<Tape>)>,
}

impl Supervisor {
    /// Loads one build at a time: two at once would take both cores from the feeds.
    pub(super) fn load_next(&mut self) {
        let Some(load) = self.loader.next() else { return };
        let (engine, registry) = (self.engine.clone(), self.plugins.registry.clone());
        let max = engine.limits().max_file_bytes;
        let stem = load.stem().to_owned();
        let path = self.configuration.config.plugins_dir.join(format!("{stem}.wasm"));
        let (policy, written) =
            (self.configuration.config.plugins.provenance.clone(), self.configuration.config.plugins.sha256(&stem));
        let pinned = self.plugins.builds.get(&stem).and_then(Builds::pinned);
        self.loader.start(move || {
            let read = match &load {
                Load::File(_) => directory::read_inside(&path, max)
                    .and_then(|bytes| Ok((bytes, directory::read_signatures(&path)?))),
                Load::Kept(_, digest) => kept(&registry, *digest, max),
            };
            let result = read.and_then(|(bytes, signatures)| {
                // Before it is compiled: what is not trusted is not looked at.
                let digest = digest_of(&bytes);
                provenance::check(&policy, digest, written, pinned, signatures.as_deref())?;
                let plugin = engine.load_known(digest, &bytes)?;
                if let Err(error) = registry.keep(digest, &bytes, signatures.as_deref()) {
                    tracing::warn!(plugin = stem, %error, "this build is not kept: there is no way back to it after a restart");
                }
                Ok(plugin)
            });
            Done::Loaded(load, Box::new(result))
        });
        self.say_why_waiting();
    }

    pub(super) async fn loaded(&mut self, load: Load, result: Result<Plugin, FileError>) {
        let stem = load.stem().to_owned();
        if !self.plugins.files.contains(&stem) {
            // Deleted while it was being loaded.
            return;
        }
        self.status.metrics.plugin_load(result.is_ok());
        match (load, result) {
            (Load::File(_), Ok(plugin)) => {
                let description = plugin.description();
                tracing::info!(plugin = %stem, version = %description.version, digest = %plugin.digest(), "plugin loaded");
                self.plugins.file_errors.remove(&stem);
                let builds = self.plugins.builds.entry(stem.clone()).or_default();
                builds.handle_file(plugin.digest(), &description.version, wall_clock());
                self.keep_loaded(&stem, plugin);
                self.judge(&stem);
                self.reconcile().await;
            }
            (Load::Kept(..), Ok(plugin)) => {
                tracing::info!(plugin = %stem, version = %plugin.description().version, digest = %plugin.digest(), "a build that was kept is loaded again");
                self.keep_loaded(&stem, plugin);
                // It is what a newer one is compared with.
                self.judge(&stem);
                self.reconcile().await;
            }
            (Load::File(_), Err(FileError::Unproven(why))) if let Some(digest) = why.digest() => {
                let error = why.to_string();
                tracing::error!(plugin = %stem, error, "plugin not trusted");
                self.plugins.file_errors.remove(&stem);
                self.plugins.builds.entry(stem).or_default().handle_untrusted(digest, &error, wall_clock());
                self.reconcile().await;
            }
            (Load::File(_), Err(error)) => {
                let keeps = if self.target(&stem).is_some() { "; the build before it stays" } else { "" };
                tracing::error!(plugin = %stem, %error, "plugin refused{keeps}");
                self.plugins.file_errors.insert(stem, error.to_string());
                self.publish_plugins();
                self.say_why_waiting();
            }
            (Load::Kept(_, digest), Err(error)) => {
                tracing::error!(plugin = %stem, build = digest.short(), %error, "a build that was kept cannot be loaded");
                if let Some(builds) = self.plugins.builds.get_mut(&stem) {
                    let reason = format!("it cannot be loaded again: {error}");
                    builds.handle_judged(digest, Standing::Refused, &reason, wall_clock());
                }
                self.judge(&stem);
                self.reconcile().await;
            }
        }
    }

    /// With the resources that it may have. What ran before and may no longer have what it asks for does not start again;
    /// what runs goes on.
    fn keep_loaded(&mut self, stem: &str, plugin: Plugin) {
        let digest = plugin.digest();
        let runs = self.providers.running.values().any(|provider| provider.plugin().digest() == digest);
        if let Err(needs) = self.granted(stem, &plugin)
            && let Some(builds) = self.plugins.builds.get_mut(stem)
            && !runs
            && builds.get(digest).is_some_and(|build| matches!(build.standing, Standing::Trial | Standing::Good))
        {
            builds.handle_judged(digest, Standing::NeedsGrant, &needs, wall_clock());
        }
        let asks = Asks::of(plugin.description(), self.engine.limits());
        let granted = plugin.granted(&asks.resources.max(self.configuration.config.plugins.grant(stem).resources));
        self.plugins.loaded.insert(plugin.digest(), granted);
    }

    /// Whether a build may have what it asks for; otherwise what it needs, in words.
    fn granted(&self, stem: &str, plugin: &Plugin) -> Result<(), String> {
        let asks = |plugin: &Plugin| Asks::of(plugin.description(), self.engine.limits());
        let before = self.plugins.builds.get(stem).and_then(Builds::target).filter(|before| *before != plugin.digest());
        let before = before.and_then(|before| self.plugins.loaded.get(&before)).map(asks);
        let grant = self.configuration.config.plugins.grant(stem);
        grants::decide(self.configuration.config.plugins.policy, &asks(plugin), before.as_ref(), &grant)
            .map_err(|needs| needs.words(stem, &grant))
    }

    /// Compares what the file holds with what runs, where both are known. What is found comes as [`Done::Judged`].
    pub(super) fn judge(&mut self, stem: &str) {
        let Some(digest) = self.plugins.builds.get(stem).and_then(Builds::to_judge) else { return };
        let Some(plugin) = self.plugins.loaded.get(&digest).cloned() else { return };
        let before = self.plugins.builds.get(stem).and_then(Builds::target);
        if before.is_some() && self.target(stem).is_none() {
            // What it is to be compared with is being loaded.
            return;
        }
        if let Err(needs) = self.granted(stem, &plugin) {
            tracing::error!(plugin = stem, build = digest.short(), needs, "build not taken");
            if let Some(builds) = self.plugins.builds.get_mut(stem) {
                builds.handle_judged(digest, Standing::NeedsGrant, &needs, wall_clock());
            }
            return;
        }
        // What was granted may be more than when it was loaded.
        self.keep_loaded(stem, plugin);
        let Some(plugin) = self.plugins.loaded.get(&digest).cloned() else { return };
        let running = self.providers.running.iter().filter(|(_, provider)| provider.config().plugin == stem);
        if self.plugins.builds.get(stem).and_then(Builds::pinned) == Some(digest) {
            // Somebody wants it as it is.
            self.accept(stem, digest, "the operator wants it");
            return;
        }
        let cases: Vec<Case> = running
            .map(|(name, provider)| {
                // With the settings that are wanted now: they may have changed together with the file.
                let settings = self.providers.wanted.get(name).unwrap_or(provider.config()).settings.clone();
                let comparable = settings == provider.config().settings;
                Case {
                    provider: name.clone(),
                    candidate: plugin.configured(name.as_str().into(), settings),
                    running: comparable.then(|| (provider.open().clone(), provider.tapes())),
                }
            })
            .collect();
        if cases.is_empty() {
            // Nothing to compare it with.
            self.accept(stem, digest, "");
            return;
        }
        let (stem, handle) = (stem.to_owned(), tokio::runtime::Handle::current());
        self.loader.start(move || {
            let mut differences = Vec::new();
            for case in &cases {
                match handle.block_on(case.judge()) {
                    Ok(lines) => differences.extend(lines),
                    Err(why) => {
                        let reason = format!("refused by provider {}: {why}", case.provider);
                        return Done::Judged { stem, digest, standing: Standing::Refused, reason };
                    }
                }
            }
            Done::Judged { stem, digest, standing: Standing::Trial, reason: differences.join("; ") }
        });
    }

    pub(super) async fn judged(&mut self, stem: &str, digest: Digest, standing: Standing, reason: &str) {
        let Some(builds) = self.plugins.builds.get_mut(stem) else { return };
        // Something may have been said of it meanwhile.
        if !builds.get(digest).is_some_and(|build| build.standing == Standing::New) {
            return;
        }
        if standing == Standing::Trial {
            self.accept(stem, digest, reason);
            tracing::info!(
                plugin = stem,
                build = digest.short(),
                differences = reason,
                "the new build reads what the one before reads"
            );
        } else {
            builds.handle_judged(digest, standing, reason, wall_clock());
            tracing::error!(
                plugin = stem,
                build = digest.short(),
                standing = standing.as_str(),
                reason,
                "build not taken"
            );
        }
        self.reconcile().await;
    }

    /// A build may run; where builds must be pinned, the first is.
    fn accept(&mut self, stem: &str, digest: Digest, differences: &str) {
        let pins = self.configuration.config.plugins.provenance.require == Require::Pin
            && self.configuration.config.plugins.sha256(stem).is_none();
        let Some(builds) = self.plugins.builds.get_mut(stem) else { return };
        builds.handle_judged(digest, Standing::Trial, differences, wall_clock());
        if pins && builds.pinned().is_none() {
            tracing::info!(plugin = stem, build = digest.short(), "pinned: it is the first of its name");
            // It was just judged, so it is known.
            let _ = builds.pin(Some(&digest.to_string()), wall_clock());
        }
    }

    /// The build of a plugin that is to run, if it is loaded; it is being loaded when it is not.
    pub(super) fn target(&mut self, stem: &str) -> Option<Plugin> {
        let digest = self.plugins.builds.get(stem)?.target()?;
        if let Some(plugin) = self.plugins.loaded.get(&digest) {
            return Some(plugin.clone());
        }
        self.loader.push_kept(stem, digest);
        None
    }

    /// Takes out of use what dies too often: the build, or where others live with it and there is no other, the provider
    /// alone. Answers whether something changed.
    pub(super) async fn look_at_faults(&mut self) -> bool {
        let mut dying: Vec<(String, String)> = Vec::new();
        let mut changed = false;
        for (name, provider) in &self.providers.running {
            let Some(builds) = self.plugins.builds.get_mut(&provider.config().plugin) else { continue };
            let digest = provider.plugin().digest();
            builds.add_faults(digest, provider.faults().take_new());
            dying.extend(provider.faults().quarantine().map(|why| (name.clone(), why)));
            // Before pauses make its values old: another build, where there is one.
            if let Some(why) = provider.faults().repeated() {
                let why = format!("in provider {name}, {why}");
                if builds.handle_failed(digest, &why, wall_clock()) {
                    tracing::error!(provider = name, build = digest.short(), why, "going back to the build before");
                    changed = true;
                }
            }
        }
        changed |= !dying.is_empty();
        for (name, why) in dying {
            let Some(provider) = self.providers.running.get(&name) else { continue };
            let (plugin, config) = (provider.plugin().clone(), provider.config().clone());
            let digest = plugin.digest();
            let died_of = provider.faults().kept();
            let lives = |other: &&Provider| other.plugin().digest() == digest && other.faults().quarantine().is_none();
            let others = self.providers.running.values().any(|other| lives(&other));
            let Some(builds) = self.plugins.builds.get_mut(&config.plugin) else { continue };
            if others && !builds.has_another(digest) {
                let why = format!("quarantined: {why}");
                self.stop_one(&name, &why).await;
                self.refuse(&name, &plugin, config, &why, QUARANTINE);
            } else if builds.get(digest).is_some_and(|build| build.standing != Standing::Quarantined) {
                tracing::error!(provider = name, build = digest.short(), why, "build quarantined");
                builds.handle_quarantine(digest, &why, wall_clock());
                if let Err(error) = self.plugins.registry.keep_faults(digest, &died_of) {
                    tracing::warn!(provider = name, %error, "what it died of is not written down");
                }
                self.plugins.died_of.insert(digest, died_of.into_iter().filter_map(|fault| fault.input).collect());
            }
        }
        changed
    }

    /// Gives quarantined builds whose time has come another chance, if they survive what they died of.
    pub(super) fn retry_quarantined(&mut self) {
        let due = self.plugins.builds.iter().find_map(|(stem, builds)| Some((stem.clone(), builds.due(wall_clock())?)));
        let Some((stem, digest)) = due.filter(|_| !self.loader.is_busy()) else { return };
        let Some(plugin) = self.plugins.loaded.get(&digest).cloned() else {
            return self.loader.push(Load::Kept(stem, digest));
        };
        let inputs = match self.plugins.died_of.get(&digest) {
            Some(inputs) => inputs.clone(),
            None => self.plugins.registry.kept_faults(digest).unwrap_or_else(|error| {
                tracing::warn!(plugin = stem, build = digest.short(), error, "what it died of cannot be read");
                Vec::new()
            }),
        };
        let settings =
            self.providers.wanted.values().find(|config| config.plugin == stem).map(|config| config.settings.clone());
        let open = plugin.configured(stem.as_str().into(), settings.unwrap_or_else(|| "{}".to_owned()));
        let handle = tokio::runtime::Handle::current();
        self.loader.start(move || {
            let died = handle.block_on(crate::builds::faults::dies_again(&open, &inputs));
            Done::Retried { stem, digest, died }
        });
    }

    pub(super) async fn retried(&mut self, stem: &str, digest: Digest, died: Option<String>) {
        let Some(builds) = self.plugins.builds.get_mut(stem) else { return };
        if !builds.get(digest).is_some_and(|build| build.standing == Standing::Quarantined) {
            return;
        }
        match died {
            None => {
                tracing::info!(plugin = stem, build = digest.short(), "a quarantined build is tried again");
                builds.handle_retry(digest, wall_clock());
                self.reconcile().await;
            }
            Some(why) => {
                tracing::warn!(
                    plugin = stem,
                    build = digest.short(),
                    why,
                    "a quarantined build still dies of what it died of"
                );
                builds.handle_quarantine(digest, &why, wall_clock());
            }
        }
    }

    /// Does what the operator says of a plugin's builds. Answers in words.
    pub(super) async fn command(&mut self, stem: &str, what: BuildCommand) -> Result<String, String> {
        let now = wall_clock();
        let unknown = || format!("no plugin {stem} is known");
        // Not done before it is known that it can be.
        let mut after = self.plugins.builds.get(stem).ok_or_else(unknown)?.clone();
        let digest = match &what {
            BuildCommand::Release(digits) => after.release(digits.as_deref(), now),
            BuildCommand::Rollback => after.rollback(now),
            BuildCommand::Pin(digits) => after.pin(digits.as_deref(), now),
            BuildCommand::Unpin => {
                after.unpin();
                after.target().ok_or(crate::logic::builds::Unmet::NothingBefore)
            }
        };
        let digest = digest.map_err(|unmet| unmet.to_string())?;
        let lies_there = after.file() == Some(digest);
        let kept = self.plugins.registry.kept(digest, self.engine.limits().max_file_bytes as u64);
        match self.plugins.loaded.get(&digest) {
            Some(plugin) => self.granted(stem, plugin)?,
            None if matches!(kept, Ok(Some(_))) => {}
            // It was not trusted: now it is.
            None if lies_there => self.loader.push(Load::File(stem.to_owned())),
            None => return Err(format!("the file of build {} is not kept: put it into plugins_dir", digest.short())),
        }
        self.plugins.builds.insert(stem.to_owned(), after);
        self.plugins.died_of.remove(&digest);
        self.providers.refused.retain(|_, refused| refused.digest != digest);
        tracing::info!(plugin = stem, build = digest.short(), command = ?what, "told by the operator");
        self.judge(stem);
        self.reconcile().await;
        let words = match what {
            BuildCommand::Release(_) => "is looked at anew",
            BuildCommand::Rollback => "takes its place",
            BuildCommand::Pin(_) => "runs, and no other",
            BuildCommand::Unpin => "runs, until a newer one is as good",
        };
        Ok(format!("{stem}: build {} {words}", digest.short()))
    }
}

/// A build's file as it was kept, and what vouches for it.
fn kept(registry: &Registry, digest: Digest, max: usize) -> Result<(Vec<u8>, Option<Vec<u8>>), FileError> {
    let failed = |why: String| FileError::Read(why);
    let bytes = registry.kept(digest, max as u64).map_err(|e| failed(e.to_string()))?;
    let bytes = bytes.ok_or_else(|| failed("it was not kept".to_owned()))?;
    if digest_of(&bytes) != digest {
        return Err(failed("the kept file was changed".to_owned()));
    }
    Ok((bytes, registry.kept_signatures(digest).map_err(|e| failed(e.to_string()))?))
}

impl Case {
    /// What the candidate does otherwise, or why it is not to run: it does not take the settings, or does not read what the
    /// running build reads.
    async fn judge(&self) -> Result<Vec<String>, String> {
        self.candidate.open().await.map(drop).map_err(|death| death.to_string())?;
        let Some((running, tapes)) = &self.running else { return Ok(Vec::new()) };
        let verdict = shadow(running, &self.candidate, tapes).await;
        for line in &verdict.lines {
            tracing::info!(provider = self.provider, "new build: {line}");
        }
        if !verdict.is_refused() {
            return Ok(verdict.lines);
        }
        let diff = if verdict.lines.is_empty() { String::new() } else { format!(" ({})", verdict.lines.join("; ")) };
        Err(format!("{verdict}{diff}"))
    }
}
