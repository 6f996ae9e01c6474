//! Crypto.com Exchange: the last price, streamed.

mod stream;

use feedgate_sdk::{
    Action, Bucket, Description, Ids, Plugin, Requests, Scope, SettingsError, ValueKind, WebsocketLimits, settings,
};

feedgate_sdk::websocket_provider!(CryptoCom);

/// One connection.
struct CryptoCom {
    /// By instrument, in capitals.
    ids: Ids,
    requests: Requests,
}

impl Plugin for CryptoCom {
    fn describe() -> Description {
        Description {
            name: env!("CARGO_PKG_NAME").to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            summary: "Crypto.com Exchange: the last price".to_owned(),
            documentation: "https://exchange-docs.crypto.com/exchange/v1/rest-ws/index.html".to_owned(),
            origins: vec![stream::ORIGIN.to_owned()],
            values: vec![ValueKind::LastTrade],
            default_ids: vec!["BTC_USD".to_owned(), "ETH_USD".to_owned()],
            settings_schema: settings::NONE.to_owned(),
            buckets: vec![Bucket::new(Action::Send, 100, 1_000, Scope::Connection)],
            websocket: Some(WebsocketLimits {
                // 400 are allowed; fewer make a lost connection hurt less.
                ids_per_connection: Some(200),
                ids_per_message: Some(100),
                // The venue asks whether we live each 30 seconds.
                idle_timeout_ms: Some(45_000),
                // The second of the connect has a share of the limit only.
                first_send_delay_ms: 1_000,
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
