//! For tests: a daemon that can be told everything and does nothing, behind the real API on loopback.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::sync::oneshot;
use tokio::task::JoinSet;

use super::asked::Asked;
use super::server::Api;
use crate::config::{ApiConfig, SecretSource};
use crate::contract::observation::UnixNanos;
use crate::status::Status;
use crate::status::control::{Applied, BuildCommand, Command, Control, ReloadReport};
use crate::store::Store;

/// Where an API listens until this is dropped or told to stop.
pub(crate) struct Fake {
    pub(crate) address: SocketAddr,
    pub(crate) tell: Option<oneshot::Sender<()>>,
    /// The API alone: it ends when it is told to.
    pub(crate) serving: JoinSet<()>,
    _answering: JoinSet<()>,
    _tokens: Vec<tempfile::NamedTempFile>,
}

pub(crate) const READ: &str = "the-token-of-readers";
pub(crate) const ADMIN: &str = "the-token-of-admins";

/// Something of everything.
pub(crate) fn report(good: bool) -> ReloadReport {
    let mut report = ReloadReport { at: Some(UnixNanos(0)), ..ReloadReport::default() };
    report.providers.insert("same".to_owned(), Applied::Kept);
    report.providers.insert("venue".to_owned(), Applied::Changed("ids: 1 more".to_owned()));
    if !good {
        report.errors.push("feedgate.toml:3: provider.bad.ids: is empty".to_owned());
        report.providers.insert("bad".to_owned(), Applied::Refused("the plugin refuses its settings".to_owned()));
    }
    report
}

impl Fake {
    /// `tokens`: the reader's and the admin's, where they are asked for. A reload is a good one if `good`.
    pub(crate) async fn start(
        (store, status): (Arc<Store>, Arc<Status>),
        tokens: (Option<&str>, Option<&str>),
        good: bool,
        config: ApiConfig,
    ) -> Self {
        let mut files = Vec::new();
        let mut source = |token: Option<&str>| {
            let token = token?;
            let file = tempfile::NamedTempFile::new().expect("a temporary file");
            std::fs::write(file.path(), token).expect("writable");
            let path = file.path().to_owned();
            files.push(file);
            Some(SecretSource::File(path))
        };
        let (token, admin_token) = (source(tokens.0), source(tokens.1));
        let listen = SocketAddr::from(([127, 0, 0, 1], 0));
        let api = Api::bind(&ApiConfig { listen, token, admin_token, ..config }).await.expect("loopback");
        let address = api.address();
        let (control, mut commands) = Control::new();
        let mut answering = JoinSet::new();
        answering.spawn(async move {
            while let Some(command) = commands.recv().await {
                answer(command, good);
            }
        });
        let (tell, told) = oneshot::channel::<()>();
        let mut serving = JoinSet::new();
        serving.spawn(api.serve(Asked { store, status, control }, async { drop(told.await) }));
        Self { address, tell: Some(tell), serving, _answering: answering, _tokens: files }
    }
}

/// Nobody need be there any more to hear it.
fn answer(command: Command, good: bool) {
    match command {
        Command::Reload(None) => {}
        Command::Reload(Some(done)) => drop(done.send(report(good))),
        Command::Rotate(Some(provider), done) if provider == "off" => drop(done.send(Err("off is not running".into()))),
        Command::Rotate(_, done) => drop(done.send(Ok(()))),
        Command::Build { plugin, done, .. } if plugin == "bad" => {
            drop(done.send(Err("there is no other build".into())))
        }
        Command::Build { plugin, done, .. } if plugin == "none" => drop(done.send(Err("unknown".into()))),
        Command::Build { plugin, what, done } => {
            let did = match what {
                BuildCommand::Release(digest) => format!("released {}", digest.unwrap_or_default()),
                BuildCommand::Rollback => "rolled back".to_owned(),
                BuildCommand::Pin(digest) => format!("pinned {}", digest.unwrap_or_default()),
                BuildCommand::Unpin => "unpinned".to_owned(),
            };
            drop(done.send(Ok(format!("{plugin}: {did}"))));
        }
    }
}
