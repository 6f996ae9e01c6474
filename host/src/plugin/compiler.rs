//! Where plugins are compiled: in a process of their own, or in this one.

use std::path::{Path, PathBuf};

use super::load_error::LoadError;
use super::{child, compile};
use crate::contract::limits::PluginLimits;

/// Where plugins are compiled.
#[derive(Clone, Debug)]
pub enum Compiler {
    /// In a process of its own, with limits on time and memory. `program` is `feedgate`, or one that calls
    /// [`super::compile_plugin`] when it is started as `feedgate compile-plugin` would be.
    Child { program: PathBuf },
    /// Right here, with no limit on time or memory. For files of one's own making only: a hostile one takes whatever
    /// this process has.
    InThisProcess,
}

impl Default for Compiler {
    /// In a child of the program that runs now.
    fn default() -> Self {
        // Leads to the running file also after another one was put in its place.
        let running = Path::new("/proc/self/exe");
        let program = if running.exists() {
            running.to_owned()
        } else {
            std::env::current_exe().unwrap_or_else(|_| "feedgate".into())
        };
        Self::Child { program }
    }
}

impl Compiler {
    /// The answer to a file, which may be a refusal.
    pub(super) fn answer(
        &self,
        engine: &wasmtime::Engine,
        file: &[u8],
        limits: &PluginLimits,
    ) -> Result<Vec<u8>, LoadError> {
        match self {
            Self::Child { program } => child::compile(program, file, limits),
            Self::InThisProcess => compile::compile(engine, file)
                .map_err(|_| LoadError::CompileMemory { mib: limits.compile_memory_bytes >> 20 }),
        }
    }
}
