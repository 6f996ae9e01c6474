//! feedgate: outside data feeds into one store of latest values, through sandboxed WebAssembly plugins.
//!
//! Each module is a room. A room uses only the rooms above it in this list; `docs/ARCHITECTURE.md` is the map. Whoever embeds
//! the daemon needs [`daemon`], [`config`], [`store`] and [`status`].

// The rooms that are pure are a package of their own.
pub use feedgate_logic::contract;

pub mod access;

pub use feedgate_logic::logic;

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
