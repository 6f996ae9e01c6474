//! OKX: the last price, streamed (WebSocket v5).

mod stream;

use feedgate_sdk::{
    Action, Bucket, Description, Heartbeat, HeartbeatWhen, Ids, Mirror, Plugin, Requests, Scope, SettingsError,
    ValueKind, WebsocketLimits, settings,
};

feedgate_sdk::websocket_provider!(Okx);

/// One connection.
struct Okx {
    /// By instrument, in capitals.
    ids: Ids,
    requests: Requests,
}

impl Plugin for Okx {
    fn describe() -> Description {
        Description {
            name: env!("CARGO_PKG_NAME").to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            summary: "OKX: the last price".to_owned(),
            documentation: "https://www.okx.com/docs-v5/en/".to_owned(),
            origins: vec![stream::ORIGIN.to_owned(), stream::MIRROR.to_owned()],
            mirrors: vec![Mirror::new(stream::ORIGIN, &[stream::MIRROR])],
            values: vec![ValueKind::LastTrade],
            default_ids: vec!["BTC-USDT".to_owned(), "ETH-USDT".to_owned()],
            settings_schema: settings::NONE.to_owned(),
            buckets: vec![
                Bucket::new(Action::Connect, 3, 1_000, Scope::Origin),
                Bucket::new(Action::Subscribe, 480, 3_600_000, Scope::Connection),
            ],
            websocket: Some(WebsocketLimits {
                ids_per_connection: Some(200),
                // The list may have 64 KiB. An instrument takes 60 bytes or so; small messages are cheap to ask again.
                ids_per_message: Some(100),
                // The venue closes what was silent for 30 seconds.
                heartbeat: Some(Heartbeat { interval_ms: 20_000, when: HeartbeatWhen::Idle }),
                idle_timeout_ms: Some(30_000),
                acknowledges: true,
                ..WebsocketLimits::default()
            }),
            ..Description::default()
        }
    }

    fn configure(settings: &str) -> Result<(Self, ValueKind), SettingsError> {
        settings::none(settings)?;
        let plugin = Self { ids: Ids::new(str::to_uppercase), requests: Requests::default() };
        Ok((plugin, ValueKind::LastTrade))
    }
}
