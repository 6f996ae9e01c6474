//! Bitfinex: the last price, streamed.

mod stream;

use std::collections::{BTreeMap, BTreeSet};

use feedgate_sdk::{
    Action, Bucket, Description, Gaps, Ids, Plugin, Scope, SettingsError, ValueKind, WebsocketLimits, settings,
};
use serde::Deserialize;

use self::stream::Extras;

feedgate_sdk::websocket_provider!(Bitfinex);

/// One connection. Channel numbers hold for it alone.
pub(crate) struct Bitfinex {
    settings: Settings,
    /// By symbol: `tBTCUSD`.
    ids: Ids,
    configured: bool,
    /// What the venue has agreed to add to each message.
    extras: Extras,
    gaps: Gaps,
    /// The symbol of each channel that carries a ticker.
    channels: BTreeMap<u64, String>,
    /// Symbols that were given up before the venue had named their channel.
    leaving: BTreeSet<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Settings {
    sequence: bool,
    timestamp: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self { sequence: true, timestamp: false }
    }
}

impl Plugin for Bitfinex {
    fn describe() -> Description {
        Description {
            name: env!("CARGO_PKG_NAME").to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            summary: "Bitfinex: the last price".to_owned(),
            documentation: "https://docs.bitfinex.com/reference/ws-public-ticker".to_owned(),
            origins: vec![stream::ORIGIN.to_owned()],
            values: vec![ValueKind::LastTrade],
            default_ids: vec!["tBTCUSD".to_owned(), "tETHUSD".to_owned()],
            settings_schema: include_str!("settings.json").to_owned(),
            buckets: vec![Bucket::new(Action::Connect, 20, 60_000, Scope::Origin)],
            websocket: Some(WebsocketLimits {
                ids_per_connection: Some(25),
                // Each channel has a heartbeat every 15 seconds.
                idle_timeout_ms: Some(40_000),
                acknowledges: true,
                ..WebsocketLimits::default()
            }),
            ..Description::default()
        }
    }

    fn configure(settings: &str) -> Result<(Self, ValueKind), SettingsError> {
        let plugin = Self {
            settings: settings::parse(settings)?,
            ids: Ids::new(str::to_owned),
            configured: false,
            extras: Extras::default(),
            gaps: Gaps::default(),
            channels: BTreeMap::new(),
            leaving: BTreeSet::new(),
        };
        Ok((plugin, ValueKind::LastTrade))
    }
}
