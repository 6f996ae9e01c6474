//! What runs and what should: one loop over one closed set of events, applying changes of files and configuration.
//!
//! Files are found by comparing listings (`logic/reload`), plugins are compiled off to the side one at a time, and what
//! runs is touched only when its replacement is known to be good. No sockets and no WebAssembly here.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::codec::OpenCodec;
use crate::config::{Config, ConfigError, Loaded, ProviderConfig, last_good};
use crate::control::{Command, ReloadReport};
use crate::grants::{self, Asks};
use crate::logic::clock::ClockWatch;
use crate::logic::reload::{Change, Listing, Planner};
use crate::plugin::{Digest, Engine, LoadError, Plugin};
use crate::plugins_dir;
use crate::provenance;
use crate::provider::Provider;
use crate::status::{ConfigStatus, LoadedPlugin, PluginStatus, ProviderState, Status};
use crate::store::{State, wall_clock};
use crate::transport::OriginLimits;

/// Between two looks at the files. A file counts when two looks agree, so it is seen within half a second.
const SCAN_INTERVAL: Duration = Duration::from_millis(250);

/// Why the loop woke.
enum Happened {
    Tick,
    Told(Command),
    Loaded(String, Box<Result<Plugin, LoadError>>),
    Stop,
}

pub(crate) struct Supervisor {
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
    /// The last good build of each file.
    plugins: BTreeMap<String, Plugin>,
    /// What the last good build of each name asked for, also when its file is gone.
    asked: BTreeMap<String, Asks>,
    /// Why the file that lies there now was not loaded.
    plugin_errors: BTreeMap<String, String>,
    /// The providers that keep an older build, with the newer one's file and why they refused it.
    refusals: BTreeMap<String, (String, String)>,
    /// Running because `autostart` says so. Without its plugin, one goes on being shown while its values count.
    autostarted: BTreeSet<String>,
    waiting: VecDeque<String>,
    loading: JoinSet<(String, Result<Plugin, LoadError>)>,
    clock: ClockWatch,
    /// How often the directory was listed.
    looks: u32,
    running: BTreeMap<String, Provider>,
}

impl Supervisor {
    /// Knows the configuration, and none of the plugins yet.
    pub(crate) fn new(
        loaded: Loaded,
        config_path: Option<PathBuf>,
        config_planner: Planner,
        engine: Engine,
        status: Arc<Status>,
    ) -> Self {
        let refused = config_path.clone().zip(loaded.refused);
        let bad_grants = loaded.bad_grants.map(|error| (error.path.clone(), error));
        Self {
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
            plugins: BTreeMap::new(),
            asked: BTreeMap::new(),
            plugin_errors: BTreeMap::new(),
            refusals: BTreeMap::new(),
            autostarted: BTreeSet::new(),
            waiting: VecDeque::new(),
            loading: JoinSet::new(),
            clock: ClockWatch::default(),
            looks: 0,
            running: BTreeMap::new(),
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
                Some(loaded) = self.loading.join_next() => match loaded {
                    Ok((stem, result)) => Happened::Loaded(stem, Box::new(result)),
                    // `load_blocking` catches panics; only the reading of the file is outside.
                    Err(error) => {
                        tracing::error!(%error, "loading a plugin ended in a panic");
                        Happened::Tick
                    }
                },
                _ = ticks.tick() => Happened::Tick,
            };
            match happened {
                Happened::Tick => {
                    self.look_at_clock();
                    self.look().await;
                }
                Happened::Told(Command::Rotate(provider, done)) => drop(done.send(self.rotate(provider.as_deref()))),
                Happened::Told(Command::Build { done, .. }) => {
                    drop(done.send(Err("not supported yet".to_owned())));
                }
                Happened::Told(Command::Reload(done)) => {
                    self.read_config();
                    for stem in self.beside.keys().cloned().collect::<Vec<_>>() {
                        self.read_beside(&stem);
                    }
                    self.restart_rotated().await;
                    self.reconcile().await;
                    if let Some(done) = done {
                        drop(done.send(ReloadReport::default()));
                    }
                }
                Happened::Loaded(stem, result) => self.loaded(stem, *result).await,
                Happened::Stop => break,
            }
            self.load_next();
            // A file counts at the second look.
            if self.looks >= 2 && self.waiting.is_empty() && self.loading.is_empty() {
                self.status.set_settled();
            }
        }
        let mut stopping = JoinSet::new();
        for (_, provider) in std::mem::take(&mut self.running) {
            stopping.spawn(async move { provider.stop("the daemon is stopping").await });
        }
        while stopping.join_next().await.is_some() {}
        self.loading.abort_all();
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

    /// Secrets are read when a provider starts: one whose secrets have changed starts anew.
    async fn restart_rotated(&mut self) {
        let rotated = self.running.iter().filter(|(_, provider)| provider.secrets_changed());
        for name in rotated.map(|(name, _)| name.clone()).collect::<Vec<_>>() {
            if let Some(provider) = self.running.remove(&name) {
                tracing::info!(provider = name, "secrets changed");
                provider.stop("its secrets changed; starting anew").await;
            }
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
        let mut changed = false;
        if let Some(path) = self.config_path.clone() {
            let grants = self.config.plugins.grants_file.clone();
            for change in self.config_planner.handle_listing(config_listing(&path, &grants)) {
                // A deleted file leaves everything as it is; deleted grants are granted no longer.
                let gone = |name: &str| Path::new(name) != grants;
                if !matches!(&change, Change::Unload(name) if gone(name)) {
                    self.read_config();
                    changed = true;
                }
            }
        }
        let directory = self.config.plugins_dir.clone();
        match plugins_dir::scan(&directory) {
            Ok(listing) => {
                if self.errors.remove(&directory).is_some() {
                    tracing::info!(path = %directory.display(), "plugins_dir can be read again");
                    self.publish_config();
                }
                for change in self.plugins_planner.handle_listing(listing) {
                    changed |= self.take_change(&change);
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
        let broken: Vec<String> = self
            .running
            .iter_mut()
            .filter_map(|(name, provider)| provider.is_broken(&self.status).then(|| name.clone()))
            .collect();
        for name in broken {
            if let Some(provider) = self.running.remove(&name) {
                provider.stop("a task of it broke; starting anew").await;
            }
            changed = true;
        }
        let leaves = |stem: &String| !self.plugins.contains_key(stem) && !self.has_fresh_values(stem);
        if changed || self.autostarted.iter().any(leaves) {
            self.reconcile().await;
        }
    }

    fn has_fresh_values(&self, provider: &str) -> bool {
        let readings = self.status.store.read_provider(provider).unwrap_or_default();
        readings.iter().any(|reading| reading.state == State::Fresh)
    }

    /// Whether it needs reconciling now. A plugin does once it is loaded.
    fn take_change(&mut self, change: &Change) -> bool {
        let (Change::Load(name) | Change::Reload(name) | Change::Unload(name)) = change;
        let Some((stem, is_plugin)) = plugins_dir::stem(name) else { return false };
        let gone = matches!(change, Change::Unload(_));
        match (is_plugin, gone) {
            (true, false) => {
                self.files.insert(stem.to_owned());
                if !self.waiting.iter().any(|waiting| waiting == stem) {
                    self.waiting.push_back(stem.to_owned());
                }
                false
            }
            (true, true) => {
                tracing::info!(plugin = stem, "plugin file removed");
                self.files.remove(stem);
                self.waiting.retain(|waiting| waiting != stem);
                self.plugins.remove(stem);
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
        }
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
                    let known = self.files.iter().filter(|stem| !self.waiting.contains(*stem)).cloned();
                    let known: Vec<String> = known.collect();
                    self.waiting.extend(known);
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

    /// Compiles one plugin at a time: two at once would take both cores from the feeds.
    fn load_next(&mut self) {
        if !self.loading.is_empty() {
            return;
        }
        let Some(stem) = self.waiting.pop_front() else { return };
        let (engine, path) = (self.engine.clone(), self.config.plugins_dir.join(format!("{stem}.wasm")));
        let (policy, written) = (self.config.plugins.provenance.clone(), self.config.plugins.sha256(&stem));
        // Nobody remembers digests yet.
        let pinned = None;
        self.loading.spawn_blocking(move || {
            let read = plugins_dir::read(&path, engine.limits().max_file_bytes);
            let result = read.and_then(|bytes| {
                // Before it is compiled: what is not trusted is not looked at.
                let signatures = plugins_dir::read_signatures(&path)?;
                provenance::check(&policy, Digest::of(&bytes), written, pinned, signatures.as_deref())?;
                engine.load_blocking(&bytes)
            });
            (stem, result)
        });
        self.say_why_waiting();
    }

    async fn loaded(&mut self, stem: String, result: Result<Plugin, LoadError>) {
        if !self.files.contains(&stem) {
            // Deleted while it was being loaded.
            return;
        }
        let result = result.map_err(|error| error.to_string()).and_then(|plugin| self.granted(&stem, plugin));
        self.status.metrics.plugin_load(result.is_ok());
        match result {
            Ok(plugin) => {
                tracing::info!(plugin = %stem, version = %plugin.description().version, digest = %plugin.digest(), "plugin loaded");
                self.plugin_errors.remove(&stem);
                self.plugins.insert(stem.clone(), plugin);
                self.reconcile().await;
            }
            Err(error) => {
                let keeps = if self.plugins.contains_key(&stem) { "; the build before it stays" } else { "" };
                tracing::error!(plugin = %stem, %error, "plugin refused{keeps}");
                self.plugin_errors.insert(stem.clone(), error);
                self.publish_plugins();
                self.say_why_waiting();
            }
        }
    }

    /// The plugin with all that it is granted, or in words what it needs beyond that.
    fn granted(&mut self, stem: &str, plugin: Plugin) -> Result<Plugin, String> {
        let asks = Asks::of(plugin.description(), self.engine.limits());
        let grant = self.config.plugins.grant(stem);
        grants::decide(self.config.plugins.policy, &asks, self.asked.get(stem), &grant)
            .map_err(|needs| needs.words(stem, &grant))?;
        let plugin = plugin.granted(&asks.resources.max(grant.resources));
        self.asked.insert(stem.to_owned(), asks);
        Ok(plugin)
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
            let all = self.plugins.keys().chain(left).filter(|stem| !used.contains(*stem) && !configured(stem));
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

    /// Makes what runs what should run, touching only what differs.
    async fn reconcile(&mut self) {
        let wanted = self.wanted();
        let gone: Vec<String> = self.running.keys().filter(|name| !wanted.contains_key(*name)).cloned().collect();
        for name in gone {
            if let Some(provider) = self.running.remove(&name) {
                provider.stop("no longer configured").await;
                tracing::info!(provider = name, "stopped: no longer configured");
            }
        }
        self.refusals.retain(|name, _| wanted.contains_key(name));
        for status in self.status.providers() {
            if !wanted.contains_key(&*status.name) {
                self.status.remove_provider(&status.name);
            }
        }
        for (name, config) in wanted {
            self.reconcile_one(&name, config).await;
        }
        self.publish_plugins();
        self.say_why_waiting();
    }

    async fn reconcile_one(&mut self, name: &str, config: ProviderConfig) {
        let status = self.status.provider(name);
        status.update(|info| {
            info.enabled = config.enabled;
            info.plugin.clone_from(&config.plugin);
        });
        let plugin = self.plugins.get(&config.plugin).cloned();
        let (Some(plugin), true) = (plugin, config.enabled) else {
            let (state, reason) = if config.enabled {
                (ProviderState::WaitingForPlugin, "its plugin is not there")
            } else {
                (ProviderState::Disabled, "disabled in the configuration")
            };
            if let Some(provider) = self.running.remove(name) {
                provider.stop(reason).await;
                tracing::info!(provider = name, reason, "stopped");
            }
            self.refusals.remove(name);
            status.update(|info| {
                info.state = state;
                info.reason = reason.to_owned();
            });
            return;
        };
        if let Some(provider) = self.running.get_mut(name)
            && provider.plugin().digest() == plugin.digest()
            && provider.plugin().limits() == plugin.limits()
        {
            let only_ids = ProviderConfig {
                ids: config.ids.clone(),
                max_age: config.max_age,
                max_age_by_id: config.max_age_by_id.clone(),
                ..provider.config().clone()
            } == config;
            if only_ids {
                let same = *provider.config() == config;
                let taken = if same { Ok(()) } else { provider.set_ids(config) };
                match taken {
                    Ok(()) => {
                        // A change that was refused has been taken back.
                        self.refusals.remove(name);
                        status.update(|info| info.reason.clear());
                        if !same {
                            tracing::info!(provider = name, "ids changed");
                        }
                    }
                    Err(reason) => self.refuse(name, &plugin, &reason),
                }
                return;
            }
        }
        self.replace(name, plugin, config).await;
    }

    /// Starts a provider, in place of the one that runs under its name if the new one is good.
    async fn replace(&mut self, name: &str, plugin: Plugin, config: ProviderConfig) {
        let status = self.status.provider(name);
        if let Err(reason) = probe(name, &plugin, &config).await {
            return self.refuse(name, &plugin, &reason);
        }
        let made = Provider::new(name, plugin.clone(), config, &self.status, self.origins.clone());
        let mut provider = match made {
            Ok(provider) => provider,
            Err(reason) => return self.refuse(name, &plugin, &reason),
        };
        if let Some(old) = self.running.remove(name) {
            old.stop("being replaced").await;
        }
        provider.run();
        tracing::info!(provider = name, plugin = %plugin.description().name, version = %plugin.description().version, "running");
        self.refusals.remove(name);
        status.update(|info| {
            info.state = ProviderState::Running;
            info.reason.clear();
            info.plugin_version.clone_from(&plugin.description().version);
            info.plugin_digest = plugin.digest().to_string();
        });
        self.running.insert(name.to_owned(), provider);
    }

    /// The change is not made. What runs, if anything does, goes on.
    fn refuse(&mut self, name: &str, plugin: &Plugin, reason: &str) {
        let old = self.running.get(name);
        tracing::error!(provider = name, reason, keeps_running = old.is_some(), "provider refused");
        if let Some(old) = old
            && old.plugin().digest() != plugin.digest()
        {
            let stem = old.config().plugin.clone();
            self.refusals.insert(name.to_owned(), (stem, format!("refused by provider {name}: {reason}")));
        }
        let runs = old.is_some();
        self.status.provider(name).update(|info| {
            info.state = if runs { ProviderState::Running } else { ProviderState::Failed };
            info.reason = if runs { format!("a change was refused: {reason}") } else { reason.to_owned() };
        });
    }

    fn publish_plugins(&self) {
        let users = |stem: &str| {
            let uses = self.running.iter().filter(|(_, provider)| provider.config().plugin == stem);
            uses.map(|(name, _)| name.clone()).collect::<Vec<_>>()
        };
        let stems: BTreeSet<&String> = self.plugins.keys().chain(self.plugin_errors.keys()).collect();
        let known: BTreeMap<String, PluginStatus> = self.status.plugins().into_iter().collect();
        for stem in stems {
            let loaded = self.plugins.get(stem).map(|plugin| {
                let digest = plugin.digest().to_string();
                let since = known.get(stem).and_then(|known| known.loaded.as_ref());
                let loaded_at = since.filter(|loaded| loaded.digest == digest).map(|loaded| loaded.loaded_at);
                let description = plugin.description();
                LoadedPlugin {
                    name: description.name.clone(),
                    version: description.version.clone(),
                    summary: description.summary.clone(),
                    digest,
                    size: plugin.size(),
                    http: plugin.fit().http,
                    websocket: plugin.fit().websocket,
                    loaded_at: loaded_at.unwrap_or_else(wall_clock),
                }
            });
            let refused = self.refusals.values().filter(|(refused, _)| refused == stem).map(|(_, why)| why);
            let error: Vec<&str> =
                self.plugin_errors.get(stem).into_iter().chain(refused).map(String::as_str).collect();
            let error = error.join("; ");
            self.status.set_plugin(
                stem,
                Some(PluginStatus { loaded, error, providers: users(stem), ..PluginStatus::default() }),
            );
        }
    }

    /// A provider that waits for its plugin says what is wrong with the file.
    fn say_why_waiting(&self) {
        for status in self.status.providers() {
            let info = status.info();
            if info.state != ProviderState::WaitingForPlugin {
                continue;
            }
            let file = self.config.plugins_dir.join(format!("{}.wasm", info.plugin));
            let loading = self.waiting.contains(&info.plugin) || !self.loading.is_empty();
            let reason = match self.plugin_errors.get(&info.plugin) {
                Some(error) => format!("{}: {error}", file.display()),
                None if loading && self.files.contains(&info.plugin) => format!("{} is being loaded", file.display()),
                None => format!("{} is not there", file.display()),
            };
            status.update(|info| info.reason = reason);
        }
    }
}

/// The main configuration and its grants as a listing.
pub(crate) fn config_listing(path: &Path, grants: &Path) -> Listing {
    let entry = |path: &Path| Some((path.to_string_lossy().into_owned(), plugins_dir::stamp_of(path)?));
    [path, grants].into_iter().filter_map(entry).collect()
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
