//! Plugin files and the configuration on the wire: what runs, and what was refused.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};

use crate::status::{PluginStatus, Status};

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
        Self { file, loaded, error: status.error, providers: status.providers }
    }
}

pub(super) async fn all(State(status): State<Arc<Status>>) -> Json<Plugins> {
    let plugins = status.plugins().into_iter().map(|(file, plugin)| Plugin::new(file, plugin)).collect();
    Json(Plugins { plugins })
}

pub(super) async fn config(State(status): State<Arc<Status>>) -> Json<Config> {
    let config = status.config();
    let loaded_at = config.loaded_at.map(|time| time.to_rfc3339());
    Json(Config { path: config.path, loaded_at, error: config.error })
}
