//! Simulated venues: real servers on 127.0.0.1 that speak what exchanges speak, strictly, and fail
//! when told to.
//!
//! In reading order: a [`Venue`] is one running server, with [`Options`], a [`Fault`] and
//! [`Stats`]; `venues` holds one pure protocol a file; `http` and `shell` are the sockets,
//! written once; `market` is where the prices come from; [`ScriptedWs`] and [`ScriptedHttp`] are
//! servers whose whole behaviour a test writes by hand; [`ScriptedProxy`] stands before them.
//! [`native`] and [`load`] are apart: the parsers that benchmarks compare plugins with, and the venue
//! of `feedgate bench`.
//!
//! Nothing here knows the host: the black-box tests and the `demo` command meet it over TCP only.

mod clock;
mod fault;
mod http;
mod limit;
#[cfg(unix)]
pub mod load;
mod market;
pub mod native;
mod options;
mod proxy;
mod scripted;
mod session;
mod shared;
mod shell;
mod stats;
mod venue;
mod venues;

pub use fault::{Fault, Notice};
pub use http::{Reply, Request, Response};
pub use options::Options;
pub use proxy::ScriptedProxy;
pub use scripted::{Peer, ScriptedHttp, ScriptedWs};
pub use stats::Stats;
pub use tokio_tungstenite::tungstenite::Message;
pub use venue::Venue;
pub use venues::Kind;
