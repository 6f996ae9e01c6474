//! MEXC spot: the last price, streamed.

mod protobuf;
mod push;
mod stream;

use feedgate_sdk::{
    Action, Bucket, Description, Heartbeat, HeartbeatWhen, Ids, Plugin, Requests, Scope, SettingsError, ValueKind,
    WebsocketLimits, settings,
};
use serde::Deserialize;

feedgate_sdk::websocket_provider!(Mexc);

/// One connection.
struct Mexc {
    source: Source,
    /// By symbol, in capitals.
    ids: Ids,
    requests: Requests,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct Settings {
    source: Source,
}

/// Which channel tells the last price.
#[derive(Deserialize, Default, Clone, Copy, PartialEq)]
#[serde(rename_all = "lowercase")]
enum Source {
    #[default]
    Ticker,
    Deals,
}

impl Plugin for Mexc {
    fn describe() -> Description {
        Description {
            name: env!("CARGO_PKG_NAME").to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            summary: "MEXC spot: the last price".to_owned(),
            documentation: "https://www.mexc.com/api-docs/spot-v3/websocket-market-streams".to_owned(),
            origins: vec![stream::ORIGIN.to_owned()],
            values: vec![ValueKind::LastTrade],
            default_ids: vec!["BTCUSDT".to_owned(), "ETHUSDT".to_owned()],
            settings_schema: include_str!("settings.json").to_owned(),
            buckets: vec![Bucket::new(Action::Send, 100, 1_000, Scope::Connection)],
            websocket: Some(WebsocketLimits {
                ids_per_connection: Some(30),
                // An answer to several repeats them all, whichever was at fault.
                ids_per_message: Some(1),
                // A connection without data is closed after a minute, unless it is pinged.
                heartbeat: Some(Heartbeat { interval_ms: 20_000, when: HeartbeatWhen::Always }),
                // Two heartbeats without an answer.
                idle_timeout_ms: Some(45_000),
                max_age_ms: Some(24 * 60 * 60 * 1_000),
                acknowledges: true,
                ..WebsocketLimits::default()
            }),
            ..Description::default()
        }
    }

    fn configure(settings: &str) -> Result<(Self, ValueKind), SettingsError> {
        let Settings { source } = settings::parse(settings)?;
        let plugin = Self { source, ids: Ids::new(str::to_uppercase), requests: Requests::default() };
        Ok((plugin, ValueKind::LastTrade))
    }
}
