//! The counter that holds one instance to its memory and tables.

use wasmtime::ResourceLimiter;

use crate::contract::limits::PluginLimits;

/// Counts what the instance's memories and tables have grown to. Growth beyond a limit is refused, which a guest may
/// survive; what it wanted is kept to explain the trap if it does not.
#[derive(Debug)]
pub(super) struct Limiter {
    max_memory: usize,
    max_elements: usize,
    max_instances: usize,
    memory: usize,
    elements: usize,
    pub(super) refused: Option<(String, &'static str)>,
}

impl Limiter {
    pub(super) fn new(limits: &PluginLimits) -> Self {
        Self {
            max_memory: limits.max_memory_bytes,
            max_elements: limits.max_table_elements,
            max_instances: limits.max_instances,
            memory: 0,
            elements: 0,
            refused: None,
        }
    }

    /// Bytes of all memories together.
    pub(super) fn memory(&self) -> usize {
        self.memory
    }
}

impl ResourceLimiter for Limiter {
    fn memory_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        let total = self.memory.saturating_add(desired.saturating_sub(current));
        if total > self.max_memory {
            self.refused = Some((format!("{} MiB of memory", self.max_memory >> 20), "max_memory_mib"));
            return Ok(false);
        }
        self.memory = total;
        Ok(true)
    }

    fn table_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        let total = self.elements.saturating_add(desired.saturating_sub(current));
        if total > self.max_elements {
            self.refused = Some((format!("{} table elements", self.max_elements), "max_table_elements"));
            return Ok(false);
        }
        self.elements = total;
        Ok(true)
    }

    fn instances(&self) -> usize {
        self.max_instances
    }

    fn tables(&self) -> usize {
        self.max_instances
    }

    fn memories(&self) -> usize {
        self.max_instances
    }
}
