//! Why a file gives no plugin.

use crate::builds::provenance::Unproven;
use crate::plugin::LoadError;

/// Why a file gives no plugin.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum FileError {
    #[error("cannot be read: {0}")]
    Read(String),
    #[error(transparent)]
    Unproven(#[from] Unproven),
    /// Its content is too long, or no plugin.
    #[error(transparent)]
    Content(#[from] LoadError),
}
