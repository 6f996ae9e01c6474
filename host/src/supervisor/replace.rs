//! What runs, brought to what should run: providers started, replaced without a gap, put on trial, taken back.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::Supervisor;
use super::plugins::words;
use super::providers::{Heir, Refused, Trial};
use crate::config::ProviderConfig;
use crate::contract::codec::OpenCodec;
use crate::contract::digest::Digest;
use crate::logic::builds::{Builds, Standing};
use crate::logic::handover::{Decision, Handover};
use crate::logic::probation::{Counts, Probation, Verdict};
use crate::plugin::Plugin;
use crate::provider::Provider;
use crate::status::ProviderState;
use crate::status::control::Applied;
use crate::store::wall_clock;

/// A provider that cannot run is tried again after this.
const RETRY: Duration = Duration::from_secs(30);

/// An heir whose instances died so often is given up.
const DEATHS: usize = 3;

/// At most so many ids are named in a reason.
const NAMED: usize = 5;

fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

impl Supervisor {
    /// Makes what runs what should run, touching only what differs.
    pub(super) async fn reconcile(&mut self) {
        self.providers.wanted = self.wanted();
        let gone: Vec<String> =
            self.providers.running.keys().filter(|name| !self.providers.wanted.contains_key(*name)).cloned().collect();
        for name in gone {
            self.stop_one(&name, "no longer configured").await;
            self.reloads.applied(&name, Applied::Stopped("no longer configured".to_owned()));
        }
        self.providers.refused.retain(|name, _| self.providers.wanted.contains_key(name));
        for status in self.status.providers() {
            if !self.providers.wanted.contains_key(&*status.name) {
                // The values first: a reader of metrics in between would make gauges of them that nobody forgets.
                self.store.remove(&status.name);
                self.status.remove_provider(&status.name);
            }
        }
        for (name, config) in self.providers.wanted.clone() {
            self.reconcile_one(&name, config).await;
        }
        self.publish_plugins();
        self.say_why_waiting();
    }

    pub(super) async fn stop_one(&mut self, name: &str, reason: &str) {
        self.give_up(name, reason).await;
        self.providers.trials.remove(name);
        if let Some(provider) = self.providers.running.remove(name) {
            provider.stop(reason).await;
            tracing::info!(provider = name, reason, "stopped");
        }
    }

    async fn reconcile_one(&mut self, name: &str, config: ProviderConfig) {
        let status = self.status.provider(name);
        status.update(|info| {
            info.enabled = config.enabled;
            info.plugin.clone_from(&config.plugin);
        });
        let wanted = self.plugins.builds.get(&config.plugin).and_then(Builds::target);
        let plugin = if config.enabled { self.target(&config.plugin) } else { None };
        let Some(plugin) = plugin else {
            if config.enabled && wanted.is_some() && self.providers.running.contains_key(name) {
                // What is to take its place is being loaded.
                return;
            }
            let (state, reason) = if config.enabled {
                (ProviderState::WaitingForPlugin, "its plugin is not there")
            } else {
                (ProviderState::Disabled, "disabled in the configuration")
            };
            let against = self.plugins.builds.get(&config.plugin).and_then(Builds::against).map(words);
            let reason = against.filter(|_| config.enabled).unwrap_or_else(|| reason.to_owned());
            self.stop_one(name, &reason).await;
            status.update(|info| {
                info.state = state;
                info.reason.clone_from(&reason);
            });
            self.reloads.applied(name, Applied::Stopped(reason));
            return;
        };
        if let Some(heir) = self.providers.heirs.get(name) {
            if heir.provider.plugin().digest() == plugin.digest() && *heir.provider.config() == config {
                return self.reloads.pending(name);
            }
            self.give_up(name, "something newer takes its place").await;
        }
        if let Some(provider) = self.providers.running.get_mut(name)
            && provider.plugin().digest() == plugin.digest()
            && provider.config().differs_in_ids_only(&config)
        {
            let same = *provider.config() == config;
            let taken = if same { Ok(()) } else { provider.set_ids(config.clone()) };
            let applied = match taken {
                Ok(()) => {
                    // A change that was refused has been taken back.
                    self.providers.refused.remove(name);
                    let reason = self.held_back(&config.plugin);
                    status.update(|info| info.reason = reason);
                    if same { Applied::Kept } else { Applied::Changed("ids".to_owned()) }
                }
                Err(reason) => {
                    self.refuse(name, &plugin, config, &reason, RETRY);
                    Applied::Refused(reason)
                }
            };
            self.reloads.applied(name, applied);
            return;
        }
        let digest = plugin.digest();
        if let Some(refused) = self.providers.refused.get(name)
            && refused.digest == digest
            && refused.config == config
            && (self.providers.running.contains_key(name) || now() < refused.until)
        {
            let reason = refused.reason.clone();
            self.reloads.applied(name, Applied::Refused(reason));
            return;
        }
        self.replace(name, plugin, config).await;
    }

    /// What is said of a running provider whose plugin's file holds a build that does not run.
    fn held_back(&self, stem: &str) -> String {
        let against = self.plugins.builds.get(stem).and_then(Builds::against);
        let against = against.filter(|build| !matches!(build.standing, Standing::Trial | Standing::Good));
        against.map(|build| format!("a change was refused: {}", words(build))).unwrap_or_default()
    }

    /// Starts a provider: alone, or beside the one that runs under its name, to take its place once it delivers.
    pub(super) async fn replace(&mut self, name: &str, plugin: Plugin, config: ProviderConfig) {
        if let Err(reason) = probe(name, &plugin, &config).await {
            return self.refused_now(name, &plugin, config, &reason);
        }
        let status = self.status.detached(name);
        let made = Provider::new(plugin.clone(), config.clone(), &self.store, status, self.origins.clone());
        let mut provider = match made {
            Ok(provider) => provider,
            Err(reason) => return self.refused_now(name, &plugin, config, &reason),
        };
        let (what, before) = match self.providers.running.get(name) {
            None => (None, None),
            Some(old) => {
                let mut what = old.config().differences(&config);
                if old.plugin().digest() != plugin.digest() {
                    what.insert(0, "plugin");
                }
                if what.is_empty() {
                    what.push("secrets");
                }
                let at_once = reason_for_no_overlap(old, &provider);
                if at_once.is_none() {
                    match provider.run_beside(old) {
                        Ok(()) => {
                            let (build, what) = (plugin.digest().short(), what.join(", "));
                            tracing::info!(provider = name, build, what, "starts beside the one that serves");
                            let heir = Heir { provider, handover: Handover::new(now()), what };
                            self.providers.heirs.insert(name.to_owned(), heir);
                            return self.reloads.pending(name);
                        }
                        Err(reason) => return self.refused_now(name, &plugin, config, &reason),
                    }
                }
                if let Some(why) = at_once.filter(|why| !why.is_empty()) {
                    tracing::warn!(provider = name, why, "handed over at once");
                }
                (Some(what.join(", ")), Some(old.plugin().digest()))
            }
        };
        let counts = self.providers.running.get(name).map(Provider::counts_while_serving);
        if let Some(old) = self.providers.running.remove(name) {
            old.stop("being replaced").await;
        }
        // Its status is what is shown from here on, also where it fails to start.
        self.status.install(provider.status().clone());
        if let Err(reason) = provider.run() {
            return self.refused_now(name, &plugin, config, &reason);
        }
        self.providers.refused.remove(name);
        self.serves(name, provider, before, counts.unwrap_or_default());
        self.reloads.applied(name, what.map_or(Applied::Started, Applied::Changed));
    }

    /// A provider serves from now on; on trial, if its build is.
    fn serves(&mut self, name: &str, provider: Provider, before: Option<Digest>, counts: Counts) {
        let description = provider.plugin().description();
        let digest = provider.plugin().digest();
        tracing::info!(provider = name, plugin = %description.name, version = %description.version, build = digest.short(), "running");
        let reason = self.held_back(&provider.config().plugin);
        self.status.provider(name).update(|info| {
            info.state = ProviderState::Running;
            info.reason = reason;
            info.plugin_version.clone_from(&description.version);
            info.plugin_digest = digest.to_string();
        });
        let stem = &provider.config().plugin;
        let on_trial = self.plugins.builds.get(stem).and_then(|builds| builds.get(digest));
        if on_trial.is_some_and(|build| build.standing == Standing::Trial) {
            let fresh = if before.is_some() { provider.fresh_ids() } else { 0 };
            let probation =
                Probation::new(counts, provider.counts(), fresh, self.configuration.config.probation, now());
            self.providers.trials.insert(name.to_owned(), Trial { digest, probation });
        } else {
            self.providers.trials.remove(name);
        }
        self.providers.running.insert(name.to_owned(), provider);
    }

    fn refused_now(&mut self, name: &str, plugin: &Plugin, config: ProviderConfig, reason: &str) {
        self.refuse(name, plugin, config, reason, RETRY);
        self.reloads.applied(name, Applied::Refused(reason.to_owned()));
    }

    /// The change is not made. What runs, if anything does, goes on.
    /// Tried again after `retry`, or once its plugin or configuration changes.
    pub(super) fn refuse(
        &mut self,
        name: &str,
        plugin: &Plugin,
        config: ProviderConfig,
        reason: &str,
        retry: Duration,
    ) {
        let runs = self.providers.running.contains_key(name);
        let said = self.providers.refused.get(name).is_some_and(|refused| refused.reason == reason);
        if !said {
            tracing::error!(provider = name, reason, keeps_running = runs, "provider refused");
        }
        let digest = plugin.digest();
        let refused = Refused { digest, config, reason: reason.to_owned(), until: now() + retry };
        self.providers.refused.insert(name.to_owned(), refused);
        self.status.provider(name).update(|info| {
            info.state = if runs { ProviderState::Running } else { ProviderState::Failed };
            info.reason = if runs { format!("a change was refused: {reason}") } else { reason.to_owned() };
        });
    }

    /// Whether a provider that could not run is to be tried again.
    pub(super) fn has_due_retries(&self) -> bool {
        let due =
            |(name, refused): (&String, &Refused)| !self.providers.running.contains_key(name) && now() >= refused.until;
        self.providers.refused.iter().any(due)
    }

    /// Brings every replacement forward. Answers whether something changed that the rest must know.
    pub(super) async fn look_at_heirs(&mut self) -> bool {
        let mut changed = false;
        for name in self.providers.heirs.keys().cloned().collect::<Vec<_>>() {
            let Some(heir) = self.providers.heirs.get_mut(&name) else { continue };
            let Some(serving) = self.providers.running.get(&name) else {
                // Whatever it was to replace is gone.
                self.take_over(&name);
                changed = true;
                continue;
            };
            if heir.provider.is_broken() {
                self.heir_failed(&name, "a task of it broke").await;
                changed = true;
                continue;
            }
            let deaths = heir.provider.faults().kept();
            if deaths.len() >= DEATHS
                && let Some(last) = deaths.last()
            {
                let why = format!("its instances die, the last in {}: {}", last.call, last.death);
                self.heir_failed(&name, &why).await;
                changed = true;
                continue;
            }
            let (names, ids) = heir.provider.shared_ids(serving);
            match heir.handover.decide(heir.provider.is_settled(), &ids, now()) {
                Decision::Wait => {}
                Decision::TakeOver => {
                    self.take_over(&name);
                    changed = true;
                }
                Decision::GiveUp(lacking) => {
                    let connected = heir.handover.settled().is_some();
                    let first: Vec<&str> = lacking.iter().take(NAMED).map(|at| &*names[*at]).collect();
                    let more = lacking.len().saturating_sub(NAMED);
                    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
                    let does = if connected { "it does not deliver" } else { "it does not connect, and lacks" };
                    let why = format!("{does} {}{more}, which the one before delivers", first.join(", "));
                    self.heir_failed(&name, &why).await;
                    changed = true;
                }
            }
        }
        changed
    }

    fn take_over(&mut self, name: &str) {
        let Some(Heir { mut provider, what, .. }) = self.providers.heirs.remove(name) else { return };
        provider.take_over();
        self.status.install(provider.status().clone());
        let old = self.providers.running.remove(name);
        let before = old.as_ref().map(|old| old.plugin().digest());
        let counts = old.as_ref().map(Provider::counts_while_serving).unwrap_or_default();
        if let Some(old) = old {
            self.providers.leaving.spawn(async move { old.stop("replaced").await });
        }
        self.providers.refused.remove(name);
        self.serves(name, provider, before, counts);
        self.reloads.applied(name, Applied::Changed(what));
    }

    /// What was to take a provider's place is not good enough: its build is refused, or its settings are.
    async fn heir_failed(&mut self, name: &str, why: &str) {
        let Some(heir) = self.providers.heirs.get(name) else { return };
        let (plugin, config) = (heir.provider.plugin().clone(), heir.provider.config().clone());
        let digest = plugin.digest();
        self.give_up(name, why).await;
        let runs = self.providers.running.get(name).map(|old| old.plugin().digest());
        if runs.is_some_and(|runs| runs != digest)
            && let Some(builds) = self.plugins.builds.get_mut(&config.plugin)
            && builds.pinned() != Some(digest)
        {
            let why = format!("refused by provider {name}: {why}");
            tracing::error!(provider = name, build = digest.short(), why, "build not taken");
            builds.handle_judged(digest, Standing::Refused, &why, wall_clock());
        }
        self.refused_now(name, &plugin, config, why);
    }

    /// Ends what was to take a provider's place, if there is such a thing.
    pub(super) async fn give_up(&mut self, name: &str, why: &str) {
        let Some(heir) = self.providers.heirs.remove(name) else { return };
        tracing::info!(provider = name, why, "what was to take its place is given up");
        match self.providers.running.get(name) {
            Some(serving) => heir.provider.give_up(serving).await,
            None => heir.provider.stop(why).await,
        }
    }

    /// Watches the builds that are on trial. Answers whether one of them goes.
    pub(super) fn look_at_trials(&mut self) -> bool {
        let mut ended: BTreeMap<String, Option<String>> = BTreeMap::new();
        for (name, trial) in &mut self.providers.trials {
            let Some(provider) = self.providers.running.get(name) else { continue };
            let connected = provider.is_connected();
            match trial.probation.observe(provider.counts(), provider.fresh_ids(), connected, now()) {
                Verdict::Wait => {}
                Verdict::Passed => _ = ended.insert(name.clone(), None),
                Verdict::Failed(why) => _ = ended.insert(name.clone(), Some(why)),
            }
        }
        let mut changed = false;
        for (name, failed) in ended {
            let Some(Trial { digest, .. }) = self.providers.trials.remove(&name) else { continue };
            let still: BTreeSet<Digest> = self.providers.trials.values().map(|trial| trial.digest).collect();
            let Some(stem) = self.providers.running.get(&name).map(|provider| provider.config().plugin.clone()) else {
                continue;
            };
            let Some(builds) = self.plugins.builds.get_mut(&stem) else { continue };
            match failed {
                None if !still.contains(&digest) => {
                    builds.handle_proven(digest, wall_clock());
                    changed = true;
                }
                None => {}
                Some(why) => {
                    let why = format!("in provider {name}, {why}");
                    if builds.handle_failed(digest, &why, wall_clock()) {
                        tracing::error!(
                            provider = name,
                            build = digest.short(),
                            why,
                            "worse than the build before: going back"
                        );
                        changed = true;
                    } else {
                        tracing::warn!(
                            provider = name,
                            build = digest.short(),
                            why,
                            "a build on trial is bad, and there is no other"
                        );
                    }
                }
            }
        }
        changed
    }
}

/// Why a provider cannot start beside the one that serves; empty when there is nothing that it could spare.
fn reason_for_no_overlap(old: &Provider, new: &Provider) -> Option<String> {
    if old.fresh_ids() == 0 {
        return Some(String::new());
    }
    let most = new.most_connections()?;
    let (now, more) = (old.connections(), new.connections_needed());
    (now + more > most).then(|| format!("the venue allows {most} connections, and {now} and {more} are too many"))
}

/// Whether the plugin takes these settings: on an instance of its own, off the runtime's threads.
async fn probe(name: &str, plugin: &Plugin, config: &ProviderConfig) -> Result<(), String> {
    let open = plugin.configured(name.into(), config.settings.clone());
    let handle = tokio::runtime::Handle::current();
    let probed = tokio::task::spawn_blocking(move || handle.block_on(open.open()).map(drop)).await;
    match probed {
        Ok(Ok(())) => Ok(()),
        Ok(Err(death)) => Err(death.to_string()),
        Err(error) => Err(format!("configuring it ended in a panic: {error}")),
    }
}
