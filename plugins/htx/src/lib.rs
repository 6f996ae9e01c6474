//! HTX spot: the last price, streamed.

mod stream;

use feedgate_sdk::{
    Action, Bucket, Compression, Description, Ids, Mirror, Plugin, Scope, SettingsError, ValueKind, WebsocketLimits,
    settings,
};

feedgate_sdk::websocket_provider!(Htx);

/// One connection.
struct Htx {
    /// By symbol, in small letters.
    ids: Ids,
}

impl Plugin for Htx {
    fn describe() -> Description {
        Description {
            name: env!("CARGO_PKG_NAME").to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            summary: "HTX spot: the last price".to_owned(),
            documentation: "https://www.htx.com/en-us/opend/newApiPages/".to_owned(),
            origins: vec![stream::ORIGIN.to_owned(), stream::MIRROR.to_owned()],
            mirrors: vec![Mirror::new(stream::ORIGIN, &[stream::MIRROR])],
            values: vec![ValueKind::LastTrade],
            default_ids: vec!["btcusdt".to_owned(), "ethusdt".to_owned()],
            settings_schema: settings::NONE.to_owned(),
            // What is documented of the account's WebSocket; of this one nothing is.
            buckets: vec![Bucket::new(Action::Send, 50, 1_000, Scope::Connection)],
            websocket: Some(WebsocketLimits {
                // Fewer make a lost connection hurt less; the venue knows no limit.
                ids_per_connection: Some(100),
                // A ping comes every 5 seconds.
                idle_timeout_ms: Some(20_000),
                compression: Compression::Gzip,
                acknowledges: true,
                ..WebsocketLimits::default()
            }),
            ..Description::default()
        }
    }

    fn configure(settings: &str) -> Result<(Self, ValueKind), SettingsError> {
        settings::none(settings)?;
        Ok((Self { ids: Ids::new(str::to_lowercase) }, ValueKind::LastTrade))
    }
}
