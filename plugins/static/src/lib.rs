//! Prices that stand in the settings: for tests of what reads them. No venue.

use std::collections::BTreeMap;

use feedgate_sdk::{
    Context, Description, Error, Http, HttpLimits, Ids, Key, Observation, Plugin, Response, SettingsError,
    Subscription, Timestamp, Value, ValueKind, check_ids, decimal,
    http::{Outcome, PlannedRequest, get},
    keys_of, settings,
};
use serde::Deserialize;

feedgate_sdk::http_provider!(Static);

/// One poller.
struct Static {
    /// By id.
    prices: BTreeMap<String, Value>,
    ids: Ids,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct Settings {
    /// As text, so that every digit stays.
    prices: BTreeMap<String, String>,
}

const KNOWN: [(&str, &str); 2] = [("BTC/USD", "65000.10"), ("ETH/USD", "3500.25")];

impl Plugin for Static {
    fn describe() -> Description {
        Description {
            name: env!("CARGO_PKG_NAME").to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            summary: "For tests: the prices that stand in the settings".to_owned(),
            documentation: "https://www.rfc-editor.org/rfc/rfc2397".to_owned(),
            values: vec![ValueKind::Other],
            default_ids: KNOWN.map(|(id, _)| id.to_owned()).to_vec(),
            settings_schema: include_str!("settings.json").to_owned(),
            http: Some(HttpLimits { poll_interval_ms: 1_000, timeout_ms: 1_000, max_in_flight: 1 }),
            ..Description::default()
        }
    }

    fn configure(settings: &str) -> Result<(Self, ValueKind), SettingsError> {
        let mut settings: Settings = settings::parse(settings)?;
        for (id, price) in KNOWN {
            settings.prices.entry(id.to_owned()).or_insert(price.to_owned());
        }
        let mut prices = BTreeMap::new();
        for (id, price) in settings.prices {
            let value = decimal(&price).map_err(|why| SettingsError::new(format!("prices.{id}"), why.to_string()))?;
            prices.insert(id, value);
        }
        Ok((Self { prices, ids: Ids::new(str::to_owned) }, ValueKind::Other))
    }
}

impl Http for Static {
    fn create_requests(&mut self, _: &Context, subscriptions: &[Subscription]) -> Result<Vec<PlannedRequest>, Error> {
        check_ids(subscriptions, |id| self.prices.contains_key(id), "no price in the setting `prices`")?;
        self.ids.add_all(subscriptions);
        // Answered by the host itself, with nothing.
        let keys = keys_of(subscriptions);
        Ok(vec![PlannedRequest { request: get("data:,"), keys }])
    }

    fn parse_response(&mut self, context: &Context, keys: &[Key], _: &Response) -> Result<Vec<Outcome>, Error> {
        // This plugin is the source of its values, so that its clock is the source's clock.
        let now = i64::try_from(context.now_ms).ok().map(Timestamp::Millis);
        let price = |&key: &Key| {
            let value = self.prices.get(self.ids.symbol(key)?)?.clone();
            Some(Outcome::Observed(Observation::new(key, value).at(now)))
        };
        Ok(keys.iter().filter_map(price).collect())
    }
}
