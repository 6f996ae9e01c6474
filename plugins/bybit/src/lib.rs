//! Bybit spot: the last price, streamed (v5).

mod stream;

use feedgate_sdk::{
    Action, Bucket, Description, Heartbeat, HeartbeatWhen, Ids, Plugin, Requests, Scope, SettingsError, ValueKind,
    WebsocketLimits, settings,
};

feedgate_sdk::websocket_provider!(Bybit);

/// One connection.
pub(crate) struct Bybit {
    /// By the symbol in capitals.
    ids: Ids,
    requests: Requests,
}

impl Plugin for Bybit {
    fn describe() -> Description {
        Description {
            name: env!("CARGO_PKG_NAME").to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            summary: "Bybit spot: the last price".to_owned(),
            documentation: "https://bybit-exchange.github.io/docs/v5/ws/connect".to_owned(),
            origins: vec![stream::ORIGIN.to_owned()],
            values: vec![ValueKind::LastTrade],
            default_ids: vec!["BTCUSDT".to_owned(), "ETHUSDT".to_owned()],
            settings_schema: settings::NONE.to_owned(),
            buckets: vec![Bucket::new(Action::Connect, 500, 300_000, Scope::Origin)],
            websocket: Some(WebsocketLimits {
                // The topics of a connection may have 21,000 characters: more than 200 of the longest.
                ids_per_connection: Some(200),
                max_connections: Some(1000),
                ids_per_message: Some(10),
                heartbeat: Some(Heartbeat { interval_ms: 20_000, when: HeartbeatWhen::Always }),
                // Each ping is answered.
                idle_timeout_ms: Some(60_000),
                acknowledges: true,
                ..WebsocketLimits::default()
            }),
            ..Description::default()
        }
    }

    fn configure(settings: &str) -> Result<(Self, ValueKind), SettingsError> {
        settings::none(settings)?;
        Ok((Self { ids: Ids::new(str::to_uppercase), requests: Requests::default() }, ValueKind::LastTrade))
    }
}
