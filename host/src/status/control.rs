//! What a running daemon may be told, and how it answers. Asked by signals and by the API, done by the supervisor.

use std::collections::BTreeMap;

use tokio::sync::{mpsc, oneshot, watch};

use crate::contract::observation::UnixNanos;

/// One thing to do.
#[derive(Debug)]
pub(crate) enum Command {
    /// Read the configuration and the secrets again. Answered once everything that follows is done or refused.
    Reload(Option<oneshot::Sender<ReloadReport>>),
    /// Replace every connection, or those of one provider.
    Rotate(Option<String>, oneshot::Sender<Result<(), String>>),
    /// About the builds of one plugin.
    Build { plugin: String, what: BuildCommand, done: oneshot::Sender<Result<String, String>> },
}

/// What an operator may say of a plugin's builds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum BuildCommand {
    /// Forget why a build is not to run: it is tried again. The digest, or the first digits of it; `None`: the file's.
    Release(Option<String>),
    /// Go back to the good build before.
    Rollback,
    /// Run this build and no other; `None`: the one that runs. Also one that was refused for what it does differently.
    Pin(Option<String>),
    /// The newest good build may run again.
    Unpin,
}

/// What became of one reload.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ReloadReport {
    pub at: Option<UnixNanos>,
    /// What is wrong with which file or section; what was there before stays.
    pub errors: Vec<String>,
    /// By provider.
    pub providers: BTreeMap<String, Applied>,
}

impl ReloadReport {
    /// Whether everything that was written applies now.
    pub fn is_good(&self) -> bool {
        self.errors.is_empty() && !self.providers.values().any(|applied| matches!(applied, Applied::Refused(_)))
    }
}

/// What a reload meant for one provider.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Applied {
    /// Nothing is different.
    Kept,
    /// What changed.
    Changed(String),
    Started,
    /// Why.
    Stopped(String),
    /// Why. What ran before goes on, if anything did.
    Refused(String),
}

impl Applied {
    /// The word used in every output, and the text beside it.
    pub fn words(&self) -> (&'static str, &str) {
        match self {
            Self::Kept => ("kept", ""),
            Self::Changed(what) => ("changed", what),
            Self::Started => ("started", ""),
            Self::Stopped(why) => ("stopped", why),
            Self::Refused(why) => ("refused", why),
        }
    }
}

/// Tells a running daemon what to do. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Control {
    commands: mpsc::Sender<Command>,
    /// How many reloads were asked for. Whoever keeps something of a file beside the supervisor reads it again then.
    reloads: watch::Sender<u64>,
}

/// The daemon is stopping, or too busy with what it was told before.
#[derive(Copy, Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the daemon is stopping")]
pub struct Stopping;

impl Control {
    /// Also gives the end at which commands arrive.
    pub(crate) fn new() -> (Self, mpsc::Receiver<Command>) {
        let (commands, received) = mpsc::channel(16);
        (Self { commands, reloads: watch::Sender::new(0) }, received)
    }

    /// Reads the configuration and the secrets again and waits for what comes of it.
    pub async fn reload(&self) -> Result<ReloadReport, Stopping> {
        self.count_reload();
        let (done, answer) = oneshot::channel();
        self.ask(Command::Reload(Some(done)), answer).await
    }

    /// As [`Control::reload`], without waiting. When so much is to be done that this does not fit, a reload is due
    /// already.
    pub fn reload_soon(&self) {
        self.count_reload();
        let _ = self.commands.try_send(Command::Reload(None));
    }

    /// Replaces every connection, or those of one provider, each without a gap; says only that it has begun. The inner
    /// error says why not.
    pub async fn rotate(&self, provider: Option<String>) -> Result<Result<(), String>, Stopping> {
        let (done, answer) = oneshot::channel();
        self.ask(Command::Rotate(provider, done), answer).await
    }

    /// As [`Control::rotate`] for all, without waiting.
    pub fn rotate_soon(&self) {
        let (done, _) = oneshot::channel();
        let _ = self.commands.try_send(Command::Rotate(None, done));
    }

    /// Answers in words what was done, or why it was not.
    pub async fn build(&self, plugin: String, what: BuildCommand) -> Result<Result<String, String>, Stopping> {
        let (done, answer) = oneshot::channel();
        self.ask(Command::Build { plugin, what, done }, answer).await
    }

    /// Changes with each reload that is asked for.
    pub(crate) fn reloads(&self) -> watch::Receiver<u64> {
        self.reloads.subscribe()
    }

    fn count_reload(&self) {
        self.reloads.send_modify(|count| *count += 1);
    }

    async fn ask<T>(&self, command: Command, answer: oneshot::Receiver<T>) -> Result<T, Stopping> {
        self.commands.send(command).await.map_err(|_| Stopping)?;
        answer.await.map_err(|_| Stopping)
    }
}
