//! feedgate: outside data feeds into one store of latest values, through sandboxed WebAssembly plugins.
//!
//! Each module is a room. A room uses only the rooms above it in this list; `ARCHITECTURE.md` is the map. Whoever embeds
//! the daemon needs [`daemon`], [`config`] and [`status`].

pub mod contract;

pub mod access;

pub mod logic;

pub mod store;

pub mod plugin;

pub mod builds;

pub mod config;

pub mod status;

pub mod transport;

pub mod api;

pub mod provider;

pub mod authoring;

mod supervisor;

pub mod daemon;

pub mod cli;
