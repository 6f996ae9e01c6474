//! Plugin files and the configuration on the wire: what runs, and what was refused.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};

use super::changes::Reload;
use crate::status::{BuildInfo, PluginStatus, Status};

/// Every plugin file, by name.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Plugins {
    pub plugins: Vec<Plugin>,
}

/// One plugin file.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Plugin {
    /// The file's name, without `.wasm`.
    pub file: String,
    /// The build that runs. Absent when no good one was seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loaded: Option<Loaded>,
    /// Why the file that lies there now was refused.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub error: String,
    /// The providers that use it.
    pub providers: Vec<String>,
    /// What is known of the builds seen under this name, newest first.
    pub builds: Vec<Build>,
    /// The digest of the only build that may run. Absent when any good one may.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pinned: Option<String>,
}

/// One build of a plugin, by its file's content.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Build {
    pub digest: String,
    /// Absent where it was refused before it could say.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub version: String,
    /// The word for how it stands.
    pub standing: String,
    /// Why it stands so.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// Since when it stands so.
    pub since: String,
    /// How often an instance of it died.
    pub faults: u64,
}

/// What a build says of itself, and what it is.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Loaded {
    pub name: String,
    pub version: String,
    pub summary: String,
    pub digest: String,
    pub size_bytes: usize,
    pub http: bool,
    pub websocket: bool,
    pub loaded_at: String,
}

/// The configuration that runs.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Config {
    /// Absent when there is no file.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub path: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loaded_at: Option<String>,
    /// Why the last change was refused.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub error: String,
    /// Absent before the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_reload: Option<Reload>,
}

impl From<BuildInfo> for Build {
    fn from(build: BuildInfo) -> Self {
        Self {
            digest: build.digest,
            version: build.version,
            standing: build.standing.to_owned(),
            reason: build.reason,
            since: build.since.to_rfc3339(),
            faults: build.faults,
        }
    }
}

impl Plugin {
    fn new(file: String, status: PluginStatus) -> Self {
        let loaded = status.loaded.map(|loaded| Loaded {
            name: loaded.name,
            version: loaded.version,
            summary: loaded.summary,
            digest: loaded.digest,
            size_bytes: loaded.size,
            http: loaded.http,
            websocket: loaded.websocket,
            loaded_at: loaded.loaded_at.to_rfc3339(),
        });
        let builds = status.builds.into_iter().map(Build::from).collect();
        let PluginStatus { error, providers, pinned, .. } = status;
        Self { file, loaded, error, providers, builds, pinned }
    }
}

pub(super) async fn all(State(status): State<Arc<Status>>) -> Json<Plugins> {
    let plugins = status.plugins().into_iter().map(|(file, plugin)| Plugin::new(file, plugin)).collect();
    Json(Plugins { plugins })
}

pub(super) async fn config(State(status): State<Arc<Status>>) -> Json<Config> {
    let config = status.config();
    let loaded_at = config.loaded_at.map(|time| time.to_rfc3339());
    let last_reload = config.last_reload.as_ref().map(Reload::from);
    Json(Config { path: config.path, loaded_at, error: config.error, last_reload })
}
