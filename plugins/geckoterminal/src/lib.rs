//! GeckoTerminal: prices of tokens by their contracts, from decentralised exchanges, polled.

mod prices;

use feedgate_sdk::{
    Absences, Action, Bucket, Description, HttpLimits, Ids, Plugin, Scope, SettingsError, ValueKind, settings,
};

feedgate_sdk::http_provider!(GeckoTerminal);

/// One poller.
struct GeckoTerminal {
    /// By `network/address`.
    ids: Ids,
    absences: Absences,
}

impl Plugin for GeckoTerminal {
    fn describe() -> Description {
        Description {
            name: env!("CARGO_PKG_NAME").to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            summary: "GeckoTerminal: dollar prices of tokens from their pools".to_owned(),
            documentation: "https://apiguide.geckoterminal.com".to_owned(),
            origins: vec![prices::ORIGIN.to_owned()],
            values: vec![ValueKind::Index],
            // Wrapped Ether and wrapped Bitcoin on Ethereum.
            default_ids: vec![
                "eth/0xc02aaa39b223fe8d0a0e5c4f27ead9083c756cc2".to_owned(),
                "eth/0x2260fac5e5542a773aa44fbcfedf7c193bc2c599".to_owned(),
            ],
            settings_schema: settings::NONE.to_owned(),
            buckets: vec![Bucket::new(Action::Request, 30, 60_000, Scope::Origin)],
            http: Some(HttpLimits { poll_interval_ms: 10_000, timeout_ms: 10_000, max_in_flight: 2 }),
            ..Description::default()
        }
    }

    fn configure(settings: &str) -> Result<(Self, ValueKind), SettingsError> {
        settings::none(settings)?;
        Ok((Self { ids: Ids::new(prices::spell), absences: Absences::default() }, ValueKind::Index))
    }
}
