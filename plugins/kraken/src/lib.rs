//! Kraken spot: the last price, streamed (WebSocket v2) or polled.

mod pair;
mod poll;
mod stream;

use feedgate_sdk::{
    Action, Batches, Bucket, Description, HttpLimits, Ids, Plugin, Requests, Scope, SettingsError, ValueKind,
    WebsocketLimits, settings,
};

feedgate_sdk::provider!(Kraken);

/// One connection or one poller.
pub(crate) struct Kraken {
    /// By the names of WebSocket v2: `BTC/USD`.
    streamed: Ids,
    /// By the names of the REST API, without their old prefixes: `XBTUSD`.
    polled: Ids,
    requests: Requests,
    batches: Batches,
}

impl Plugin for Kraken {
    fn describe() -> Description {
        Description {
            name: env!("CARGO_PKG_NAME").to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            summary: "Kraken spot: the last price".to_owned(),
            documentation: "https://docs.kraken.com/api/".to_owned(),
            origins: vec![stream::ORIGIN.to_owned(), poll::ORIGIN.to_owned()],
            values: vec![ValueKind::LastTrade],
            default_ids: vec!["BTC/USD".to_owned(), "ETH/USD".to_owned()],
            settings_schema: settings::NONE.to_owned(),
            buckets: vec![
                Bucket::new(Action::Connect, 150, 600_000, Scope::Origin),
                Bucket::new(Action::Request, 1, 1_000, Scope::Origin),
            ],
            websocket: Some(WebsocketLimits {
                ids_per_connection: Some(500),
                ids_per_message: Some(100),
                // A subscribed connection hears a heartbeat each second.
                idle_timeout_ms: Some(15_000),
                acknowledges: true,
                ..WebsocketLimits::default()
            }),
            http: Some(HttpLimits { poll_interval_ms: 2_000, timeout_ms: 5_000, max_in_flight: 1 }),
            ..Description::default()
        }
    }

    fn configure(settings: &str) -> Result<(Self, ValueKind), SettingsError> {
        settings::none(settings)?;
        let plugin = Self {
            streamed: Ids::new(pair::for_stream),
            polled: Ids::new(pair::for_rest),
            requests: Requests::default(),
            batches: Batches::default(),
        };
        Ok((plugin, ValueKind::LastTrade))
    }
}
