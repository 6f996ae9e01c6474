//! HTX spot: the last price, streamed.

mod stream;

use feedgate_sdk::{
    Action, Bucket, Compression, Description, Ids, Mirror, Plugin, Scope, SettingsError, ValueKind, WebsocketLimits,
    settings,
};
use serde::Deserialize;

feedgate_sdk::websocket_provider!(Htx);

/// One connection.
struct Htx {
    /// By symbol, in small letters.
    ids: Ids,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {}

impl Plugin for Htx {
    fn describe() -> Description {
        Description {
            name: env!("CARGO_PKG_NAME").to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            summary: "HTX spot: the last price".to_owned(),
            documentation: "https://www.htx.com/en-us/opend/newApiPages/".to_owned(),
            origins: vec![stream::ORIGIN.to_owned(), stream::MIRROR.to_owned()],
            mirrors: vec![Mirror { origin: stream::ORIGIN.to_owned(), instead: vec![stream::MIRROR.to_owned()] }],
            values: vec![ValueKind::LastTrade],
            default_ids: vec!["btcusdt".to_owned(), "ethusdt".to_owned()],
            settings_schema: r#"{"type":"object","additionalProperties":false}"#.to_owned(),
            // What is documented of the account's WebSocket; of this one nothing is.
            buckets: vec![Bucket {
                what: Action::Send,
                count: 50,
                per_ms: 1_000,
                scope: Scope::Connection,
                counts_control_frames: false,
            }],
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
        let Settings {} = settings::parse(settings)?;
        Ok((Self { ids: Ids::new(str::to_lowercase) }, ValueKind::LastTrade))
    }
}
