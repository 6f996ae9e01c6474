//! feedgate: outside data feeds into one store of latest values, through sandboxed WebAssembly plugins.

pub mod observation;

pub mod codec;
pub mod description;
pub mod origin;
pub mod secret;

pub mod config;
pub mod logic;
pub mod plugin;
pub mod transport;

pub mod metrics;
pub mod status;
pub mod store;

pub mod plugins_dir;
pub mod provider;
pub mod supervisor;

pub mod plugin_build;
pub mod replay;

pub mod api;
pub mod cli;
