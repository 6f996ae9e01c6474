//! Values over HTTP, polled: one provider's loop and its parts. WebSocket is next door in `stream`; what both need stands
//! above in `transport`.
//!
//! `poller` is the loop, `exchange` sends one request, `validators` lets the venue answer "unchanged".

mod poller;

mod exchange;
mod validators;

pub(crate) use poller::{PollerSetup, run as poll};
