//! Coinbase Advanced Trade: the last price, streamed or polled.

mod poll;
mod stream;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use feedgate_sdk::{
    Action, Bucket, Description, HttpLimits, Ids, Key, Plugin, Rejection, Scope, SettingsError, Subscription,
    ValueKind, WebsocketLimits, settings,
};
use serde::Deserialize;

feedgate_sdk::provider!(Coinbase);

/// One connection or one poller.
pub(crate) struct Coinbase {
    /// By product, in capitals.
    ids: Ids,
    hears_heartbeats: bool,
    /// The number of the newest message, of whatever channel.
    newest: Option<u64>,
    /// Products that were asked for and neither confirmed nor refused.
    waiting: BTreeSet<String>,
    /// Products that are asked for one at a time because an error did not say whom it meant; the first one is under
    /// way.
    alone: VecDeque<String>,
    /// The trade that was last reported of each key by a poll.
    reported: BTreeMap<Key, String>,
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
            origins: vec![stream::ORIGIN.to_owned(), poll::ORIGIN.to_owned()],
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
                Bucket {
                    what: Action::Request,
                    count: 10,
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
            // A request an id: ten ids a second are what the venue allows.
            http: Some(HttpLimits { poll_interval_ms: 1_000, timeout_ms: 5_000, max_in_flight: 5 }),
            ..Description::default()
        }
    }

    fn configure(settings: &str) -> Result<(Self, ValueKind), SettingsError> {
        let Settings {} = settings::parse(settings)?;
        let plugin = Self {
            ids: Ids::new(str::to_uppercase),
            hears_heartbeats: false,
            newest: None,
            waiting: BTreeSet::new(),
            alone: VecDeque::new(),
            reported: BTreeMap::new(),
        };
        Ok((plugin, ValueKind::LastTrade))
    }
}

/// The ids that cannot be products. One of them would cost its whole message.
fn impossible(subscriptions: &[Subscription]) -> Vec<Rejection> {
    let possible = |id: &str| id.contains('-') && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    subscriptions
        .iter()
        .filter(|subscription| !possible(&subscription.id))
        .map(|subscription| Rejection::permanent(subscription.key, "not a product: write it like BTC-USD"))
        .collect()
}
