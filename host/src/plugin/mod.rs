//! Running plugins: the only room that names wasmtime.
//!
//! [`Engine::load_blocking`] takes a file's bytes to a checked, compiled, described [`Plugin`]; [`Plugin::configured`] gives
//! an `OpenCodec` that makes live instances. No sockets, and no opinion on which build is to run.
//!
//! Reading order: `worlds` (does it fit?), `describe`, `instance` (calls and budgets), `limits`, `clock`, `log`, `wasi`,
//! `convert`, `lift`, `bindings`. Compiling: `compile`, the process it is done in (`child`), `compiler`, `cache`. All
//! together: `engine`, `loaded`.

mod bindings;
mod convert;
mod describe;
mod lift;
mod worlds;

mod clock;
mod limits;
mod log;
mod wasi;

mod instance;

mod load_error;
mod wasmtime_config;

mod cache;
mod child;
mod compile;
mod compiler;

mod engine;
mod loaded;

pub use child::compile_plugin;
pub use compiler::Compiler;
pub use engine::{Engine, digest_of};
pub use instance::PluginInstance;
pub use load_error::LoadError;
pub use loaded::{Configured, Plugin};
pub use worlds::{Fit, Misfit, componentize};
