//! Bitstamp: the last price, streamed as trades or polled for all markets at once.

mod poll;
mod stream;

use feedgate_sdk::{
    Absences, Action, Bucket, Description, Error, Heartbeat, HeartbeatWhen, HttpLimits, Ids, Plugin, Scope,
    SettingsError, Subscription, ValueKind, WebsocketLimits, check_ids, settings,
};

use self::stream::Answers;

feedgate_sdk::provider!(Bitstamp);

/// One connection or one poller.
struct Bitstamp {
    /// By the market as channels and URLs have it: `btcusd`.
    ids: Ids,
    answers: Answers,
    absences: Absences,
}

impl Plugin for Bitstamp {
    fn describe() -> Description {
        Description {
            name: env!("CARGO_PKG_NAME").to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            summary: "Bitstamp: the last price".to_owned(),
            documentation: "https://www.bitstamp.net/websocket/v2/".to_owned(),
            origins: vec![stream::ORIGIN.to_owned(), poll::ORIGIN.to_owned()],
            values: vec![ValueKind::LastTrade],
            default_ids: vec!["BTC/USD".to_owned(), "ETH/USD".to_owned()],
            settings_schema: settings::NONE.to_owned(),
            // 10,000 requests in 10 minutes: four fifths are left to others.
            buckets: vec![Bucket::new(Action::Request, 2_000, 600_000, Scope::Origin)],
            websocket: Some(WebsocketLimits {
                // 1024 channels are allowed; fewer make a lost connection hurt less.
                ids_per_connection: Some(200),
                // Every market is a message of its own.
                ids_per_message: Some(100),
                heartbeat: Some(Heartbeat { interval_ms: 20_000, when: HeartbeatWhen::Idle }),
                // Quiet markets trade once in minutes, but each heartbeat is answered.
                idle_timeout_ms: Some(60_000),
                // The venue cuts after 90 days, and this field ends at 49.
                max_age_ms: Some(30 * 24 * 60 * 60 * 1_000),
                acknowledges: true,
                ..WebsocketLimits::default()
            }),
            http: Some(HttpLimits { poll_interval_ms: 3_000, timeout_ms: 5_000, max_in_flight: 1 }),
            ..Description::default()
        }
    }

    fn configure(settings: &str) -> Result<(Self, ValueKind), SettingsError> {
        settings::none(settings)?;
        let plugin = Self { ids: Ids::new(market), answers: Answers::default(), absences: Absences::default() };
        Ok((plugin, ValueKind::LastTrade))
    }
}

/// The market of a name: `btcusd` of `BTC/USD`, `btcusd-perp` of `BTC/USD-PERP`.
fn market(name: &str) -> String {
    name.to_lowercase().replace('/', "")
}

/// Refuses ids that cannot be markets. The venue's refusals name none, so that these had better not be asked for.
fn check(subscriptions: &[Subscription]) -> Result<(), Error> {
    let possible = |id: &str| {
        (4..=40).contains(&id.len())
            && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/-".contains(&byte))
            && id.bytes().filter(|byte| *byte == b'/').count() <= 1
    };
    check_ids(subscriptions, possible, "not a market: write it like BTC/USD or btcusd")
}
