//! What plugin authors use: building a plugin from its source.
//!
//! Never reads or changes the state of a daemon.

pub mod build;
