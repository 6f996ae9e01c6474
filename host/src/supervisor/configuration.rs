//! The configuration as it applies: the last good text of the main file, of the grants and of every `NAME.toml`, and what is
//! wrong with the files as they are now. Parsing is `config`'s; what follows from a change is the supervisor's.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::builds::directory;
use crate::config::{Config, ConfigError, Loaded, ProviderConfig, last_good};
use crate::logic::reload::{Change, Listing, Planner};
use crate::status::{ConfigStatus, Status};
use crate::store::wall_clock;

pub(super) struct Configuration {
    /// `None`: it was given once and has no file.
    path: Option<PathBuf>,
    planner: Planner,
    /// The last good one.
    pub(super) config: Config,
    /// The last good `NAME.toml` of each name.
    pub(super) beside: BTreeMap<String, ProviderConfig>,
    /// What is wrong with which file now.
    pub(super) errors: BTreeMap<PathBuf, ConfigError>,
    /// What is wrong with which provider's section of the main file.
    pub(super) bad_sections: BTreeMap<String, ConfigError>,
}

/// The main configuration and its grants as a listing.
pub(crate) fn config_listing(path: &Path, grants: &Path) -> Listing {
    let entry = |path: &Path| Some((path.to_string_lossy().into_owned(), directory::stamp_of(path)?));
    [path, grants].into_iter().filter_map(entry).collect()
}

impl Configuration {
    /// As it was loaded at the start; `planner` has seen the files as they were then.
    pub(super) fn new(loaded: Loaded, path: Option<PathBuf>, planner: Planner) -> Self {
        let refused = path.clone().zip(loaded.refused);
        let bad_grants = loaded.bad_grants.map(|error| (error.path.clone(), error));
        Self {
            path,
            planner,
            config: loaded.config,
            beside: BTreeMap::new(),
            errors: refused.into_iter().chain(bad_grants).collect(),
            bad_sections: loaded.bad,
        }
    }

    /// Whether the main file or the grants are others than when they were last looked at.
    pub(super) fn has_changed(&mut self) -> bool {
        let Some(path) = &self.path else { return false };
        let grants = &self.config.plugins.grants_file;
        let changes = self.planner.handle_listing(config_listing(path, grants));
        // A deleted file leaves everything as it is; deleted grants are granted no longer.
        let leaves_all = |change: &Change| matches!(change, Change::Unload(name) if Path::new(name) != grants);
        changes.iter().any(|change| !leaves_all(change))
    }

    /// Where a plugin's own configuration lies.
    pub(super) fn beside_path(&self, stem: &str) -> PathBuf {
        self.config.plugins_dir.join(format!("{stem}.toml"))
    }

    pub(super) fn read_beside(&mut self, stem: &str, status: &Status) {
        let path = self.beside_path(stem);
        match ProviderConfig::load(&path, stem) {
            Ok(provider) => {
                self.errors.remove(&path);
                self.beside.insert(stem.to_owned(), provider);
                self.accept(status);
            }
            Err(error) => self.refuse(&path, error, status),
        }
    }

    pub(super) fn forget_beside(&mut self, stem: &str, status: &Status) {
        self.errors.remove(&self.beside_path(stem));
        self.beside.remove(stem);
        self.accept(status);
    }

    /// Reads the main file and the grants. Answers whether `[plugins]` is another: what was refused may be allowed then, and
    /// the other way round.
    pub(super) fn read(&mut self, status: &Status) -> bool {
        let Some(path) = self.path.clone() else { return false };
        let mut loaded = match Config::load(&path) {
            Ok(loaded) => loaded,
            Err(error) => {
                self.refuse(&path, error, status);
                return false;
            }
        };
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
        self.errors.remove(&path);
        self.errors.remove(&self.config.plugins.grants_file);
        self.errors.extend(loaded.bad_grants.map(|error| (error.path.clone(), error)));
        self.bad_sections = loaded.bad;
        if self.bad_sections.is_empty() && !self.errors.contains_key(&self.config.plugins.grants_file) {
            tracing::info!(path = %path.display(), "configuration read");
            self.accept(status);
        } else {
            status.metrics.config_reload(false);
            self.publish(status);
        }
        other_plugins
    }

    fn refuse(&mut self, path: &Path, error: ConfigError, status: &Status) {
        tracing::error!(%error, "configuration refused; what was there before stays");
        self.errors.insert(path.to_owned(), error);
        status.metrics.config_reload(false);
        self.publish(status);
    }

    fn accept(&self, status: &Status) {
        status.metrics.config_reload(true);
        status.set_config(ConfigStatus { loaded_at: Some(wall_clock()), ..status.config() });
        self.publish(status);
    }

    /// Says what is wrong with the files as they are.
    pub(super) fn publish(&self, status: &Status) {
        let twice = self.beside.keys().filter(|stem| self.config.providers.contains_key(*stem));
        let twice = twice.map(|stem| {
            let why =
                format!("provider {stem} has a section in the main configuration, which counts; remove one of the two");
            ConfigError { path: self.beside_path(stem), line: None, field: String::new(), why }
        });
        let errors =
            self.errors.values().chain(self.bad_sections.values()).cloned().chain(twice).map(|error| error.to_string());
        let error = errors.collect::<Vec<_>>().join("; ");
        status.set_config(ConfigStatus { error, ..status.config() });
    }

    /// `plugins_dir` can be listed again, if it could not before.
    pub(super) fn directory_works(&mut self, status: &Status) {
        if self.errors.remove(&self.config.plugins_dir).is_some() {
            tracing::info!(path = %self.config.plugins_dir.display(), "plugins_dir can be read again");
            self.publish(status);
        }
    }

    /// `plugins_dir` cannot be listed. Said once; what runs goes on.
    pub(super) fn directory_fails(&mut self, why: &std::io::Error, status: &Status) {
        let directory = self.config.plugins_dir.clone();
        if self.errors.contains_key(&directory) {
            return;
        }
        let why = format!("plugins_dir cannot be read: {why}");
        tracing::warn!(path = %directory.display(), "{why}");
        self.errors.insert(directory.clone(), ConfigError { path: directory, line: None, field: String::new(), why });
        self.publish(status);
    }
}
