//! Why a file's content gives no plugin, in words that name the knob where there is one.

use super::worlds::Misfit;
use crate::contract::codec::Death;

/// Why a file's content gives no plugin.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum LoadError {
    #[error("{size} bytes, more than {max} (knob: plugin_limits.max_file_mib)")]
    TooLarge { size: usize, max: usize },
    #[error(transparent)]
    Misfit(#[from] Misfit),
    #[error("does not compile: {0}")]
    Compile(String),
    #[error("does not compile within {ms} ms (knob: plugin_limits.compile_ms)")]
    CompileTime { ms: u128 },
    #[error("does not compile within {mib} MiB of memory (knob: plugin_limits.compile_memory_mib)")]
    CompileMemory { mib: usize },
    /// Nobody can say whether it is the file's fault.
    #[error("cannot be compiled: {0}")]
    Compiler(String),
    #[error("does not describe itself: {0}")]
    Describe(#[source] Death),
    #[error("describes itself wrongly: {0}")]
    Description(String),
}
