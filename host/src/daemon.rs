//! The daemon as a whole: started from a configuration, asked to reload, stopped. What it does in between is the
//! supervisor's.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::api::{Api, ApiStartError, Asked};
use crate::builds::directory;
use crate::builds::registry::Registry;
use crate::config::{Config, ConfigError, last_good};
use crate::logic::reload::Planner;
use crate::plugin::{Compiler, Engine};
use crate::status::control::Control;
use crate::status::{ConfigStatus, Status};
use crate::store::state_dir::StateDir;
use crate::store::{Store, wall_clock};
use crate::supervisor::{Supervisor, config_listing};

/// How long the whole daemon may take to stop.
const STOP_PATIENCE: Duration = Duration::from_secs(10);

/// Where the configuration comes from.
#[derive(Clone, Debug)]
pub enum ConfigSource {
    /// Read now, and again when it changes.
    File(PathBuf),
    /// Given once.
    Fixed(Box<Config>),
}

/// What whoever embeds the daemon decides, and no operator.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// A child of the running program, where nobody says otherwise: a program that is not `feedgate` names one that is.
    pub compiler: Compiler,
}

/// Why the daemon does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("configuration refused: {0}")]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Api(#[from] ApiStartError),
    #[error("plugins_dir {path} cannot be read: {why}", path = path.display())]
    PluginsDir { path: PathBuf, why: std::io::Error },
    #[error("state_dir {path} cannot be used: {why}", path = path.display())]
    StateDir { path: PathBuf, why: std::io::Error },
    #[error("this machine cannot run WebAssembly: {0}")]
    Engine(String),
}

/// A running daemon.
#[derive(Debug)]
pub struct Daemon {
    store: Arc<Store>,
    status: Arc<Status>,
    api: Option<SocketAddr>,
    api_url: Option<String>,
    tasks: JoinSet<()>,
    stop: watch::Sender<bool>,
    control: Control,
}

impl Daemon {
    /// Starts everything; plugins and connections follow in the background.
    pub async fn start(source: ConfigSource) -> Result<Self, StartError> {
        Self::start_with(source, Options::default()).await
    }

    /// As [`Daemon::start`], with something decided otherwise.
    pub async fn start_with(source: ConfigSource, options: Options) -> Result<Self, StartError> {
        let mut config_planner = Planner::new();
        let (loaded, path) = match source {
            ConfigSource::File(path) => {
                // Looked at before it is read, so that no change falls in between.
                let grants = last_good::load(&path)?.config.plugins.grants_file;
                let seen = config_listing(&path, &grants);
                config_planner.handle_listing(seen.clone());
                config_planner.handle_listing(seen);
                let loaded = last_good::load(&path)?;
                last_good::say_errors(&loaded);
                (loaded, Some(path))
            }
            ConfigSource::Fixed(config) => ((*config).into(), None),
        };
        let config = &loaded.config;
        let (store, status) = (Arc::new(Store::default()), Arc::new(Status::default()));
        let api = match &config.api {
            Some(config) => Some(Api::bind(config).await?),
            None => None,
        };
        let scanned = directory::scan(&config.plugins_dir);
        scanned.map_err(|why| StartError::PluginsDir { path: config.plugins_dir.clone(), why })?;
        let unusable = |why| StartError::StateDir { path: config.state_dir.clone().unwrap_or_default(), why };
        let state = config.state_dir.as_deref().map(StateDir::open).transpose().map_err(unusable)?;
        let registry = Registry::new(state.as_ref()).map_err(unusable)?;
        let engine = Engine::new(config.plugin_limits.clone(), options.compiler, state.as_ref());
        let engine = engine.map_err(StartError::Engine)?;
        if let Some(path) = &path {
            last_good::keep(&loaded, path);
        }
        status.set_config(ConfigStatus {
            path: path.as_deref().map_or_else(String::new, |path| path.display().to_string()),
            loaded_at: Some(wall_clock()),
            error: loaded.errors().map(ToString::to_string).collect::<Vec<_>>().join("; "),
            ..ConfigStatus::default()
        });

        let (address, url) = (api.as_ref().map(Api::address), api.as_ref().map(Api::url));
        let stop = watch::Sender::new(false);
        let (control, received) = Control::new();
        let mut tasks = JoinSet::new();
        if let Some(api) = api {
            let asked = Asked { store: store.clone(), status: status.clone(), control: control.clone() };
            let mut stop = stop.subscribe();
            tasks.spawn(api.serve(asked, async move { drop(stop.wait_for(|stop| *stop).await) }));
        }
        let supervisor = Supervisor::new(loaded, path, config_planner, engine, registry, store.clone(), status.clone());
        tasks.spawn(supervisor.run(stop.subscribe(), received));
        Ok(Self { store, status, api: address, api_url: url, tasks, stop, control })
    }

    /// The latest values.
    pub fn store(&self) -> &Arc<Store> {
        &self.store
    }

    /// What the daemon says of itself.
    pub fn status(&self) -> &Arc<Status> {
        &self.status
    }

    /// Where the API listens.
    pub fn api(&self) -> Option<SocketAddr> {
        self.api
    }

    /// The same as a URL, with its scheme.
    pub fn api_url(&self) -> Option<&str> {
        self.api_url.as_deref()
    }

    /// Tells it what to do.
    pub fn control(&self) -> &Control {
        &self.control
    }

    /// Stops providers politely, then everything else. False when something did not end in time.
    pub async fn stop(mut self) -> bool {
        self.stop.send_replace(true);
        let all = async { while self.tasks.join_next().await.is_some() {} };
        let in_time = tokio::time::timeout(STOP_PATIENCE, all).await.is_ok();
        if !in_time {
            tracing::warn!(late = self.tasks.len(), "stopping took too long");
            self.tasks.shutdown().await;
        }
        in_time
    }
}
