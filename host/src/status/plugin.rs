//! What is known of the files of plugins and of their builds. Plain data, as the API shows it.

use crate::contract::observation::UnixNanos;

/// One plugin file.
#[derive(Clone, Debug, Default)]
pub struct PluginStatus {
    /// Of the build that runs; `None` when no good one was seen.
    pub loaded: Option<LoadedPlugin>,
    /// Why the file that lies there now was refused; empty when it was not.
    pub error: String,
    /// The providers that use it. None: it is idle.
    pub providers: Vec<String>,
    /// What is known of the builds seen under this name, newest first.
    pub builds: Vec<BuildInfo>,
    /// The digest of the only build that may run, where the operator said so.
    pub pinned: Option<String>,
}

/// One build of a plugin, by its file's content.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BuildInfo {
    pub digest: String,
    pub version: String,
    /// The word for how it stands; see `logic::builds`.
    pub standing: &'static str,
    /// Why it stands so, in words; empty when there is nothing to say.
    pub reason: String,
    /// Since when it stands so.
    pub since: UnixNanos,
    /// How often an instance of it died.
    pub faults: u64,
}

#[derive(Clone, Debug)]
pub struct LoadedPlugin {
    pub name: String,
    pub version: String,
    pub summary: String,
    pub digest: String,
    pub size: usize,
    pub http: bool,
    pub websocket: bool,
    pub loaded_at: UnixNanos,
}
