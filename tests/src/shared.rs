//! What all tasks of a running venue share: its market and limits behind one lock, and the channels between them.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{broadcast, watch};
use tokio_tungstenite::tungstenite::Message;

use crate::clock::Clock;
use crate::fault::{Fault, Notice};
use crate::limit::{Minute, Window};
use crate::market::{Change, Market};
use crate::options::Options;
use crate::session::World;
use crate::stats::Stats;
use crate::venues::Kind;

/// What all tasks of a venue share.
pub(crate) struct Shared {
    pub(crate) kind: Kind,
    pub(crate) options: Options,
    pub(crate) address: SocketAddr,
    pub(crate) clock: Clock,
    pub(crate) floor: Mutex<Floor>,
    pub(crate) events: broadcast::Sender<Event>,
    pub(crate) fault: watch::Sender<Fault>,
    pub(crate) cut: watch::Sender<u64>,
    pub(crate) stats: watch::Sender<Stats>,
}

/// What changes under one lock, which is never held across an await.
pub(crate) struct Floor {
    pub(crate) market: Market,
    /// Connection attempts; all come from one address here.
    pub(crate) connects: Option<Window>,
    /// The weight of the HTTP requests of the current minute.
    pub(crate) spent: Minute,
}

/// What every live WebSocket is told.
#[derive(Clone)]
pub(crate) enum Event {
    Prices(Arc<[Change]>),
    Raw(Message),
    Notice(Notice),
}

impl Shared {
    pub(crate) fn floor(&self) -> MutexGuard<'_, Floor> {
        self.floor.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// To be called with the floor locked: a connection that holds the lock has then seen every
    /// change there was.
    pub(crate) fn publish(&self, changes: Vec<Change>) {
        let _ = self.events.send(Event::Prices(changes.into()));
    }

    pub(crate) fn count(&self, change: impl FnOnce(&mut Stats)) {
        self.stats.send_modify(change);
    }

    pub(crate) fn http_origin(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn world<'a>(&'a self, market: &'a Market, fault: &Fault) -> World<'a> {
        World {
            now: self.clock.now(),
            market,
            options: &self.options,
            silent: *fault == Fault::Silent,
            reject_all: *fault == Fault::RejectAll,
            gaps: *fault == Fault::SequenceGaps,
        }
    }
}
