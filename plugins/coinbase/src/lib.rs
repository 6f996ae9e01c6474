//! Coinbase Advanced Trade: the last price, streamed or polled.

mod poll;
mod stream;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use feedgate_sdk::{
    Action, Bucket, Description, Error, Gaps, HttpLimits, Ids, Key, Plugin, Scope, SettingsError, Subscription,
    ValueKind, WebsocketLimits, check_ids, settings,
};

feedgate_sdk::provider!(Coinbase);

/// One connection or one poller.
pub(crate) struct Coinbase {
    /// By product, in capitals.
    ids: Ids,
    hears_heartbeats: bool,
    gaps: Gaps,
    /// Products that were asked for and neither confirmed nor refused.
    waiting: BTreeSet<String>,
    /// Products that are asked for one at a time because an error did not say whom it meant; the first one is under
    /// way.
    alone: VecDeque<String>,
    /// The trade that was last reported of each key by a poll.
    reported: BTreeMap<Key, String>,
}

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
            settings_schema: settings::NONE.to_owned(),
            buckets: vec![
                Bucket::new(Action::Connect, 8, 1_000, Scope::Origin),
                Bucket::new(Action::Send, 8, 1_000, Scope::Origin),
                Bucket::new(Action::Request, 10, 1_000, Scope::Origin),
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
        settings::none(settings)?;
        let plugin = Self {
            ids: Ids::new(str::to_uppercase),
            hears_heartbeats: false,
            gaps: Gaps::default(),
            waiting: BTreeSet::new(),
            alone: VecDeque::new(),
            reported: BTreeMap::new(),
        };
        Ok((plugin, ValueKind::LastTrade))
    }
}

/// Refuses ids that cannot be products. One of them would cost its whole message.
fn check(subscriptions: &[Subscription]) -> Result<(), Error> {
    let possible = |id: &str| id.contains('-') && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    check_ids(subscriptions, possible, "not a product: write it like BTC-USD")
}
