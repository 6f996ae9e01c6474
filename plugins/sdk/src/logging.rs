//! The one thing that a plugin may ask of the host.

use crate::Level;

/// Writes one line to the host's log. For what an operator should know, never for every message: the host allows few
/// lines and drops the rest.
pub fn log(level: Level, text: &str) {
    #[cfg(target_family = "wasm")]
    crate::log::log(level, text);

    // A plugin's own tests run without a host.
    #[cfg(not(target_family = "wasm"))]
    eprintln!("{level:?}: {text}");
}
