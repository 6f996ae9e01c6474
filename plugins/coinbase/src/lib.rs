//! Coinbase Advanced Trade: the last price, streamed.

mod stream;

use std::collections::{BTreeSet, VecDeque};

use feedgate_sdk::{
    Action, Bucket, Description, Ids, Plugin, Scope, SettingsError, ValueKind, WebsocketLimits, settings,
};
use serde::Deserialize;

feedgate_sdk::websocket_provider!(Coinbase);

/// One connection.
struct Coinbase {
    /// By product, in capitals.
    ids: Ids,
    hears_heartbeats: bool,
    /// Products that were asked for and neither confirmed nor refused.
    waiting: BTreeSet<String>,
    /// Products that are asked for one at a time because an error did not say whom it meant; the first one is under
    /// way.
    alone: VecDeque<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {}

impl Plugin for Coinbase {
    fn describe() -> Description {
        Description {
            name: env!("CARGO_PKG_NAME").to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            summary: "Coinbase Advanced Trade: the last price".to_owned(),
            documentation:
                "https://docs.cdp.coinbase.com/coinbase-app/advanced-trade-apis/websocket/websocket-overview".to_owned(),
            origins: vec![stream::ORIGIN.to_owned()],
            values: vec![ValueKind::LastTrade],
            default_ids: vec!["BTC-USD".to_owned(), "ETH-USD".to_owned()],
            settings_schema: r#"{"type":"object","additionalProperties":false}"#.to_owned(),
            buckets: vec![
                Bucket {
                    what: Action::Connect,
                    count: 8,
                    per_ms: 1_000,
                    scope: Scope::Origin,
                    counts_control_frames: false,
                },
                Bucket {
                    what: Action::Send,
                    count: 8,
                    per_ms: 1_000,
                    scope: Scope::Origin,
                    counts_control_frames: false,
                },
            ],
            websocket: Some(WebsocketLimits {
                ids_per_message: Some(100),
                // A heartbeat comes each second.
                idle_timeout_ms: Some(10_000),
                acknowledges: true,
                ..WebsocketLimits::default()
            }),
            ..Description::default()
        }
    }

    fn configure(settings: &str) -> Result<(Self, ValueKind), SettingsError> {
        let Settings {} = settings::parse(settings)?;
        let plugin = Self {
            ids: Ids::new(str::to_uppercase),
            hears_heartbeats: false,
            waiting: BTreeSet::new(),
            alone: VecDeque::new(),
        };
        Ok((plugin, ValueKind::LastTrade))
    }
}
