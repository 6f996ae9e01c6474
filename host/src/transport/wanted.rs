//! What a provider tells its tasks: which ids to serve, and when to stop. No policy: the provider decides.

use std::collections::BTreeSet;

use tokio::sync::watch;

use crate::contract::observation::Key;
use crate::store::SlotTable;

/// What one session serves.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wanted {
    pub(crate) table: SlotTable,
    /// A session's share of the ids.
    pub(crate) keys: BTreeSet<Key>,
}

/// What a poller serves.
#[derive(Clone, Debug, Default)]
pub(crate) struct Polled {
    pub(crate) table: SlotTable,
    /// The ids whose `max_age` follows from how long a cycle takes, which only the poller knows.
    pub(crate) aged_by_cycle: BTreeSet<Key>,
}

/// Completes when the daemon or the provider is told to stop, or when whoever could tell is gone.
pub(super) async fn stopped(stop: &mut watch::Receiver<bool>) {
    // An error means that the sender is gone, which says the same.
    let _ = stop.wait_for(|stop| *stop).await;
}
