//! feedgate: outside data feeds into one store of latest values, through sandboxed WebAssembly plugins.
//!
//! The modules stand in reading order; `ARCHITECTURE.md` is the map. Whoever embeds the daemon needs [`daemon`],
//! [`config`] and [`status`].

pub mod observation;

pub mod codec;
pub mod description;
pub mod grants;
pub mod origin;
pub mod provenance;
pub mod proxy;
pub mod secret;
pub mod tape;

pub mod logic;
pub mod plugin;
pub mod transport;

pub mod metrics;
pub mod status;
pub mod store;

pub mod config;
pub mod faults;
mod lane;
pub mod plugins_dir;
pub mod provider;
mod registry;
pub mod shadow;
pub mod state;
mod supervisor;
pub mod token;

pub mod control;

pub mod daemon;

pub mod plugin_build;
pub mod replay;

pub mod api;
pub mod cli;
