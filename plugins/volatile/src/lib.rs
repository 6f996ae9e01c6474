//! Prices that go up and down with the time: for tests of what reads them. No venue.

mod wave;

use feedgate_sdk::{
    Context, Description, Error, Http, HttpLimits, Ids, Key, Observation, Plugin, Response, SettingsError,
    Subscription, Timestamp, ValueKind,
    http::{Outcome, PlannedRequest, get},
    keys_of, settings,
};
use serde::Deserialize;

use self::wave::Wave;

feedgate_sdk::http_provider!(Volatile);

/// One poller.
struct Volatile {
    wave: Wave,
    ids: Ids,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Settings {
    /// As text, so that every digit stays.
    base: String,
    amplitude: String,
    period_ms: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self { base: "100.00".to_owned(), amplitude: "10.00".to_owned(), period_ms: 60_000 }
    }
}

impl Plugin for Volatile {
    fn describe() -> Description {
        Description {
            name: env!("CARGO_PKG_NAME").to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            summary: "For tests: prices that go up and down with the time".to_owned(),
            documentation: "https://www.rfc-editor.org/rfc/rfc2397".to_owned(),
            values: vec![ValueKind::Other],
            default_ids: vec!["BTC/USD".to_owned(), "ETH/USD".to_owned()],
            settings_schema: include_str!("settings.json").to_owned(),
            http: Some(HttpLimits { poll_interval_ms: 1_000, timeout_ms: 1_000, max_in_flight: 1 }),
            ..Description::default()
        }
    }

    fn configure(settings: &str) -> Result<(Self, ValueKind), SettingsError> {
        let Settings { base, amplitude, period_ms } = settings::parse(settings)?;
        let wave = Wave::new(&base, &amplitude, period_ms).map_err(|(field, why)| SettingsError::new(field, why))?;
        Ok((Self { wave, ids: Ids::new(str::to_owned) }, ValueKind::Other))
    }
}

impl Http for Volatile {
    fn create_requests(&mut self, _: &Context, subscriptions: &[Subscription]) -> Result<Vec<PlannedRequest>, Error> {
        self.ids.add_all(subscriptions);
        // Answered by the host itself, with nothing.
        let keys = keys_of(subscriptions);
        Ok(vec![PlannedRequest { request: get("data:,"), keys }])
    }

    fn parse_response(&mut self, context: &Context, keys: &[Key], _: &Response) -> Result<Vec<Outcome>, Error> {
        // This plugin is the source of its values, so that its clock is the source's clock.
        let now = i64::try_from(context.now_ms).ok().map(Timestamp::Millis);
        let price = |&key: &Key| {
            let value = self.wave.at(context.now_ms, self.ids.symbol(key)?);
            Some(Outcome::Observed(Observation::new(key, value).at(now)))
        };
        Ok(keys.iter().filter_map(price).collect())
    }
}
