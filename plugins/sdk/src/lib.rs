#![doc = include_str!("../README.md")]

extern crate self as feedgate_sdk;

mod absence;
#[cfg(any(feature = "allocator", test))]
mod allocator;
mod batches;
mod bindings;
mod blame;
mod contract;
mod decimal;
mod digits;
mod gaps;
mod glue;
pub mod http;
mod ids;
pub mod json;
mod logging;
mod malformed;
#[cfg(feature = "pool")]
pub mod pool;
mod requests;
pub mod rpc;
pub mod settings;
mod time;
pub mod url;
pub mod websocket;

pub use absence::Absences;
pub use batches::Batches;
pub use bindings::feedgate::provider::{description, log, types};
pub use blame::{Blame, names};
pub use contract::Plugin;
pub use decimal::{decimal, mid};
pub use description::{
    Action, Bucket, Compression, Description, Heartbeat, HeartbeatWhen, HttpLimits, Mirror, Resources, Scope, Secret,
    WebsocketLimits,
};
pub use gaps::Gaps;
pub use http::Http;
pub use ids::{Ids, check_ids, keys_of};
pub use log::Level;
pub use logging::log;
pub use malformed::Malformed;
pub use requests::Requests;
pub use settings::SettingsError;
pub use time::rfc3339;
pub use types::{
    Context, Decimal, Error, Frame, Header, Key, Method, Observation, Rejection, Request, Response, Subscription,
    Timestamp, Value, ValueKind, Wait,
};
pub use websocket::{Events, Incoming, WebSocket};

/// What the macros refer to. Not part of the interface.
#[doc(hidden)]
pub use glue::{Slot, report_panics};
#[doc(hidden)]
pub use wit_bindgen;

include!(concat!(env!("OUT_DIR"), "/macros.rs"));
