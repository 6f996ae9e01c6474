//! Values over WebSocket: one slot, its connection across reconnects, and the socket underneath. HTTP polling is next
//! door in `poll`; what both need stands above in `transport`.
//!
//! `session` is the loop, `silence` its look for silent ids. `connection` drives one socket at a time with these parts:
//! `opening` (the steps to a socket), `destination` (where they lead), `link` (how far it has come), `frames` (a batch made
//! ready for the codec), `events` (what the codec made of it), `subscribing` (what the venue is asked for), `outbox` (what
//! waits to be sent), `end` (why it ended).

mod setup;

mod session;
mod silence;

mod connection;

mod destination;
mod link;
mod opening;

mod events;
mod frames;
mod stages;

mod outbox;
mod subscribing;

mod end;

mod alarm;
mod websocket;

pub(crate) use session::run as stream;
pub(crate) use setup::SessionSetup;
pub use websocket::SocketLimits;
