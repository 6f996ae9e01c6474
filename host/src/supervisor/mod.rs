//! What runs and what should: one loop over one closed set of events, applying changes of files and configuration.
//!
//! Files are found by comparing listings (`logic/reload`), plugins are compiled off to the side one at a time, and what
//! runs is touched only when its replacement is known to be good. No sockets and no WebAssembly here.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};

use crate::builds::directory;
use crate::builds::registry::Registry;
use crate::config::{Loaded, ProviderConfig};
use crate::logic::clock::ClockWatch;
use crate::logic::reload::{Change, Planner};
use crate::plugin::Engine;
use crate::provider::Provider;
use crate::status::control::{Applied, Command, ReloadReport};
use crate::status::{ConfigStatus, Status};
use crate::store::{Store, wall_clock};
use crate::transport::OriginLimits;

mod configuration;
mod loader;
mod plugins;
mod providers;
mod reloads;

mod builds;
mod publish;
mod replace;

use self::configuration::Configuration;
pub(crate) use self::configuration::config_listing;
use self::loader::{Done, Load, Loader};
use self::plugins::Plugins;
use self::providers::Providers;
use self::reloads::Reloads;

/// Between two looks at the files. A file counts when two looks agree, so it is seen within half a second.
const SCAN_INTERVAL: Duration = Duration::from_millis(250);

/// Why the loop woke.
enum Happened {
    Tick,
    Told(Command),
    Done(Done),
    Stop,
}

pub(crate) struct Supervisor {
    store: Arc<Store>,
    status: Arc<Status>,
    engine: Arc<Engine>,
    origins: Arc<OriginLimits>,
    configuration: Configuration,
    plugins: Plugins,
    /// What lies in `plugins_dir`, and how often it was looked at.
    planner: Planner,
    looks: u32,
    loader: Loader,
    providers: Providers,
    /// Running because `autostart` says so. Without its plugin, one goes on being shown while its values count.
    autostarted: BTreeSet<String>,
    reloads: Reloads,
    clock: ClockWatch,
}

impl Supervisor {
    /// Knows the configuration, and none of the plugins yet.
    pub(crate) fn new(
        loaded: Loaded,
        config_path: Option<PathBuf>,
        config_planner: Planner,
        engine: Engine,
        registry: Registry,
        store: Arc<Store>,
        status: Arc<Status>,
    ) -> Self {
        Self {
            store,
            status,
            engine: Arc::new(engine),
            origins: Arc::default(),
            configuration: Configuration::new(loaded, config_path, config_planner),
            plugins: Plugins::new(registry),
            planner: Planner::new(),
            looks: 0,
            loader: Loader::default(),
            providers: Providers::default(),
            autostarted: BTreeSet::new(),
            reloads: Reloads::default(),
            clock: ClockWatch::default(),
        }
    }

    pub(crate) async fn run(mut self, mut stop: watch::Receiver<bool>, mut commands: mpsc::Receiver<Command>) {
        let mut ticks = tokio::time::interval(SCAN_INTERVAL);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        self.reconcile().await;
        loop {
            let happened = tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => Happened::Stop,
                Some(command) = commands.recv() => Happened::Told(command),
                done = self.loader.done(), if self.loader.is_busy() => match done {
                    Some(done) => Happened::Done(done),
                    None => Happened::Tick,
                },
                _ = ticks.tick() => Happened::Tick,
            };
            match happened {
                Happened::Tick => {
                    self.look_at_clock();
                    self.look().await;
                    self.retry_quarantined();
                }
                Happened::Told(Command::Rotate(provider, done)) => drop(done.send(self.rotate(provider.as_deref()))),
                Happened::Told(Command::Build { plugin, what, done }) => {
                    let answer = self.command(&plugin, what).await;
                    drop(done.send(answer));
                }
                Happened::Told(Command::Reload(done)) => self.reload(done).await,
                Happened::Done(Done::Loaded(load, result)) => self.loaded(load, *result).await,
                Happened::Done(Done::Judged { stem, digest, standing, reason }) => {
                    self.judged(&stem, digest, standing, &reason).await;
                }
                Happened::Done(Done::Retried { stem, digest, died }) => self.retried(&stem, digest, died).await,
                Happened::Stop => break,
            }
            self.load_next();
            self.finish_reloads();
            self.plugins.save(self.providers.digests());
            // A file counts at the second look.
            if self.looks >= 2 && self.loader.is_idle() {
                self.status.set_settled();
            }
        }
        self.providers.stop("the daemon is stopping").await;
        self.loader.abort();
    }

    /// Reads every file of the configuration and the secrets again.
    async fn reload(&mut self, done: Option<oneshot::Sender<ReloadReport>>) {
        self.reloads.begin(done);
        self.read_config();
        for stem in self.configuration.beside.keys().cloned().collect::<Vec<_>>() {
            self.configuration.read_beside(&stem, &self.status);
        }
        // Whoever asks may have mended what is in no file of ours.
        self.providers.refused.clear();
        self.replace_rotated().await;
        self.config_changed().await;
    }

    /// Applies what is configured now.
    async fn config_changed(&mut self) {
        for builds in self.plugins.builds.values_mut() {
            builds.handle_config_changed(wall_clock());
        }
        self.providers.wanted = self.wanted();
        for stem in self.plugins.files.clone() {
            self.judge(&stem);
        }
        self.reconcile().await;
        for (name, error) in self.configuration.bad_sections.clone() {
            self.reloads.applied(&name, Applied::Refused(error.to_string()));
        }
        let errors: Vec<String> = self.configuration.errors.values().map(ToString::to_string).collect();
        self.reloads.errors(&errors);
    }

    /// Reads the main configuration and the grants; what was refused may be allowed then, and the other way round.
    fn read_config(&mut self) {
        if self.configuration.read(&self.status) {
            for stem in &self.plugins.files {
                self.loader.push(Load::File(stem.clone()));
            }
        }
    }

    fn finish_reloads(&mut self) {
        let heirs = &self.providers.heirs;
        for (report, done) in self.reloads.finish(|name| heirs.contains_key(name), !self.loader.is_idle()) {
            for (provider, applied) in &report.providers {
                let (word, why) = applied.words();
                tracing::info!(provider, result = word, why, "reloaded");
            }
            self.status.set_config(ConfigStatus { last_reload: Some(report.clone()), ..self.status.config() });
            if let Some(done) = done {
                // Perhaps nobody waits any more: it is in the status.
                let _ = done.send(report);
            }
        }
    }

    fn rotate(&self, provider: Option<&str>) -> Result<(), String> {
        match provider {
            None => {
                tracing::info!("every connection is replaced");
                self.providers.running.values().for_each(Provider::rotate);
            }
            Some(name) => {
                let provider =
                    self.providers.running.get(name).ok_or_else(|| format!("no provider {name} is running"))?;
                tracing::info!(provider = name, "its connections are replaced");
                provider.rotate();
            }
        }
        Ok(())
    }

    /// Secrets are read when a provider starts: one whose secrets have changed is replaced.
    async fn replace_rotated(&mut self) {
        let rotated = self.providers.running.iter().filter(|(_, provider)| provider.secrets_changed());
        let rotated =
            rotated.map(|(name, provider)| (name.clone(), provider.plugin().clone(), provider.config().clone()));
        for (name, plugin, config) in rotated.collect::<Vec<_>>() {
            tracing::info!(provider = name, "secrets changed");
            self.give_up(&name, "its secrets changed").await;
            self.replace(&name, plugin, config).await;
        }
    }

    /// Ages are counted by the monotonic clock, so a jump makes nothing older or newer; but what the venues say of
    /// their times is compared with the wall clock.
    fn look_at_clock(&mut self) {
        let Some(jumped) = self.clock.observe(tokio::time::Instant::now().into_std(), wall_clock()) else { return };
        self.status.metrics.clock_jump();
        let seconds = jumped as f64 / 1e9;
        tracing::warn!(seconds, "the wall clock jumped: this machine slept, or its clock was set");
    }

    /// Compares the files with what was seen of them, and mends what broke.
    async fn look(&mut self) {
        self.looks = self.looks.saturating_add(1);
        let (mut changed, mut configured) = (false, self.configuration.has_changed());
        if configured {
            self.read_config();
        }
        match directory::scan(&self.configuration.config.plugins_dir) {
            Ok(listing) => {
                self.configuration.directory_works(&self.status);
                for change in self.planner.handle_listing(listing) {
                    let (is_plugin, needs) = self.take_change(&change);
                    changed |= needs && is_plugin;
                    configured |= needs && !is_plugin;
                }
            }
            Err(why) => self.configuration.directory_fails(&why, &self.status),
        }
        let broken: Vec<String> = self
            .providers
            .running
            .iter_mut()
            .filter_map(|(name, provider)| provider.is_broken().then(|| name.clone()))
            .collect();
        for name in broken {
            if let Some(provider) = self.providers.running.remove(&name) {
                provider.stop("a task of it broke; starting anew").await;
            }
            changed = true;
        }
        changed |= self.look_at_faults().await;
        changed |= self.look_at_heirs().await;
        changed |= self.look_at_trials();
        changed |= self.has_due_retries();
        while self.providers.leaving.try_join_next().is_some() {}
        let leaves = |stem: &String| !self.plugins.files.contains(stem) && !self.has_fresh_values(stem);
        if configured {
            self.reloads.begin(None);
            self.config_changed().await;
        } else if changed || self.autostarted.iter().any(leaves) {
            self.reconcile().await;
        }
    }

    fn has_fresh_values(&self, provider: &str) -> bool {
        self.store.find(provider).is_some_and(|slots| slots.has_fresh())
    }

    /// Whether it is about a plugin, and whether something is to be done now. A plugin's time comes once it is loaded.
    fn take_change(&mut self, change: &Change) -> (bool, bool) {
        let (Change::Load(name) | Change::Reload(name) | Change::Unload(name)) = change;
        let Some((stem, is_plugin)) = directory::stem(name) else { return (true, false) };
        let gone = matches!(change, Change::Unload(_));
        let needs = match (is_plugin, gone) {
            (true, false) => {
                self.plugins.files.insert(stem.to_owned());
                self.loader.push(Load::File(stem.to_owned()));
                false
            }
            (true, true) => {
                tracing::info!(plugin = stem, "plugin file removed");
                self.plugins.forget_file(stem);
                self.loader.forget(stem);
                self.status.set_plugin(stem, None);
                true
            }
            (false, false) => {
                self.configuration.read_beside(stem, &self.status);
                true
            }
            (false, true) => {
                self.configuration.forget_beside(stem, &self.status);
                true
            }
        };
        (is_plugin, needs)
    }

    /// What should run, by name.
    fn wanted(&mut self) -> BTreeMap<String, ProviderConfig> {
        let mut wanted = self.configuration.config.providers.clone();
        for (name, provider) in &self.configuration.beside {
            wanted.entry(name.clone()).or_insert_with(|| provider.clone());
        }
        let used: BTreeSet<String> = wanted.values().map(|provider| provider.plugin.clone()).collect();
        let known = std::mem::take(&mut self.autostarted);
        if self.configuration.config.autostart {
            // A deleted file, or one that is being replaced slowly, takes no value away that is still good.
            let left = known.iter().filter(|stem| self.has_fresh_values(stem));
            // Whoever wrote a file beside it wants something else than the defaults, also when the file is wrong.
            let bad = |stem: &String| {
                self.configuration.bad_sections.contains_key(stem)
                    || self.configuration.errors.contains_key(&self.configuration.beside_path(stem))
            };
            let configured = |stem: &String| !known.contains(stem) && bad(stem);
            let there = self
                .plugins
                .files
                .iter()
                .filter(|stem| self.plugins.builds.get(*stem).is_some_and(|builds| builds.file().is_some()));
            let all = there.chain(left).filter(|stem| !used.contains(*stem) && !configured(stem));
            self.autostarted = all.cloned().collect();
        }
        for stem in &self.autostarted {
            // An empty section says: everything as the plugin describes it.
            if let Ok(provider) = ProviderConfig::parse("", Path::new("autostart"), stem) {
                wanted.entry(stem.clone()).or_insert(provider);
            }
        }
        wanted
    }
}
