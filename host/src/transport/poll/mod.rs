//! Values over HTTP, polled: one provider's loop and its parts. WebSocket is next door in `stream`; what both need stands
//! above in `transport`.
//!
//! `poller` is the loop. `plan` holds the requests of one poll, `exchange` sends one of them, `validators` lets the venue
//! answer "unchanged"; `ids` takes in what answers say, and `tally` what became of the poll.

mod poller;

mod plan;

mod exchange;
mod validators;

mod ids;
mod tally;

pub(crate) use poller::{PollerSetup, run as poll};
