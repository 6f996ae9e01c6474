//! How wasmtime is set up: which features of WebAssembly are on, and what costs nothing to leave out.

use wasmtime::{Config, OptLevel};

/// Only what plugins need: single-threaded, synchronous, linear memory. Every other feature is off, which is faster
/// and leaves out where most advisories were.
pub(super) fn config() -> Config {
    let mut config = Config::new();
    config
        .cranelift_opt_level(OptLevel::Speed)
        .concurrency_support(false)
        .wasm_relaxed_simd(false)
        .wasm_memory64(false)
        .wasm_multi_memory(true)
        .cranelift_nan_canonicalization(true)
        .epoch_interruption(true)
        .max_wasm_stack(512 << 10)
        // Dropping a component with unwind tables registered can take seconds.
        .native_unwind_info(false)
        // Where in a guest something went wrong says nothing of a plugin whose names are stripped, and the map to it is an
        // eighth of what a start reads, checks and copies.
        .generate_address_map(false)
        .wasm_backtrace_max_frames(None)
        .memory_init_cow(true);
    config
}
