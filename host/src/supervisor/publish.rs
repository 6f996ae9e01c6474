//! What the supervisor says of plugins and of providers that wait for one, put into the status for readers.

use std::collections::{BTreeMap, BTreeSet};

use super::Supervisor;
use super::plugins::words;
use crate::logic::builds::{Build, Builds};
use crate::status::{BuildInfo, LoadedPlugin, PluginStatus, ProviderState};
use crate::store::wall_clock;

impl Supervisor {
    /// What is known of every plugin whose file lies there.
    pub(super) fn publish_plugins(&self) {
        let users = |stem: &str| {
            let uses = self.providers.running.iter().filter(|(_, provider)| provider.config().plugin == stem);
            uses.map(|(name, _)| name.clone()).collect::<Vec<_>>()
        };
        let there = |stem: &&String| self.plugins.files.contains(*stem);
        let stems: BTreeSet<&String> =
            self.plugins.builds.keys().chain(self.plugins.file_errors.keys()).filter(there).collect();
        let known: BTreeMap<String, PluginStatus> = self.status.plugins().into_iter().collect();
        for stem in stems {
            let builds = self.plugins.builds.get(stem);
            let shown = builds.and_then(|builds| builds.target().or(builds.file()));
            let loaded = shown.and_then(|digest| self.plugins.loaded.get(&digest)).map(|plugin| {
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
            let against = builds.and_then(Builds::against).map(words);
            let error: Vec<String> = self.plugins.file_errors.get(stem).cloned().into_iter().chain(against).collect();
            let info = |build: &Build| BuildInfo {
                digest: build.digest.to_string(),
                version: build.version.clone(),
                standing: build.standing.as_str(),
                reason: build.reason.clone(),
                since: build.since,
                faults: build.faults,
            };
            let status = PluginStatus {
                loaded,
                error: error.join("; "),
                providers: users(stem),
                builds: builds.map(|builds| builds.all().iter().map(info).collect()).unwrap_or_default(),
                pinned: builds.and_then(Builds::pinned).map(|digest| digest.to_string()),
            };
            self.status.set_plugin(stem, Some(status));
        }
    }

    /// A provider that waits for its plugin says what is wrong with the file.
    pub(super) fn say_why_waiting(&self) {
        for status in self.status.providers() {
            let info = status.info();
            if info.state != ProviderState::WaitingForPlugin {
                continue;
            }
            let file = self.configuration.config.plugins_dir.join(format!("{}.wasm", info.plugin));
            let loading = !self.loader.is_idle();
            let reason = match self.plugins.against(&info.plugin) {
                Some(error) => format!("{}: {error}", file.display()),
                None if loading && self.plugins.files.contains(&info.plugin) => {
                    format!("{} is being loaded", file.display())
                }
                None => format!("{} is not there", file.display()),
            };
            status.update(|info| info.reason = reason);
        }
    }
}
