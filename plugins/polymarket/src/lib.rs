//! Polymarket: the midpoint of outcome tokens' order books, polled.

mod midpoints;

use feedgate_sdk::{
    Absences, Action, Bucket, Description, HttpLimits, Ids, Plugin, Scope, SettingsError, ValueKind, settings,
};

feedgate_sdk::http_provider!(Polymarket);

/// One poller.
struct Polymarket {
    /// By the token's number.
    ids: Ids,
    absences: Absences,
}

impl Plugin for Polymarket {
    fn describe() -> Description {
        Description {
            name: env!("CARGO_PKG_NAME").to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            summary: "Polymarket: half way between best bid and best ask of an outcome".to_owned(),
            documentation: "https://docs.polymarket.com/api-reference/market-data/get-midpoint-prices-request-body"
                .to_owned(),
            origins: vec![midpoints::ORIGIN.to_owned()],
            values: vec![ValueKind::Mid],
            // Examples of the venue's documentation. Markets end, so an operator names his own.
            default_ids: vec![
                "71321045679252212594626385532706912750332728571942532289631379312455583992563".to_owned(),
                "52114319501245915516055106046884209969926127482827954674443846427813813222426".to_owned(),
            ],
            settings_schema: settings::NONE.to_owned(),
            buckets: vec![Bucket::new(Action::Request, 500, 10_000, Scope::Origin)],
            http: Some(HttpLimits { poll_interval_ms: 1_000, timeout_ms: 5_000, max_in_flight: 4 }),
            ..Description::default()
        }
    }

    fn configure(settings: &str) -> Result<(Self, ValueKind), SettingsError> {
        settings::none(settings)?;
        Ok((Self { ids: Ids::new(midpoints::token), absences: Absences::default() }, ValueKind::Mid))
    }
}
