//! CoinMarketCap: prices of coins, averaged over venues, polled.

mod quotes;

use feedgate_sdk::{
    Absences, Action, Bucket, Description, HttpLimits, Ids, Plugin, Scope, Secret, SettingsError, ValueKind, settings,
};
use serde::Deserialize;

feedgate_sdk::http_provider!(CoinMarketCap);

/// One poller.
struct CoinMarketCap {
    settings: Settings,
    /// By the venue's number of a coin, as it is.
    ids: Ids,
    absences: Absences,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Settings {
    convert: String,
}

impl Default for Settings {
    fn default() -> Self {
        Self { convert: "USD".to_owned() }
    }
}

impl Plugin for CoinMarketCap {
    fn describe() -> Description {
        Description {
            name: env!("CARGO_PKG_NAME").to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            summary: "CoinMarketCap: prices averaged over venues".to_owned(),
            documentation: "https://coinmarketcap.com/api/documentation/v1/#operation/getV2CryptocurrencyQuotesLatest"
                .to_owned(),
            origins: vec![quotes::ORIGIN.to_owned()],
            values: vec![ValueKind::Index],
            // Bitcoin and Ether.
            default_ids: vec!["1".to_owned(), "1027".to_owned()],
            settings_schema: include_str!("settings.json").to_owned(),
            secrets: vec![Secret {
                name: "api_key".to_owned(),
                purpose: "The key of any plan, from CoinMarketCap's developer portal".to_owned(),
                required: true,
            }],
            buckets: vec![Bucket::new(Action::Request, 30, 60_000, Scope::Origin)],
            // New prices come each minute.
            http: Some(HttpLimits { poll_interval_ms: 60_000, timeout_ms: 10_000, max_in_flight: 2 }),
            ..Description::default()
        }
    }

    fn configure(settings: &str) -> Result<(Self, ValueKind), SettingsError> {
        let settings: Settings = settings::parse(settings)?;
        let upper = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit();
        if settings.convert.is_empty() || !settings.convert.bytes().all(upper) {
            return Err(SettingsError::new("convert", "one currency in capitals, like `USD`"));
        }
        let plugin = Self { settings, ids: Ids::new(str::to_owned), absences: Absences::default() };
        Ok((plugin, ValueKind::Index))
    }
}
