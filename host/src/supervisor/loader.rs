//! What is done off to the side, one thing at a time: builds are loaded, judged and tried again. Two at once would take
//! every processor from the feeds.

use std::collections::VecDeque;

use tokio::task::JoinSet;

use crate::builds::file_error::FileError;
use crate::contract::digest::Digest;
use crate::logic::builds::Standing;
use crate::plugin::Plugin;

/// A build to be loaded.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Load {
    /// What the file of this name holds.
    File(String),
    /// One that was kept.
    Kept(String, Digest),
}

impl Load {
    pub(super) fn stem(&self) -> &str {
        match self {
            Self::File(stem) | Self::Kept(stem, _) => stem,
        }
    }
}

/// What was done.
pub(super) enum Done {
    Loaded(Load, Box<Result<Plugin, FileError>>),
    Judged {
        stem: String,
        digest: Digest,
        standing: Standing,
        reason: String,
    },
    /// `died`: why a quarantined build stays so.
    Retried {
        stem: String,
        digest: Digest,
        died: Option<String>,
    },
}

/// The queue, and what is being done.
#[derive(Default)]
pub(super) struct Loader {
    waiting: VecDeque<Load>,
    /// The kept build that was last asked for: one that cannot be loaded is not asked for again and again.
    kept: Option<Digest>,
    busy: JoinSet<Done>,
}

impl Loader {
    /// Its turn comes, unless it waits already.
    pub(super) fn push(&mut self, load: Load) {
        if !self.waiting.contains(&load) {
            self.waiting.push_back(load);
        }
    }

    /// As [`Loader::push`] for a kept build, once.
    pub(super) fn push_kept(&mut self, stem: &str, digest: Digest) {
        let load = Load::Kept(stem.to_owned(), digest);
        if self.kept != Some(digest) && !self.waiting.contains(&load) {
            self.kept = Some(digest);
            self.waiting.push_back(load);
        }
    }

    /// Nothing of this name is to be loaded any more.
    pub(super) fn forget(&mut self, stem: &str) {
        self.waiting.retain(|load| load.stem() != stem);
    }

    /// Whose turn it is, if nothing is being done.
    pub(super) fn next(&mut self) -> Option<Load> {
        if self.is_busy() { None } else { self.waiting.pop_front() }
    }

    /// Does this on a blocking thread. What it gives is handed out by [`Loader::done`].
    pub(super) fn start(&mut self, job: impl FnOnce() -> Done + Send + 'static) {
        self.busy.spawn_blocking(job);
    }

    pub(super) fn is_busy(&self) -> bool {
        !self.busy.is_empty()
    }

    /// Nothing waits, and nothing is being done.
    pub(super) fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.busy.is_empty()
    }

    /// Waits for what is being done; `None` at once when there is nothing, or when it ended in a panic, which is said.
    pub(super) async fn done(&mut self) -> Option<Done> {
        self.busy
            .join_next()
            .await?
            // `load_blocking` catches panics; only the reading of the file is outside.
            .inspect_err(|error| tracing::error!(%error, "loading or judging a plugin ended in a panic"))
            .ok()
    }

    pub(super) fn abort(&mut self) {
        self.busy.abort_all();
    }
}
