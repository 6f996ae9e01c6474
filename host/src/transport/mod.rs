//! Moving bytes between venues and codecs: the only place that names reqwest and tungstenite.
//!
//! Thin shells: sockets, timers and the order of calls live here. What to do and when is decided in `logic`, what bytes
//! mean in a codec. Nothing here knows a venue or has a policy of its own. The modules stand in reading order.

mod clock;
mod shared;
mod wanted;

mod poll;
mod stream;

mod intake;

mod http;
mod limiter;
mod places;

mod data_url;
mod network;
mod tls;

mod api_client;

pub use api_client::{ApiClient, ApiError};
pub use http::HttpClient;
pub use limiter::OriginLimits;
pub use network::Network;
pub(crate) use places::Places;
pub(crate) use poll::{PollerSetup, poll};
pub(crate) use shared::Shared;
pub use stream::SocketLimits;
pub(crate) use stream::{SessionSetup, stream};
pub(crate) use wanted::{Polled, Wanted};
