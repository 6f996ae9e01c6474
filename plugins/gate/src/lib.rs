//! Gate spot: the last price, streamed.

mod stream;

use feedgate_sdk::{
    Description, Heartbeat, HeartbeatWhen, Ids, Plugin, Requests, SettingsError, ValueKind, WebsocketLimits, settings,
};

feedgate_sdk::websocket_provider!(Gate);

/// One connection.
struct Gate {
    /// By currency pair, in capitals.
    ids: Ids,
    requests: Requests,
}

impl Plugin for Gate {
    fn describe() -> Description {
        Description {
            name: env!("CARGO_PKG_NAME").to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            summary: "Gate spot: the last price".to_owned(),
            documentation: "https://www.gate.com/docs/developers/apiv4/ws/en/".to_owned(),
            origins: vec![stream::ORIGIN.to_owned()],
            values: vec![ValueKind::LastTrade],
            default_ids: vec!["BTC_USDT".to_owned(), "ETH_USDT".to_owned()],
            settings_schema: settings::NONE.to_owned(),
            websocket: Some(WebsocketLimits {
                // The venue has no limit, and closes a connection that does not read quickly enough.
                ids_per_connection: Some(200),
                max_connections: Some(100),
                ids_per_message: Some(50),
                heartbeat: Some(Heartbeat { interval_ms: 15_000, when: HeartbeatWhen::Always }),
                // Two heartbeats without an answer.
                idle_timeout_ms: Some(40_000),
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
