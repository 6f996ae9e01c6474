//! CoinGecko: prices of coins, averaged over venues, polled.

mod prices;

use feedgate_sdk::{
    Absences, Action, Bucket, Description, HttpLimits, Ids, Plugin, Scope, Secret, SettingsError, ValueKind, settings,
};
use serde::Deserialize;

feedgate_sdk::http_provider!(CoinGecko);

/// One poller.
struct CoinGecko {
    settings: Settings,
    /// By the coin's id, as it is.
    ids: Ids,
    /// What the answers so far say of each id.
    absences: Absences,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Settings {
    plan: Plan,
    currency: String,
}

impl Default for Settings {
    fn default() -> Self {
        Self { plan: Plan::Public, currency: "usd".to_owned() }
    }
}

/// Which access the operator has.
#[derive(Deserialize, Clone, Copy)]
#[serde(rename_all = "lowercase")]
enum Plan {
    Public,
    Demo,
    Pro,
}

impl Plugin for CoinGecko {
    fn describe() -> Description {
        Description {
            name: env!("CARGO_PKG_NAME").to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            summary: "CoinGecko: prices averaged over venues".to_owned(),
            documentation: "https://docs.coingecko.com/reference/simple-price".to_owned(),
            origins: vec![prices::PUBLIC.to_owned(), prices::PRO.to_owned()],
            values: vec![ValueKind::Index],
            default_ids: vec!["bitcoin".to_owned(), "ethereum".to_owned()],
            settings_schema: include_str!("settings.json").to_owned(),
            secrets: vec![Secret {
                name: "api_key".to_owned(),
                purpose: "The key of a demo or pro plan, from CoinGecko's developer dashboard".to_owned(),
                required: false,
            }],
            buckets: vec![Bucket::new(Action::Request, 30, 60_000, Scope::Origin)],
            // The quickest plan has new prices every 20 seconds; the public one, each minute.
            http: Some(HttpLimits { poll_interval_ms: 20_000, timeout_ms: 10_000, max_in_flight: 2 }),
            ..Description::default()
        }
    }

    fn configure(settings: &str) -> Result<(Self, ValueKind), SettingsError> {
        let settings: Settings = settings::parse(settings)?;
        let lower = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        if settings.currency.is_empty() || !settings.currency.bytes().all(lower) {
            return Err(SettingsError::new("currency", "one currency in small letters, like `usd`"));
        }
        let plugin = Self { settings, ids: Ids::new(str::to_owned), absences: Absences::default() };
        Ok((plugin, ValueKind::Index))
    }
}
