//! dYdX: the oracle's price of perpetual markets, polled.

mod markets;

use feedgate_sdk::{
    Absences, Action, Bucket, Description, HttpLimits, Ids, Plugin, Scope, SettingsError, ValueKind, settings,
};

feedgate_sdk::http_provider!(Dydx);

/// One poller.
struct Dydx {
    /// By the ticker as payloads have it.
    ids: Ids,
    absences: Absences,
}

impl Plugin for Dydx {
    fn describe() -> Description {
        Description {
            name: env!("CARGO_PKG_NAME").to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            summary: "dYdX: the price that the chain's oracle has of a perpetual market".to_owned(),
            documentation: "https://docs.dydx.exchange/api_integration-indexer/indexer_api".to_owned(),
            origins: vec![markets::ORIGIN.to_owned()],
            values: vec![ValueKind::Index],
            default_ids: vec!["BTC-USD".to_owned(), "ETH-USD".to_owned()],
            settings_schema: settings::NONE.to_owned(),
            buckets: vec![Bucket::new(Action::Request, 100, 10_000, Scope::Origin)],
            // A block, and with it a new price, comes each second or so.
            http: Some(HttpLimits { poll_interval_ms: 2_000, timeout_ms: 5_000, max_in_flight: 1 }),
            ..Description::default()
        }
    }

    fn configure(settings: &str) -> Result<(Self, ValueKind), SettingsError> {
        settings::none(settings)?;
        Ok((Self { ids: Ids::new(markets::spell), absences: Absences::default() }, ValueKind::Index))
    }
}
