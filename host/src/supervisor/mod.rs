//! What runs and what should: one loop over one closed set of events, applying changes of files and configuration.
//!
//! Files are found by comparing listings (`logic/reload`), plugins are compiled off to the side one at a time, and what
//! runs is touched only when its replacement is known to be good. No sockets and no WebAssembly here.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;

use self::replace::{Heir, Refused, Trial};
use crate::builds::directory;
use crate::builds::faults::Input;
use crate::builds::file_error::FileError;
use crate::builds::registry::Registry;
use crate::config::{Config, ConfigError, Loaded, ProviderConfig, last_good};
use crate::contract::digest::Digest;
use crate::logic::builds::{Builds, Standing};
use crate::logic::clock::ClockWatch;
use crate::logic::reload::{Change, Listing, Planner};
use crate::plugin::{Engine, Plugin};
use crate::provider::Provider;
use crate::status::control::{Applied, Command, ReloadReport};
use crate::status::{ConfigStatus, Status};
use crate::store::{Store, wall_clock};
use crate::transport::OriginLimits;

mod builds;
mod replace;

/// Between two looks at the files. A file counts when two looks agree, so it is seen within half a second.
const SCAN_INTERVAL: Duration = Duration::from_millis(250);

/// Why the loop woke.
enum Happened {
    Tick,
    Told(Command),
    Done(Done),
    Stop,
}

/// A build to be loaded.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Load {
    /// What the file of this name holds.
    File(String),
    /// One that was kept.
    Kept(String, Digest),
}

impl Load {
    fn stem(&self) -> &str {
        match self {
            Self::File(stem) | Self::Kept(stem, _) => stem,
        }
    }
}

/// What was done off to the side.
enum Done {
    Loaded(Load, Box<Result<Plugin, FileError>>),
    Judged {
        stem: String,
        digest: Digest,
        standing: Standing,
        reason: String,
    },
    /// `died`: why a quarantined build stays so.
    Retried {
        stem: String,
        digest: Digest,
        died: Option<String>,
    },
}

/// A reload whose consequences are not all known.
struct Reload {
    report: ReloadReport,
    /// The providers that are being replaced because of it.
    open: BTreeSet<String>,
    done: Option<oneshot::Sender<ReloadReport>>,
}

pub(crate) struct Supervisor {
    store: Arc<Store>,
    status: Arc<Status>,
    engine: Arc<Engine>,
    origins: Arc<OriginLimits>,
    config_path: Option<PathBuf>,
    config_planner: Planner,
    plugins_planner: Planner,
    /// The last good one.
    config: Config,
    /// The last good `NAME.toml` of each name.
    beside: BTreeMap<String, ProviderConfig>,
    /// What is wrong with which file now.
    errors: BTreeMap<PathBuf, ConfigError>,
    /// What is wrong with which provider's section of the main configuration.
    bad_sections: BTreeMap<String, ConfigError>,
    /// The plugin files that lie there, good or not.
    files: BTreeSet<String>,
    /// What is known of each plugin's builds, and what of that is written down.
    builds: BTreeMap<String, Builds>,
    saved: BTreeMap<String, Builds>,
    unsaved: bool,
    registry: Registry,
    /// The builds that may have to run at once.
    loaded: BTreeMap<Digest, Plugin>,
    /// The kept build that was last asked for.
    kept_loading: Option<Digest>,
    /// What quarantined builds died of.
    died_of: BTreeMap<Digest, Vec<Input>>,
    /// Why the file that lies there now was not loaded.
    plugin_errors: BTreeMap<String, String>,
    /// Running because `autostart` says so. Without its plugin, one goes on being shown while its values count.
    autostarted: BTreeSet<String>,
    waiting: VecDeque<Load>,
    /// At most one thing at a time is loaded, judged or tried.
    busy: JoinSet<Done>,
    clock: ClockWatch,
    /// How often the directory was listed.
    looks: u32,
    /// What should run.
    wanted: BTreeMap<String, ProviderConfig>,
    running: BTreeMap<String, Provider>,
    heirs: BTreeMap<String, Heir>,
    trials: BTreeMap<String, Trial>,
    refused: BTreeMap<String, Refused>,
    /// Providers that were replaced and say goodbye.
    leaving: JoinSet<()>,
    reloads: Vec<Reload>,
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
        let builds = registry.load().unwrap_or_else(|error| {
            tracing::error!(error);
            BTreeMap::new()
        });
        let refused = config_path.clone().zip(loaded.refused);
        let bad_grants = loaded.bad_grants.map(|error| (error.path.clone(), error));
        Self {
            store,
            status,
            engine: Arc::new(engine),
            origins: Arc::default(),
            config_path,
            config_planner,
            plugins_planner: Planner::new(),
            config: loaded.config,
            beside: BTreeMap::new(),
            errors: refused.into_iter().chain(bad_grants).collect(),
            bad_sections: loaded.bad,
            files: BTreeSet::new(),
            saved: builds.clone(),
            builds,
            unsaved: false,
            registry,
            loaded: BTreeMap::new(),
            kept_loading: None,
            died_of: BTreeMap::new(),
            plugin_errors: BTreeMap::new(),
            autostarted: BTreeSet::new(),
            waiting: VecDeque::new(),
            busy: JoinSet::new(),
            clock: ClockWatch::default(),
            looks: 0,
            wanted: BTreeMap::new(),
            running: BTreeMap::new(),
            heirs: BTreeMap::new(),
            trials: BTreeMap::new(),
            refused: BTreeMap::new(),
            leaving: JoinSet::new(),
            reloads: Vec::new(),
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
                Some(done) = self.busy.join_next() => match done {
                    Ok(done) => Happened::Done(done),
                    // `load_blocking` catches panics; only the reading of the file is outside.
                    Err(error) => {
                        tracing::error!(%error, "loading or judging a plugin ended in a panic");
                        Happened::Tick
                    }
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
            self.save();
            // A file counts at the second look.
            if self.looks >= 2 && self.waiting.is_empty() && self.busy.is_empty() {
                self.status.set_settled();
            }
        }
        let mut stopping = JoinSet::new();
        let heirs = std::mem::take(&mut self.heirs).into_values().map(|heir| heir.provider);
        for provider in std::mem::take(&mut self.running).into_values().chain(heirs) {
            stopping.spawn(async move { provider.stop("the daemon is stopping").await });
        }
        while stopping.join_next().await.is_some() {}
        while self.leaving.join_next().await.is_some() {}
        self.busy.abort_all();
    }

    /// Reads every file of the configuration and the secrets again.
    async fn reload(&mut self, done: Option<oneshot::Sender<ReloadReport>>) {
        self.begin_reload(done);
        self.read_config();
        for stem in self.beside.keys().cloned().collect::<Vec<_>>() {
            self.read_beside(&stem);
        }
        // Whoever asks may have mended what is in no file of ours.
        self.refused.clear();
        self.replace_rotated().await;
        self.config_changed().await;
    }

    fn begin_reload(&mut self, done: Option<oneshot::Sender<ReloadReport>>) {
        let report = ReloadReport { at: Some(wall_clock()), ..ReloadReport::default() };
        self.reloads.push(Reload { report, open: BTreeSet::new(), done });
    }

    /// Applies what is configured now.
    async fn config_changed(&mut self) {
        for builds in self.builds.values_mut() {
            builds.handle_config_changed(wall_clock());
        }
        self.wanted = self.wanted();
        for stem in self.files.clone() {
            self.judge(&stem);
        }
        self.reconcile().await;
        for (name, error) in self.bad_sections.clone() {
            self.applied(&name, Applied::Refused(error.to_string()));
        }
        let errors: Vec<String> = self.errors.values().map(ToString::to_string).collect();
        for reload in self.reloads.iter_mut().filter(|reload| reload.report.errors.is_empty()) {
            reload.report.errors.clone_from(&errors);
        }
    }

    /// What a reload that is under way means for a provider.
    fn applied(&mut self, name: &str, applied: Applied) {
        for reload in &mut self.reloads {
            let known = reload.report.providers.entry(name.to_owned()).or_insert_with(|| applied.clone());
            if reload.open.remove(name) || *known == Applied::Kept {
                *known = applied.clone();
            }
        }
    }

    /// It will be known later.
    fn pending(&mut self, name: &str) {
        for reload in self.reloads.iter_mut().filter(|reload| !reload.report.providers.contains_key(name)) {
            reload.open.insert(name.to_owned());
        }
    }

    fn finish_reloads(&mut self) {
        let heirs = &self.heirs;
        let judging = !self.busy.is_empty() || !self.waiting.is_empty();
        let finished = self.reloads.extract_if(.., |reload| {
            reload.open.retain(|name| heirs.contains_key(name));
            reload.open.is_empty() && !judging
        });
        for Reload { report, done, .. } in finished {
            for (provider, applied) in &report.providers {
                let (word, why) = applied.words();
                tracing::info!(provider, result = word, why, "reloaded");
            }
            self.status.set_config(ConfigStatus { last_reload: Some(report.clone()), ..self.status.config() });
            if let Some(done) = done {
                // Nobody waits any more: it is in the status.
                let _ = done.send(report);
            }
        }
    }

    fn rotate(&self, provider: Option<&str>) -> Result<(), String> {
        match provider {
            None => {
                tracing::info!("every connection is replaced");
                self.running.values().for_each(Provider::rotate);
            }
            Some(name) => {
                let provider = self.running.get(name).ok_or_else(|| format!("no provider {name} is running"))?;
                tracing::info!(provider = name, "its connections are replaced");
                provider.rotate();
            }
        }
        Ok(())
    }

    /// Secrets are read when a provider starts: one whose secrets have changed is replaced.
    async fn replace_rotated(&mut self) {
        let rotated = self.running.iter().filter(|(_, provider)| provider.secrets_changed());
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
        let (mut changed, mut configured) = (false, false);
        if let Some(path) = self.config_path.clone() {
            let grants = self.config.plugins.grants_file.clone();
            for change in self.config_planner.handle_listing(config_listing(&path, &grants)) {
                // A deleted file leaves everything as it is; deleted grants are granted no longer.
                let gone = |name: &str| Path::new(name) != grants;
                if !matches!(&change, Change::Unload(name) if gone(name)) {
                    self.read_config();
                    configured = true;
                }
            }
        }
        let directory = self.config.plugins_dir.clone();
        match directory::scan(&directory) {
            Ok(listing) => {
                if self.errors.remove(&directory).is_some() {
                    tracing::info!(path = %directory.display(), "plugins_dir can be read again");
                    self.publish_config();
                }
                for change in self.plugins_planner.handle_listing(listing) {
                    let (is_plugin, needs) = self.take_change(&change);
                    changed |= needs && is_plugin;
                    configured |= needs && !is_plugin;
                }
            }
            // Said once; what runs goes on.
            Err(_) if self.errors.contains_key(&directory) => {}
            Err(why) => {
                let why = format!("plugins_dir cannot be read: {why}");
                tracing::warn!(path = %directory.display(), "{why}");
                self.errors
                    .insert(directory.clone(), ConfigError { path: directory, line: None, field: String::new(), why });
                self.publish_config();
            }
        }
        let broken: Vec<String> =
            self.running.iter_mut().filter_map(|(name, provider)| provider.is_broken().then(|| name.clone())).collect();
        for name in broken {
            if let Some(provider) = self.running.remove(&name) {
                provider.stop("a task of it broke; starting anew").await;
            }
            changed = true;
        }
        changed |= self.look_at_faults().await;
        changed |= self.look_at_heirs().await;
        changed |= self.look_at_trials();
        changed |= self.has_due_retries();
        while self.leaving.try_join_next().is_some() {}
        let leaves = |stem: &String| !self.files.contains(stem) && !self.has_fresh_values(stem);
        if configured {
            self.begin_reload(None);
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
                self.files.insert(stem.to_owned());
                let load = Load::File(stem.to_owned());
                if !self.waiting.contains(&load) {
                    self.waiting.push_back(load);
                }
                false
            }
            (true, true) => {
                tracing::info!(plugin = stem, "plugin file removed");
                self.files.remove(stem);
                self.waiting.retain(|load| load.stem() != stem);
                if let Some(builds) = self.builds.get_mut(stem) {
                    builds.handle_removed();
                }
                self.plugin_errors.remove(stem);
                self.status.set_plugin(stem, None);
                true
            }
            (false, false) => {
                self.read_beside(stem);
                true
            }
            (false, true) => {
                self.errors.remove(&self.beside_path(stem));
                self.beside.remove(stem);
                self.accept_config();
                true
            }
        };
        (is_plugin, needs)
    }

    fn beside_path(&self, stem: &str) -> PathBuf {
        self.config.plugins_dir.join(format!("{stem}.toml"))
    }

    fn read_beside(&mut self, stem: &str) {
        let path = self.beside_path(stem);
        match ProviderConfig::load(&path, stem) {
            Ok(provider) => {
                self.errors.remove(&path);
                self.beside.insert(stem.to_owned(), provider);
                self.accept_config();
            }
            Err(error) => self.refuse_config(&path, error),
        }
    }

    fn read_config(&mut self) {
        let Some(path) = self.config_path.clone() else { return };
        match Config::load(&path) {
            Ok(mut loaded) => {
                loaded.keep(&self.config);
                last_good::say_errors(&loaded);
                last_good::keep(&loaded, &path);
                let config = loaded.config;
                for (field, same) in [
                    ("api", config.api == self.config.api),
                    ("plugin_limits", config.plugin_limits == self.config.plugin_limits),
                    ("plugins_dir", config.plugins_dir == self.config.plugins_dir),
                    ("state_dir", config.state_dir == self.config.state_dir),
                ] {
                    if !same {
                        tracing::warn!(field, "a change of this takes effect at the next start");
                    }
                }
                let Config { api, plugin_limits, plugins_dir, state_dir, .. } = self.config.clone();
                let other_plugins = config.plugins != self.config.plugins;
                self.config = Config { api, plugin_limits, plugins_dir, state_dir, ..config };
                if other_plugins {
                    // What was refused may be allowed now, and the other way round.
                    for stem in &self.files {
                        let load = Load::File(stem.clone());
                        if !self.waiting.contains(&load) {
                            self.waiting.push_back(load);
                        }
                    }
                }
                self.errors.remove(&path);
                self.errors.remove(&self.config.plugins.grants_file);
                self.errors.extend(loaded.bad_grants.map(|error| (error.path.clone(), error)));
                self.bad_sections = loaded.bad;
                if self.bad_sections.is_empty() && !self.errors.contains_key(&self.config.plugins.grants_file) {
                    tracing::info!(path = %path.display(), "configuration read");
                    self.accept_config();
                } else {
                    self.status.metrics.config_reload(false);
                    self.publish_config();
                }
            }
            Err(error) => self.refuse_config(&path, error),
        }
    }

    fn refuse_config(&mut self, path: &Path, error: ConfigError) {
        tracing::error!(%error, "configuration refused; what was there before stays");
        self.errors.insert(path.to_owned(), error);
        self.status.metrics.config_reload(false);
        self.publish_config();
    }

    fn accept_config(&self) {
        self.status.metrics.config_reload(true);
        self.status.set_config(ConfigStatus { loaded_at: Some(wall_clock()), ..self.status.config() });
        self.publish_config();
    }

    /// Says what is wrong with the files as they are.
    fn publish_config(&self) {
        let twice = self.beside.keys().filter(|stem| self.config.providers.contains_key(*stem));
        let twice = twice.map(|stem| {
            let why =
                format!("provider {stem} has a section in the main configuration, which counts; remove one of the two");
            ConfigError { path: self.beside_path(stem), line: None, field: String::new(), why }
        });
        let errors =
            self.errors.values().chain(self.bad_sections.values()).cloned().chain(twice).map(|error| error.to_string());
        let error = errors.collect::<Vec<_>>().join("; ");
        self.status.set_config(ConfigStatus { error, ..self.status.config() });
    }

    /// What should run, by name.
    fn wanted(&mut self) -> BTreeMap<String, ProviderConfig> {
        let mut wanted = self.config.providers.clone();
        for (name, provider) in &self.beside {
            wanted.entry(name.clone()).or_insert_with(|| provider.clone());
        }
        let used: BTreeSet<String> = wanted.values().map(|provider| provider.plugin.clone()).collect();
        let known = std::mem::take(&mut self.autostarted);
        if self.config.autostart {
            // A deleted file, or one that is being replaced slowly, takes no value away that is still good.
            let left = known.iter().filter(|stem| self.has_fresh_values(stem));
            // Whoever wrote a file beside it wants something else than the defaults, also when the file is wrong.
            let bad = |stem: &String| {
                self.bad_sections.contains_key(stem) || self.errors.contains_key(&self.beside_path(stem))
            };
            let configured = |stem: &String| !known.contains(stem) && bad(stem);
            let there =
                self.files.iter().filter(|stem| self.builds.get(*stem).is_some_and(|builds| builds.file().is_some()));
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

/// The main configuration and its grants as a listing.
pub(crate) fn config_listing(path: &Path, grants: &Path) -> Listing {
    let entry = |path: &Path| Some((path.to_string_lossy().into_owned(), directory::stamp_of(path)?));
    [path, grants].into_iter().filter_map(entry).collect()
}
