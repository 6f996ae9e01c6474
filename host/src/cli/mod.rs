//! The commands of `feedgate`: arguments, what each command does, exit codes. Nobody but the binary uses this room.
//!
//! Reading order: `arguments` (what can be asked), `command` (from there to the command), `logs`, `exit`. `run` is the
//! daemon, `check` and `plugin` work without one. `get`, `providers` and `watch` read a running daemon, `reload` and `builds`
//! tell it what to do: they know the API's types and nothing of how it works, and talk to it through `transport`'s client:
//! `daemon` (what is asked), `row` and `table` (how it looks), then `live`, the table that `watch` and `demo` share, and
//! what it is made of: `changes`, `view`, `input`, `screen`.
//!
//! Errors end in `command`, which prints them with `{:#}`. Where an error both names its cause and has it as its source,
//! `Error::msg` takes its words alone, or the cause would be printed twice.

mod arguments;
mod command;
mod exit;
mod logs;
mod time;

#[cfg(all(feature = "demo", unix))]
pub mod bench;
pub mod builds;
pub mod check;
#[cfg(feature = "demo")]
pub mod demo;
pub mod diff;
pub mod get;
pub mod grant;
pub mod live;
pub mod plugin;
pub mod providers;
pub mod reload;
pub mod row;
pub mod run;
pub mod sign;
pub mod watch;

mod changes;
mod daemon;
mod input;
mod screen;
mod table;
mod view;
mod width;

pub use command::main;
pub use exit::{CliError, Exit};
use exit::{exit_code, fail, outcome, write_json};
pub use logs::Logs;

#[cfg(test)]
mod tests;
