//! The HTTP/JSON API: what the store and [`Status`](crate::status::Status) hold, for reading, and what a running daemon
//! may be told. Reading and telling only: nothing is computed here.
//!
//! An answer is made of what is known when the question arrives; nothing here waits for a venue. What changes something is
//! handed to [`Control`](crate::status::control::Control), and needs a token. The shapes on the wire live here, since the core's
//! types are not `Serialize`; they are written down for readers in `openapi.json`, and the tests compare the two. Absent
//! means unknown or not applicable; no field is ever `null`, and 0 means zero. Reading order: `server` (connections),
//! `router`, `guard` with `access` (who may ask, and how much), `routes` (what there is), `observations`, `providers`, `plugins`,
//! `health`, `changes`, then `query` and `refusal`; below the server are `tls` and `patience`.

mod access;
mod asked;
mod changes;
mod guard;
mod health;
mod observations;
mod patience;
mod plugins;
mod providers;
mod query;
mod refusal;
mod router;
mod routes;
mod server;
mod tls;

pub use asked::Asked;
pub use changes::{Applied, Done, Reload};
pub use health::{Missing, Readiness};
pub use observations::{Observation, Observations, Value};
pub use plugins::{Build, Config, Loaded, Plugin, Plugins};
pub use providers::{Connection, Poller, Provider, Providers, Trouble};
pub use server::{Api, ApiStartError};

#[cfg(test)]
pub(crate) mod fake;
#[cfg(test)]
mod tests;
