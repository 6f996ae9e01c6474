//! KuCoin spot: the last price, streamed.

mod stream;
mod token;

use feedgate_sdk::{
    Action, Bucket, Description, Heartbeat, HeartbeatWhen, Ids, Plugin, Requests, Scope, SettingsError, ValueKind,
    WebsocketLimits, settings,
};

feedgate_sdk::websocket_provider!(Kucoin);

/// One connection.
struct Kucoin {
    /// By symbol, in capitals.
    ids: Ids,
    requests: Requests,
}

impl Plugin for Kucoin {
    fn describe() -> Description {
        Description {
            name: env!("CARGO_PKG_NAME").to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            summary: "KuCoin spot: the last price".to_owned(),
            documentation: "https://www.kucoin.com/docs-new/websocket-api/base-info/introduction".to_owned(),
            origins: [&[token::ORIGIN], token::SERVERS].concat().into_iter().map(str::to_owned).collect(),
            values: vec![ValueKind::LastTrade],
            default_ids: vec!["BTC-USDT".to_owned(), "ETH-USDT".to_owned()],
            settings_schema: settings::NONE.to_owned(),
            buckets: vec![
                Bucket::new(Action::Connect, 30, 60_000, Scope::Origin),
                Bucket::new(Action::Send, 100, 10_000, Scope::Connection),
                // A token is 10 of the 2000 that an address may spend in 30 seconds; most are left to others.
                Bucket::new(Action::Request, 50, 30_000, Scope::Origin),
            ],
            websocket: Some(WebsocketLimits {
                // 400 are allowed and were 300 for years; fewer make a lost connection hurt less.
                ids_per_connection: Some(200),
                max_connections: Some(800),
                ids_per_message: Some(100),
                // Both are replaced by what comes with the token, which has been this.
                heartbeat: Some(Heartbeat { interval_ms: 18_000, when: HeartbeatWhen::Always }),
                idle_timeout_ms: Some(28_000),
                // That of a token.
                max_age_ms: Some(24 * 60 * 60 * 1_000),
                waits_for_ready: true,
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
