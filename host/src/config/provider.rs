//! One provider's section, or the `NAME.toml` beside its plugin.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use super::name::check_name;
use super::secret::{RawSecret, SecretSource};
use super::source::{ConfigError, Source, read};
use crate::access::proxy::Proxy;
use crate::contract::description::{Bucket, Limited, Scope};
use crate::contract::limits::DialLimits;
use crate::contract::observation::PlausibleTimes;
use crate::contract::origin::Origin;
use crate::logic::backoff::BackoffConfig;
use crate::logic::rotation::Window;

/// One provider.
#[derive(Clone, PartialEq, Debug)]
pub struct ProviderConfig {
    /// The plugin's file, without `.wasm`.
    pub plugin: String,
    pub enabled: bool,
    /// Empty: WebSocket where the plugin has it, HTTP where not.
    pub transports: Vec<Transport>,
    /// Empty: the plugin's default ids.
    pub ids: Vec<String>,
    /// `None`: a minute, or three polls where that is longer.
    pub max_age: Option<Duration>,
    pub max_age_by_id: BTreeMap<String, Duration>,
    /// As JSON, for `configure`.
    pub settings: String,
    pub secrets: BTreeMap<String, SecretSource>,
    pub allow_origins: Vec<Origin>,
    pub redirect_origins: Vec<(Origin, Origin)>,
    /// In place of those that the plugin describes, by origin.
    pub mirrors: Vec<(Origin, Vec<Origin>)>,
    /// Beside those that the plugin describes.
    pub limits: Vec<Bucket>,
    /// How long to stay away from a venue that refuses us (401, 403, 418, 451), where it does not say.
    pub refused_wait: Duration,
    pub loosen_limits: bool,
    pub plausible: PlausibleTimes,
    pub http: HttpConfig,
    pub websocket: WebSocketConfig,
    pub network: NetworkConfig,
}

#[derive(Copy, Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    Websocket,
    Http,
}

/// `None`: what the plugin describes.
#[derive(Clone, PartialEq, Debug)]
pub struct HttpConfig {
    pub poll_interval: Option<Duration>,
    pub timeout: Option<Duration>,
    pub max_in_flight: Option<NonZeroU32>,
    /// `None`: no request is sent twice.
    pub hedge_after: Option<Duration>,
    pub max_body: usize,
    pub backoff: BackoffConfig,
}

/// `None`: what the plugin describes.
#[derive(Clone, PartialEq, Debug)]
pub struct WebSocketConfig {
    pub ids_per_connection: Option<NonZeroU32>,
    /// From the first step to the open connection, requests before it included.
    pub connect_timeout: Duration,
    pub dial: DialLimits,
    /// Between two attempts to revive ids that are silent on a connection that lives.
    pub revive_gap: Duration,
    /// `None`: a market may be quiet for ever.
    pub first_data_timeout: Option<Duration>,
    pub idle_timeout: Option<Duration>,
    pub write_timeout: Duration,
    pub ack_timeout: Duration,
    pub max_age: Option<Duration>,
    /// When in the day connections that grow too old are replaced.
    pub rotate_between: Option<Window>,
    pub max_message: usize,
    pub backoff: BackoffConfig,
}

/// How the provider gets out, for both transports.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct NetworkConfig {
    /// `None`: directly. Otherwise the proxy looks names up, so addresses cannot be checked.
    pub proxy: Option<Proxy>,
    /// Trusted instead of the system's roots.
    pub ca_file: Option<PathBuf>,
    /// The certificates to show, and their key.
    pub client_cert: Option<(PathBuf, PathBuf)>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawProvider {
    plugin: Option<String>,
    enabled: bool,
    transports: Vec<Transport>,
    ids: Vec<String>,
    max_age_ms: Option<u64>,
    max_age_ms_by_id: BTreeMap<String, u64>,
    settings: toml::Table,
    secrets: BTreeMap<String, RawSecret>,
    allow_origins: Vec<String>,
    redirect_origins: BTreeMap<String, String>,
    mirrors: BTreeMap<String, Vec<String>>,
    limits: Vec<RawLimit>,
    refused_wait_ms: Option<u64>,
    loosen_limits: bool,
    max_past_s: Option<u64>,
    max_future_s: Option<u64>,
    http: RawHttp,
    websocket: RawWebSocket,
    network: RawNetwork,
}

impl Default for RawProvider {
    fn default() -> Self {
        Self {
            plugin: None,
            enabled: true,
            transports: Vec::new(),
            ids: Vec::new(),
            max_age_ms: None,
            max_age_ms_by_id: BTreeMap::new(),
            settings: toml::Table::new(),
            secrets: BTreeMap::new(),
            allow_origins: Vec::new(),
            redirect_origins: BTreeMap::new(),
            mirrors: BTreeMap::new(),
            limits: Vec::new(),
            refused_wait_ms: None,
            loosen_limits: false,
            max_past_s: None,
            max_future_s: None,
            http: RawHttp::default(),
            websocket: RawWebSocket::default(),
            network: RawNetwork::default(),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawLimit {
    what: RawLimited,
    count: u32,
    per_ms: u64,
    #[serde(default)]
    scope: RawScope,
    #[serde(default)]
    counts_control_frames: bool,
}

#[derive(Deserialize, Copy, Clone)]
#[serde(rename_all = "lowercase")]
enum RawLimited {
    Connect,
    Send,
    Subscribe,
    Request,
}

#[derive(Deserialize, Default, Copy, Clone)]
#[serde(rename_all = "lowercase")]
enum RawScope {
    Connection,
    #[default]
    Origin,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct RawHttp {
    poll_interval_ms: Option<u64>,
    timeout_ms: Option<u64>,
    max_in_flight: Option<u32>,
    hedge_after_ms: Option<u64>,
    max_body_kib: Option<u32>,
    backoff_first_ms: Option<u64>,
    backoff_max_ms: Option<u64>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct RawWebSocket {
    ids_per_connection: Option<u32>,
    connect_timeout_ms: Option<u64>,
    tcp_timeout_ms: Option<u64>,
    tls_timeout_ms: Option<u64>,
    handshake_timeout_ms: Option<u64>,
    first_data_timeout_ms: Option<u64>,
    revive_gap_ms: Option<u64>,
    rotate_between: Option<String>,
    idle_timeout_ms: Option<u64>,
    write_timeout_ms: Option<u64>,
    ack_timeout_ms: Option<u64>,
    max_connection_age_ms: Option<u64>,
    max_message_kib: Option<u32>,
    backoff_first_ms: Option<u64>,
    backoff_max_ms: Option<u64>,
    backoff_reset_after_ms: Option<u64>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct RawNetwork {
    proxy: Option<String>,
    ca_file: Option<PathBuf>,
    client_cert_file: Option<PathBuf>,
    client_key_file: Option<PathBuf>,
}

impl ProviderConfig {
    /// Whether nothing but ids and their ages is different, which no connection needs to be replaced for.
    pub fn differs_in_ids_only(&self, other: &Self) -> bool {
        self.differences(other).iter().all(|what| *what == "ids")
    }

    /// What is different, in words.
    pub fn differences(&self, other: &Self) -> Vec<&'static str> {
        let Self { plugin, enabled, transports, ids, max_age, max_age_by_id, settings, secrets, .. } = self;
        let origins =
            |config: &Self| (config.allow_origins.clone(), config.redirect_origins.clone(), config.mirrors.clone());
        let ages = |config: &Self| (config.max_age, config.max_age_by_id.clone());
        let limits = |config: &Self| (config.limits.clone(), config.loosen_limits, config.refused_wait);
        let all = [
            ("plugin", *plugin == other.plugin),
            ("enabled", *enabled == other.enabled),
            ("transports", *transports == other.transports),
            ("ids", *ids == other.ids && (*max_age, max_age_by_id.clone()) == ages(other)),
            ("settings", *settings == other.settings),
            ("secrets", *secrets == other.secrets),
            ("origins", origins(self) == origins(other)),
            ("limits", limits(self) == limits(other)),
            ("plausible times", self.plausible == other.plausible),
            ("http", self.http == other.http),
            ("websocket", self.websocket == other.websocket),
            ("network", self.network == other.network),
        ];
        all.into_iter().filter(|(_, same)| !same).map(|(what, _)| what).collect()
    }

    /// Reads and checks the `NAME.toml` beside `NAME.wasm`: what would stand in the section `[provider.NAME]`.
    pub fn load(path: &Path, name: &str) -> Result<Self, ConfigError> {
        // What a refusal says may quote the file.
        crate::builds::directory::inside(path).map_err(|e| ConfigError {
            path: path.to_owned(),
            line: None,
            field: String::new(),
            why: format!("cannot be read: {e}"),
        })?;
        Self::parse(&read(path)?, path, name)
    }

    /// As [`ProviderConfig::load`], for text that is at hand.
    pub fn parse(text: &str, path: &Path, name: &str) -> Result<Self, ConfigError> {
        let source = Source { path, text };
        check_name(name).map_err(|why| source.invalid("", why))?;
        let base = path.parent().unwrap_or(Path::new("."));
        provider(&source, "", base, name, source.parse()?)
    }
}

pub(super) fn provider(
    source: &Source<'_>,
    prefix: &str,
    base: &Path,
    name: &str,
    raw: RawProvider,
) -> Result<ProviderConfig, ConfigError> {
    let invalid = |field: &str, why: String| source.invalid(&format!("{prefix}{field}"), why);
    let positive = |field: &str, value: Option<u64>| match value {
        Some(0) => Err(invalid(field, "must be at least 1".to_owned())),
        value => Ok(value.map(Duration::from_millis)),
    };
    let count = |field: &str, value: Option<u32>| match value {
        Some(0) => Err(invalid(field, "must be at least 1; leave it out for no limit of your own".to_owned())),
        value => Ok(value.and_then(NonZeroU32::new)),
    };
    let origin = |field: &str, text: &str| Origin::parse(text).map_err(|e| invalid(field, e.to_string()));
    let backoff = |field: &str, first: Option<u64>, max: Option<u64>, reset: Option<u64>| {
        let (first, max, reset) = (first.unwrap_or(1_000), max.unwrap_or(64_000), reset.unwrap_or(60_000));
        let millis = Duration::from_millis;
        BackoffConfig::new(millis(first), millis(max), millis(reset)).map_err(|why| invalid(field, why.to_owned()))
    };

    let plugin = raw.plugin.unwrap_or_else(|| name.to_owned());
    check_name(&plugin).map_err(|_| {
        invalid("plugin", format!("{plugin:?} is not the name of a file in plugins_dir, without .wasm"))
    })?;
    let mut seen = std::collections::HashSet::new();
    for id in &raw.ids {
        if id.is_empty() || id.len() > 256 || id.chars().any(char::is_control) {
            return Err(invalid("ids", format!("{id:?} is not an id (1 to 256 characters, none of them control)")));
        }
        if !seen.insert(id) {
            return Err(invalid("ids", format!("{id:?} is there twice")));
        }
    }
    for id in raw.max_age_ms_by_id.keys() {
        if !raw.ids.is_empty() && !seen.contains(id) {
            return Err(invalid("max_age_ms_by_id", format!("{id:?} is not among the ids")));
        }
    }
    let max_age = positive("max_age_ms", raw.max_age_ms)?;
    let max_age_by_id = raw
        .max_age_ms_by_id
        .into_iter()
        .map(|(id, ms)| match positive("max_age_ms_by_id", Some(ms))? {
            Some(age) => Ok((id, age)),
            None => Ok((id, Duration::from_millis(ms))),
        })
        .collect::<Result<_, ConfigError>>()?;
    let mut transports = raw.transports;
    transports.dedup();
    let secrets = raw
        .secrets
        .into_iter()
        .map(|(name, raw)| match raw.source(base) {
            Ok(source) => Ok((name, source)),
            Err(why) => Err(invalid(&format!("secrets.{name}"), why)),
        })
        .collect::<Result<_, _>>()?;
    let allow_origins = raw.allow_origins.iter().map(|text| origin("allow_origins", text)).collect::<Result<_, _>>()?;
    let redirect_origins = raw
        .redirect_origins
        .iter()
        .map(|(from, to)| {
            let (from, to) = (origin("redirect_origins", from)?, origin("redirect_origins", to)?);
            if from.scheme().is_http() != to.scheme().is_http() {
                return Err(invalid("redirect_origins", format!("{from} and {to} are not the same transport")));
            }
            Ok((from, to))
        })
        .collect::<Result<_, _>>()?;
    let mirrors = raw
        .mirrors
        .iter()
        .map(|(of, instead)| {
            let of = origin("mirrors", of)?;
            let instead = instead.iter().map(|text| origin("mirrors", text)).collect::<Result<Vec<_>, _>>()?;
            match instead.iter().find(|instead| instead.scheme().is_http() != of.scheme().is_http()) {
                Some(other) => Err(invalid("mirrors", format!("{of} and {other} are not the same transport"))),
                None => Ok((of, instead)),
            }
        })
        .collect::<Result<_, _>>()?;
    let limits = raw.limits.iter().map(|limit| bucket(limit).map_err(|why| invalid("limits", why)));
    let limits = limits.collect::<Result<_, _>>()?;
    let rotate_between = raw.websocket.rotate_between.as_deref().map(|text| {
        window(text).ok_or_else(|| {
            invalid("websocket.rotate_between", format!("{text:?} is not a time of day in UTC like \"02:00-04:30\""))
        })
    });
    let proxy =
        raw.network.proxy.map(|text| Proxy::parse(&text).map_err(|why| invalid("network.proxy", why.to_owned())));
    let client_cert = match (raw.network.client_cert_file, raw.network.client_key_file) {
        (Some(certificate), Some(key)) => Some((base.join(certificate), base.join(key))),
        (None, None) => None,
        (Some(_), None) => {
            return Err(invalid("network.client_cert_file", "wants client_key_file beside it".to_owned()));
        }
        (None, Some(_)) => {
            return Err(invalid("network.client_key_file", "wants client_cert_file beside it".to_owned()));
        }
    };
    let network = NetworkConfig {
        proxy: proxy.transpose()?,
        ca_file: raw.network.ca_file.map(|path| base.join(path)),
        client_cert,
    };
    let plausible = PlausibleTimes::default();
    let plausible = PlausibleTimes {
        past: raw.max_past_s.map_or(plausible.past, Duration::from_secs),
        future: raw.max_future_s.map_or(plausible.future, Duration::from_secs),
    };
    let settings = serde_json::to_string(&raw.settings).map_err(|e| invalid("settings", e.to_string()))?;
    let kib = |value: Option<u32>, default: u32| (value.unwrap_or(default) as usize) << 10;
    Ok(ProviderConfig {
        plugin,
        enabled: raw.enabled,
        transports,
        ids: raw.ids,
        max_age,
        max_age_by_id,
        settings,
        secrets,
        allow_origins,
        redirect_origins,
        mirrors,
        limits,
        refused_wait: Duration::from_millis(raw.refused_wait_ms.unwrap_or(300_000)),
        loosen_limits: raw.loosen_limits,
        plausible,
        network,
        http: HttpConfig {
            poll_interval: positive("http.poll_interval_ms", raw.http.poll_interval_ms)?,
            timeout: positive("http.timeout_ms", raw.http.timeout_ms)?,
            max_in_flight: count("http.max_in_flight", raw.http.max_in_flight)?,
            hedge_after: positive("http.hedge_after_ms", raw.http.hedge_after_ms)?,
            max_body: kib(raw.http.max_body_kib, 8 << 10),
            backoff: backoff("http.backoff_first_ms", raw.http.backoff_first_ms, raw.http.backoff_max_ms, None)?,
        },
        websocket: WebSocketConfig {
            ids_per_connection: count("websocket.ids_per_connection", raw.websocket.ids_per_connection)?,
            connect_timeout: positive("websocket.connect_timeout_ms", raw.websocket.connect_timeout_ms)?
                .unwrap_or(Duration::from_secs(30)),
            dial: DialLimits {
                tcp: positive("websocket.tcp_timeout_ms", raw.websocket.tcp_timeout_ms)?
                    .unwrap_or(Duration::from_secs(5)),
                tls: positive("websocket.tls_timeout_ms", raw.websocket.tls_timeout_ms)?
                    .unwrap_or(Duration::from_secs(5)),
                handshake: positive("websocket.handshake_timeout_ms", raw.websocket.handshake_timeout_ms)?
                    .unwrap_or(Duration::from_secs(10)),
            },
            revive_gap: positive("websocket.revive_gap_ms", raw.websocket.revive_gap_ms)?
                .unwrap_or(Duration::from_secs(30)),
            first_data_timeout: positive("websocket.first_data_timeout_ms", raw.websocket.first_data_timeout_ms)?,
            rotate_between: rotate_between.transpose()?,
            idle_timeout: positive("websocket.idle_timeout_ms", raw.websocket.idle_timeout_ms)?,
            write_timeout: positive("websocket.write_timeout_ms", raw.websocket.write_timeout_ms)?
                .unwrap_or(Duration::from_secs(10)),
            ack_timeout: positive("websocket.ack_timeout_ms", raw.websocket.ack_timeout_ms)?
                .unwrap_or(Duration::from_secs(10)),
            max_age: positive("websocket.max_connection_age_ms", raw.websocket.max_connection_age_ms)?,
            max_message: kib(raw.websocket.max_message_kib, 4 << 10),
            backoff: backoff(
                "websocket.backoff_first_ms",
                raw.websocket.backoff_first_ms,
                raw.websocket.backoff_max_ms,
                raw.websocket.backoff_reset_after_ms,
            )?,
        },
    })
}

fn bucket(raw: &RawLimit) -> Result<Bucket, String> {
    let count = NonZeroU32::new(raw.count).ok_or("count must be at least 1")?;
    if raw.per_ms == 0 {
        return Err("per_ms must be at least 1".to_owned());
    }
    Ok(Bucket {
        what: match raw.what {
            RawLimited::Connect => Limited::Connect,
            RawLimited::Send => Limited::Send,
            RawLimited::Subscribe => Limited::Subscribe,
            RawLimited::Request => Limited::Request,
        },
        count,
        per: Duration::from_millis(raw.per_ms),
        scope: match raw.scope {
            RawScope::Connection => Scope::Connection,
            RawScope::Origin => Scope::Origin,
        },
        counts_control_frames: raw.counts_control_frames,
    })
}

/// `02:00-04:30`, the end not part of it; the same time twice is the whole day.
fn window(text: &str) -> Option<Window> {
    let minutes = |text: &str| {
        let (hours, minutes) = text.split_once(':')?;
        let number = |text: &str, below: u64| {
            let digits = text.len() == 2 && text.bytes().all(|b| b.is_ascii_digit());
            text.parse().ok().filter(|number: &u64| digits && *number < below)
        };
        Some(number(hours, 24)? * 60 + number(minutes, 60)?)
    };
    const DAY: u64 = 24 * 60;
    let (start, end) = text.split_once('-')?;
    let (start, end) = (minutes(start.trim())?, minutes(end.trim())?);
    let length = match (end + DAY - start) % DAY {
        0 => DAY,
        length => length,
    };
    Some(Window { start: Duration::from_secs(start * 60), length: Duration::from_secs(length * 60) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_is_read_in_utc_and_may_span_midnight() {
        for (text, expected) in [
            ("02:00-04:30", Some((120, 150))),
            ("23:30 - 00:30", Some((1_410, 60))),
            ("05:00-05:00", Some((300, 1_440))),
            ("24:00-01:00", None),
            ("+2:00-03:00", None),
            ("02:00", None),
            ("", None),
        ] {
            let minutes = |time: Duration| time.as_secs() / 60;
            let found = window(text).map(|window| (minutes(window.start), minutes(window.length)));
            assert_eq!(found, expected, "{text:?}");
        }
    }
}
