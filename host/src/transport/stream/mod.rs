//! Values over WebSocket: one slot, its connection across reconnects, and the socket underneath. HTTP polling is next
//! door in `poll`; what both need stands above in `transport`.
//!
//! `session` is the loop, `connection` drives one socket at a time, with `link` (how far it has come) and `outbox` (what
//! waits to be sent).

mod setup;

mod session;

mod connection;

mod link;
mod outbox;
mod stages;

mod alarm;
mod websocket;

pub(crate) use session::run as stream;
pub(crate) use setup::SessionSetup;
pub use websocket::SocketLimits;
