//! Binance spot: last price or mid, streamed or polled.

mod poll;
mod stream;

use feedgate_sdk::{
    Action, Batches, Bucket, Description, Error, HttpLimits, Ids, Mirror, Plugin, Scope, SettingsError, Subscription,
    ValueKind, WebsocketLimits, check_ids, settings,
};
use serde::Deserialize;

use self::stream::Requests;

feedgate_sdk::provider!(Binance);

/// One connection or one poller.
pub(crate) struct Binance {
    price: Price,
    /// By the symbol in capitals, as all payloads have it.
    ids: Ids,
    requests: Requests,
    batches: Batches,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct Settings {
    price: Price,
}

/// Which price.
#[derive(Deserialize, Default, Clone, Copy, PartialEq)]
#[serde(rename_all = "lowercase")]
enum Price {
    #[default]
    Last,
    Mid,
}

impl Plugin for Binance {
    fn describe() -> Description {
        Description {
            name: env!("CARGO_PKG_NAME").to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            summary: "Binance spot: the last price, or half way between best bid and best ask".to_owned(),
            documentation: "https://developers.binance.com/docs/binance-spot-api-docs".to_owned(),
            origins: vec![stream::ORIGIN.to_owned(), poll::ORIGIN.to_owned()],
            mirrors: vec![Mirror::new(stream::ORIGIN, &stream::MIRRORS), Mirror::new(poll::ORIGIN, &poll::MIRRORS)],
            values: vec![ValueKind::LastTrade, ValueKind::Mid],
            default_ids: vec!["BTCUSDT".to_owned(), "ETHUSDT".to_owned()],
            settings_schema: include_str!("settings.json").to_owned(),
            buckets: vec![
                Bucket::new(Action::Connect, 300, 300_000, Scope::Origin),
                Bucket { counts_control_frames: true, ..Bucket::new(Action::Send, 5, 1_000, Scope::Connection) },
                // 6000 weight a minute for the address, at 4 a request: a third is left to others.
                Bucket::new(Action::Request, 1_000, 60_000, Scope::Origin),
            ],
            websocket: Some(WebsocketLimits {
                // 1024 are allowed; fewer make a lost connection hurt less.
                ids_per_connection: Some(200),
                ids_per_message: Some(100),
                // The venue pings every 20 seconds.
                idle_timeout_ms: Some(60_000),
                max_age_ms: Some(24 * 60 * 60 * 1_000),
                acknowledges: true,
                ..WebsocketLimits::default()
            }),
            http: Some(HttpLimits { poll_interval_ms: 1_000, timeout_ms: 5_000, max_in_flight: 4 }),
            ..Description::default()
        }
    }

    fn configure(settings: &str) -> Result<(Self, ValueKind), SettingsError> {
        let Settings { price } = settings::parse(settings)?;
        let kind = match price {
            Price::Last => ValueKind::LastTrade,
            Price::Mid => ValueKind::Mid,
        };
        let ids = Ids::new(str::to_uppercase);
        let plugin = Self { price, ids, requests: Requests::default(), batches: Batches::default() };
        Ok((plugin, kind))
    }
}

/// Refuses ids that cannot be symbols. One of them would cost its whole message or request.
fn check(subscriptions: &[Subscription]) -> Result<(), Error> {
    // Not only ASCII: there are symbols in Chinese.
    let possible = |id: &str| {
        (1..=50).contains(&id.chars().count())
            && id.chars().all(|character| character.is_alphanumeric() || "-_.".contains(character))
    };
    check_ids(subscriptions, possible, "not a symbol: write it like BTCUSDT")
}
