//! From a file to a build that may run: the directory, whether a file may be loaded, what is known of each build, what
//! instances died of, what providers received lately, and recordings that are played back.
//!
//! Reads and writes files. Never opens a socket, and does not decide which build runs: that is `logic::builds`.

pub mod directory;
pub mod file_error;
pub mod provenance;

pub mod faults;
pub(crate) mod registry;

pub(crate) mod inflate;
pub mod tape;

pub mod recording;
pub mod replay;
pub mod shadow;
