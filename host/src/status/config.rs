//! Where the configuration came from, and what became of its last change.

use super::control::ReloadReport;
use crate::contract::observation::UnixNanos;

#[derive(Clone, Debug, Default)]
pub struct ConfigStatus {
    pub path: String,
    pub loaded_at: Option<UnixNanos>,
    /// Why the last change was refused; empty when it was not.
    pub error: String,
    /// What came of the last reload. `None` before the first.
    pub last_reload: Option<ReloadReport>,
}
