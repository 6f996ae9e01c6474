//! What may be used: by one instance of a plugin, and by each step towards an open socket. Operators write it, the rooms
//! below keep to it.

use std::num::NonZeroU32;
use std::time::Duration;

use super::description::Resources;

/// An interpreter compiled to WebAssembly is 18 MB and wants tens of MB of memory.
const DESCRIBING_BYTES: usize = 128 << 20;

/// Budgets of one instance. Each error that comes of one names its knob.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PluginLimits {
    /// Largest file that is loaded.
    pub max_file_bytes: usize,
    /// Linear memory of one instance, all its memories together.
    pub max_memory_bytes: usize,
    /// Table elements of one instance, all its tables together.
    pub max_table_elements: usize,
    /// Core modules that one instance is made of, and its tables and memories.
    pub max_instances: usize,
    /// What one call may hand back.
    pub max_result_bytes: usize,
    /// Time for `describe` and `configure`, instantiation included.
    pub init: Duration,
    /// Time for one call that builds: `connect`, `subscribe`, `unsubscribe`, `heartbeat`, `create-requests`.
    pub build: Duration,
    /// Time for one call that parses.
    pub parse: Duration,
    /// Time on top of `parse` for each KiB handed in.
    pub parse_per_kib: Duration,
    /// Time for compiling one file.
    pub compile: Duration,
    /// Memory for compiling one file, counted as the process's address space.
    pub compile_memory_bytes: usize,
    /// Log lines a second.
    pub log_lines_per_second: u32,
}

impl Default for PluginLimits {
    /// The plugins of this repository do with 4 MiB of memory, bodies of many MiB aside; an interpreter compiled to
    /// WebAssembly (a Python plugin is 18 MB, and takes 20 seconds and 300 MiB to be compiled) asks for more in its
    /// description. Times are a hundred times what a parser needs on a machine that is busy compiling.
    fn default() -> Self {
        Self {
            max_file_bytes: 64 << 20,
            max_memory_bytes: 64 << 20,
            max_table_elements: 100_000,
            // An interpreter is many core modules in one component.
            max_instances: 256,
            max_result_bytes: 8 << 20,
            init: Duration::from_millis(1_000),
            build: Duration::from_millis(200),
            parse: Duration::from_millis(100),
            parse_per_kib: Duration::from_micros(200),
            compile: Duration::from_secs(60),
            compile_memory_bytes: 1 << 30,
            log_lines_per_second: 20,
        }
    }
}

impl PluginLimits {
    /// The same, and no less than what was granted.
    #[must_use]
    pub fn raised(&self, granted: &Resources) -> Self {
        let bytes = |count: Option<NonZeroU32>, shift: u32| count.map_or(0, |count| (count.get() as usize) << shift);
        let millis = |count: Option<NonZeroU32>| Duration::from_millis(count.map_or(0, |ms| ms.get().into()));
        Self {
            max_memory_bytes: self.max_memory_bytes.max(bytes(granted.memory_mib, 20)),
            max_result_bytes: self.max_result_bytes.max(bytes(granted.result_kib, 10)),
            init: self.init.max(millis(granted.init_ms)),
            build: self.build.max(millis(granted.build_ms)),
            parse: self.parse.max(millis(granted.parse_ms)),
            ..self.clone()
        }
    }

    /// What of it these limits do not allow.
    pub fn exceeded_by(&self, asked: &Resources) -> Resources {
        let bytes = |limit: usize, shift: u32| move |count: &NonZeroU32| (count.get() as usize) << shift > limit;
        let millis = |limit: Duration| move |ms: &NonZeroU32| Duration::from_millis(ms.get().into()) > limit;
        Resources {
            memory_mib: asked.memory_mib.filter(bytes(self.max_memory_bytes, 20)),
            init_ms: asked.init_ms.filter(millis(self.init)),
            build_ms: asked.build_ms.filter(millis(self.build)),
            parse_ms: asked.parse_ms.filter(millis(self.parse)),
            result_kib: asked.result_kib.filter(bytes(self.max_result_bytes, 10)),
        }
    }

    /// For the one short-lived instance that says what it asks for: an interpreter that wants more than the default must
    /// be able to say so.
    #[must_use]
    pub fn describing(&self) -> Self {
        Self { max_memory_bytes: self.max_memory_bytes.max(DESCRIBING_BYTES), ..self.clone() }
    }
}

/// How long each step towards an open socket may take.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct DialLimits {
    /// Names and TCP, all addresses of the name together.
    pub tcp: Duration,
    pub tls: Duration,
    pub handshake: Duration,
}
