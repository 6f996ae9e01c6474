//! The daemon as a whole: started from a configuration, asked to reload, stopped. What it does in between is the
//! supervisor's.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::api;
use crate::config::{Config, ConfigError, last_good};
use crate::control::Control;
use crate::logic::reload::Planner;
use crate::plugin::Engine;
use crate::plugins_dir;
use crate::status::{ConfigStatus, Status};
use crate::store::wall_clock;
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

/// Why the daemon does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("configuration refused: {0}")]
    Config(#[from] ConfigError),
    #[error("cannot listen on {address} (api.listen): {why}")]
    Listen { address: SocketAddr, why: std::io::Error },
    #[error("plugins_dir {path} cannot be read: {why}", path = path.display())]
    PluginsDir { path: PathBuf, why: std::io::Error },
    #[error("this machine cannot run WebAssembly: {0}")]
    Engine(String),
}

/// A running daemon.
#[derive(Debug)]
pub struct Daemon {
    status: Arc<Status>,
    api: Option<SocketAddr>,
    tasks: JoinSet<()>,
    stop: watch::Sender<bool>,
    control: Control,
}

impl Daemon {
    /// Starts everything; plugins and connections follow in the background.
    pub async fn start(source: ConfigSource) -> Result<Self, StartError> {
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
        let status = Arc::new(Status::default());
        let listener = match config.api {
            Some(address) => {
                let bound = TcpListener::bind(address).await;
                Some(bound.map_err(|why| StartError::Listen { address, why })?)
            }
            None => None,
        };
        let scanned = plugins_dir::scan(&config.plugins_dir);
        scanned.map_err(|why| StartError::PluginsDir { path: config.plugins_dir.clone(), why })?;
        let engine = Engine::new(config.plugin_limits.clone()).map_err(StartError::Engine)?;
        if let Some(path) = &path {
            last_good::keep(&loaded, path);
        }
        status.set_config(ConfigStatus {
            path: path.as_deref().map_or_else(String::new, |path| path.display().to_string()),
            loaded_at: Some(wall_clock()),
            error: loaded.errors().map(ToString::to_string).collect::<Vec<_>>().join("; "),
            ..ConfigStatus::default()
        });

        let api = listener.as_ref().and_then(|listener| listener.local_addr().ok());
        let stop = watch::Sender::new(false);
        let (control, received) = Control::new();
        let mut tasks = JoinSet::new();
        if let Some(listener) = listener {
            let (status, mut stop) = (status.clone(), stop.subscribe());
            tasks.spawn(async move {
                let stopped = async move { drop(stop.wait_for(|stop| *stop).await) };
                if let Err(error) = api::serve(listener, status, stopped).await {
                    tracing::error!(%error, "the API ended");
                }
            });
        }
        let supervisor = Supervisor::new(loaded, path, config_planner, engine, status.clone());
        tasks.spawn(supervisor.run(stop.subscribe(), received));
        Ok(Self { status, api, tasks, stop, control })
    }

    pub fn status(&self) -> &Arc<Status> {
        &self.status
    }

    /// Where the API listens.
    pub fn api(&self) -> Option<SocketAddr> {
        self.api
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
