//! What answers are made of: the store, what the daemon says of itself, and what it may be told.

use std::sync::Arc;

use axum::extract::FromRef;

use crate::status::Status;
use crate::status::control::Control;
use crate::store::Store;

/// What answers are made of. A route takes the part that it uses.
#[derive(Clone, Debug)]
pub struct Asked {
    pub store: Arc<Store>,
    pub status: Arc<Status>,
    pub control: Control,
}

impl FromRef<Asked> for Arc<Store> {
    fn from_ref(asked: &Asked) -> Self {
        asked.store.clone()
    }
}

impl FromRef<Asked> for Arc<Status> {
    fn from_ref(asked: &Asked) -> Self {
        asked.status.clone()
    }
}

impl FromRef<Asked> for Control {
    fn from_ref(asked: &Asked) -> Self {
        asked.control.clone()
    }
}
