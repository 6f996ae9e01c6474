//! `feedgate.toml` and the `NAME.toml` beside a plugin, parsed into valid types. The only place that reads them.
//!
//! Units are in the names, unknown keys are errors, and every error says file, line and field. Nothing here starts or
//! stops anything: the supervisor compares what it runs with what is written.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use crate::description::{Bucket, Limited, Scope};
use crate::logic::backoff::BackoffConfig;
use crate::logic::rotation::Window;
use crate::observation::PlausibleTimes;
use crate::origin::Origin;
use crate::plugin::PluginLimits;
use crate::proxy::Proxy;
use crate::transport::DialLimits;

/// Everything an operator can say.
#[derive(Clone, PartialEq, Debug)]
pub struct Config {
    /// Where plugins are dropped.
    pub plugins_dir: PathBuf,
    /// Run a plugin that nobody configured, with its own default ids.
    pub autostart: bool,
    /// `None`: no API.
    pub api: Option<SocketAddr>,
    pub plugin_limits: PluginLimits,
    pub providers: BTreeMap<String, ProviderConfig>,
}

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

/// Where a secret comes from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SecretSource {
    Env(String),
    File(PathBuf),
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

/// Why a configuration is refused.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConfigError {
    pub path: PathBuf,
    /// From 1; `None` where the file as a whole is meant.
    pub line: Option<usize>,
    /// `provider.binance.max_age_ms`; empty where the file as a whole is meant.
    pub field: String,
    pub why: String,
}

impl std::error::Error for ConfigError {}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path.display())?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        if !self.field.is_empty() {
            write!(f, ": {}", self.field)?;
        }
        write!(f, ": {}", self.why)
    }
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct RawConfig {
    plugins_dir: Option<PathBuf>,
    autostart: bool,
    api: RawApi,
    plugin_limits: RawPluginLimits,
    provider: BTreeMap<String, RawProvider>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawApi {
    enabled: bool,
    listen: String,
}

impl Default for RawApi {
    fn default() -> Self {
        Self { enabled: true, listen: DEFAULT_LISTEN.to_owned() }
    }
}

/// Loopback: what is read here is nobody else's business until the operator says so.
pub const DEFAULT_LISTEN: &str = "127.0.0.1:8787";

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct RawPluginLimits {
    max_file_mib: Option<u32>,
    max_memory_mib: Option<u32>,
    max_table_elements: Option<u32>,
    max_result_kib: Option<u32>,
    init_ms: Option<u64>,
    build_ms: Option<u64>,
    parse_ms: Option<u64>,
    parse_per_kib_us: Option<u64>,
    log_lines_per_second: Option<u32>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawProvider {
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
struct RawSecret {
    env: Option<String>,
    file: Option<PathBuf>,
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

impl Config {
    /// Reads and checks a file. Paths in it are relative to it.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        Self::parse(&read(path)?, path)
    }

    /// As [`Config::load`], for text that is at hand.
    pub fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        let source = Source { path, text };
        let raw: RawConfig = source.parse()?;
        let base = path.parent().unwrap_or(Path::new("."));
        let api = raw.api.listen.parse();
        let api = api.map_err(|_| {
            source.invalid("api.listen", format!("{:?} is not an address like {DEFAULT_LISTEN}", raw.api.listen))
        })?;
        let providers = raw
            .provider
            .into_iter()
            .map(|(name, raw)| {
                check_name(&name).map_err(|why| source.invalid(&format!("provider.{name}"), why))?;
                let provider = provider(&source, &format!("provider.{name}."), base, &name, raw)?;
                Ok((name, provider))
            })
            .collect::<Result<_, ConfigError>>()?;
        Ok(Self {
            plugins_dir: base.join(raw.plugins_dir.unwrap_or_else(|| "plugins".into())),
            autostart: raw.autostart,
            api: raw.api.enabled.then_some(api),
            plugin_limits: plugin_limits(&source, &raw.plugin_limits)?,
            providers,
        })
    }

    /// No file: plugins from `plugins_dir`, everything else as by default.
    pub fn with_plugins_dir(plugins_dir: PathBuf) -> Result<Self, ConfigError> {
        Ok(Self { plugins_dir, ..Self::parse("", Path::new("feedgate.toml"))? })
    }
}

impl ProviderConfig {
    /// Reads and checks the `NAME.toml` beside `NAME.wasm`: what would stand in the section `[provider.NAME]`.
    pub fn load(path: &Path, name: &str) -> Result<Self, ConfigError> {
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

fn read(path: &Path) -> Result<String, ConfigError> {
    let failed = |why: String| ConfigError { path: path.to_owned(), line: None, field: String::new(), why };
    let size = std::fs::metadata(path).map_err(|e| failed(format!("cannot be read: {e}")))?.len();
    if size > MAX_FILE {
        return Err(failed(format!("{size} bytes, more than {MAX_FILE}")));
    }
    std::fs::read_to_string(path).map_err(|e| failed(format!("cannot be read: {e}")))
}

/// Far beyond any hand-written file.
const MAX_FILE: u64 = 16 << 20;

/// A name stands in URLs, metrics and file names.
fn check_name(name: &str) -> Result<(), String> {
    let fits = !name.is_empty()
        && name.len() <= 64
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    if fits { Ok(()) } else { Err("a provider's name is made of letters, digits, - and _, at most 64".to_owned()) }
}

struct Source<'a> {
    path: &'a Path,
    text: &'a str,
}

impl Source<'_> {
    fn parse<T: for<'de> Deserialize<'de>>(&self) -> Result<T, ConfigError> {
        toml::from_str(self.text).map_err(|error| {
            let line = error.span().map(|span| self.line_at(span.start));
            let field = error.span().map_or_else(String::new, |span| self.field_at(span.start));
            let why = error.message().trim().replace('\n', "; ");
            ConfigError { path: self.path.to_owned(), line, field, why }
        })
    }

    fn line_at(&self, offset: usize) -> usize {
        self.text.get(..offset).unwrap_or(self.text).bytes().filter(|b| *b == b'\n').count() + 1
    }

    /// The key that stands around a place: for the words of an error, so a rough reading of the text is enough.
    fn field_at(&self, offset: usize) -> String {
        let line = self.line_at(offset);
        let lines: Vec<&str> = self.text.lines().take(line).map(str::trim).collect();
        let table = lines.iter().rev().find_map(|l| l.strip_prefix('[')?.split(']').next());
        let key = lines.last().and_then(|l| l.split_once('=')).map(|(key, _)| key.trim());
        [table, key].into_iter().flatten().collect::<Vec<_>>().join(".")
    }

    /// An error at a field, with the line on which it stands.
    fn invalid(&self, field: &str, why: String) -> ConfigError {
        let line = self.line_of(field);
        ConfigError { path: self.path.to_owned(), line, field: field.to_owned(), why }
    }

    fn line_of(&self, field: &str) -> Option<usize> {
        let document = toml::de::DeTable::parse(self.text).ok()?;
        let mut table = document.get_ref();
        let mut rest = field;
        let mut span = None;
        // Keys may hold dots themselves (origins do), so each table is asked for the longest name that fits.
        while !rest.is_empty() {
            let fits = |name: &str| rest == name || rest.strip_prefix(name).is_some_and(|r| r.starts_with('.'));
            let (key, value) =
                table.iter().filter(|(key, _)| fits(key.get_ref())).max_by_key(|(key, _)| key.get_ref().len())?;
            span = Some(key.span());
            rest = rest.get(key.get_ref().len() + 1..).unwrap_or("");
            match value.get_ref() {
                toml::de::DeValue::Table(inner) => table = inner,
                _ => break,
            }
        }
        span.map(|span| self.line_at(span.start))
    }
}

fn plugin_limits(source: &Source<'_>, raw: &RawPluginLimits) -> Result<PluginLimits, ConfigError> {
    let default = PluginLimits::default();
    let positive = |field: &str, value: Option<u64>, default: u64| match value {
        Some(0) => Err(source.invalid(&format!("plugin_limits.{field}"), "must be at least 1".to_owned())),
        value => Ok(value.unwrap_or(default)),
    };
    let bytes = |field: &str, value: Option<u32>, shift: u32, default: usize| {
        let units = positive(field, value.map(u64::from), (default >> shift) as u64)?;
        // At most 2^32 << 20, which a 64-bit usize holds.
        Ok::<usize, ConfigError>((units as usize) << shift)
    };
    let time = |field: &str, value: Option<u64>, default: Duration| {
        let ms = positive(field, value, u64::try_from(default.as_millis()).unwrap_or(u64::MAX))?;
        if ms > MAX_CALL_MS {
            let why = format!("at most {MAX_CALL_MS}: a call holds up its thread");
            return Err(source.invalid(&format!("plugin_limits.{field}"), why));
        }
        Ok(Duration::from_millis(ms))
    };
    Ok(PluginLimits {
        max_file_bytes: bytes("max_file_mib", raw.max_file_mib, 20, default.max_file_bytes)?,
        max_memory_bytes: bytes("max_memory_mib", raw.max_memory_mib, 20, default.max_memory_bytes)?,
        max_table_elements: raw.max_table_elements.map_or(default.max_table_elements, |n| n as usize),
        max_result_bytes: bytes("max_result_kib", raw.max_result_kib, 10, default.max_result_bytes)?,
        init: time("init_ms", raw.init_ms, default.init)?,
        build: time("build_ms", raw.build_ms, default.build)?,
        parse: time("parse_ms", raw.parse_ms, default.parse)?,
        parse_per_kib: raw.parse_per_kib_us.map_or(default.parse_per_kib, Duration::from_micros),
        log_lines_per_second: raw.log_lines_per_second.unwrap_or(default.log_lines_per_second),
    })
}

const MAX_CALL_MS: u64 = 60_000;

fn provider(
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
        .map(|(name, raw)| match (raw.env, raw.file) {
            (Some(env), None) => Ok((name, SecretSource::Env(env))),
            (None, Some(file)) => Ok((name, SecretSource::File(base.join(file)))),
            _ => Err(invalid(&format!("secrets.{name}"), "wants either env or file".to_owned())),
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

impl SecretSource {
    /// Reads the secret. Line ends around it, which editors leave, are not part of it.
    pub fn read(&self) -> Result<String, String> {
        let secret = match self {
            Self::Env(name) => std::env::var(name).map_err(|_| format!("environment variable {name} is not set")),
            Self::File(path) => {
                std::fs::read_to_string(path).map_err(|e| format!("{} cannot be read: {e}", path.display()))
            }
        }?;
        let secret = secret.trim_matches(['\r', '\n']).to_owned();
        if secret.is_empty() { Err("it is empty".to_owned()) } else { Ok(secret) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn refused(text: &str, expected: &str) {
        let error = Config::parse(text, Path::new("f.toml")).expect_err("must be refused");
        assert_eq!(error.to_string(), expected);
    }

    #[test]
    fn a_refusal_names_file_line_and_field() {
        refused(
            "autostart = true\n[provider.a]\nmax_age = 5\n",
            "f.toml:3: provider.a.max_age: unknown field `max_age`, expected one of `plugin`, `enabled`, `transports`, \
             `ids`, `max_age_ms`, `max_age_ms_by_id`, `settings`, `secrets`, `allow_origins`, `redirect_origins`, \
             `mirrors`, `limits`, `refused_wait_ms`, `loosen_limits`, `max_past_s`, `max_future_s`, `http`, \
             `websocket`, `network`",
        );
        refused(
            "[provider.a.http]\npoll_interval_ms = \"5s\"\n",
            "f.toml:2: provider.a.http.poll_interval_ms: invalid type: string \"5s\", expected u64",
        );
        refused("[provider.a]\n\nids = [\"X\", \"X\"]", "f.toml:3: provider.a.ids: \"X\" is there twice");
        refused("[provider.a]\nmax_age_ms = 0", "f.toml:2: provider.a.max_age_ms: must be at least 1");
        refused(
            "[provider.a.redirect_origins]\n\"wss://x.com\" = \"ws://x.com/path\"",
            "f.toml:1: provider.a.redirect_origins: an origin is scheme, host and port; \"ws://x.com/path\" has more",
        );
        refused(
            "[api]\nlisten = \"localhost\"",
            "f.toml:2: api.listen: \"localhost\" is not an address like 127.0.0.1:8787",
        );
        refused(
            "[provider.\"a b\"]",
            "f.toml:1: provider.a b: a provider's name is made of letters, digits, - and _, at most 64",
        );
        refused(
            "[provider.a]\nplugin = \"../x\"",
            "f.toml:2: provider.a.plugin: \"../x\" is not the name of a file in plugins_dir, without .wasm",
        );
        refused(
            "[provider.a]\n[provider.a.websocket]\nbackoff_first_ms = 9000\nbackoff_max_ms = 10",
            "f.toml:3: provider.a.websocket.backoff_first_ms: the longest wait must not be shorter than the first",
        );
        refused("[plugin_limits]\nparse_ms = 0", "f.toml:2: plugin_limits.parse_ms: must be at least 1");
        refused("[provider.a]\nids = [", "f.toml:2: provider.a.ids: unclosed array, expected `]`");
        refused(
            "[provider.a]\n[provider.a.secrets]\nkey = { env = \"A\", file = \"b\" }",
            "f.toml:3: provider.a.secrets.key: wants either env or file",
        );
        refused(
            "[provider.a.websocket]\nrotate_between = \"2:00-4:00\"",
            "f.toml:2: provider.a.websocket.rotate_between: \"2:00-4:00\" is not a time of day in UTC like \
             \"02:00-04:30\"",
        );
        refused(
            "[provider.a]\nlimits = [{ what = \"connect\", count = 0, per_ms = 5 }]",
            "f.toml:2: provider.a.limits: count must be at least 1",
        );
        refused(
            "[provider.a.mirrors]\n\"wss://a.com\" = [\"https://a.com\"]",
            "f.toml:1: provider.a.mirrors: wss://a.com and https://a.com are not the same transport",
        );
        refused(
            "[provider.a.network]\nproxy = \"ftp://me:secret@x\"",
            "f.toml:2: provider.a.network.proxy: must be http://HOST:PORT or socks5://HOST:PORT, with USER:PASSWORD@ before \
             the host if need be",
        );
        refused(
            "[provider.a.network]\nclient_key_file = \"key.pem\"",
            "f.toml:2: provider.a.network.client_key_file: wants client_cert_file beside it",
        );
        refused(
            "[provider.a.network]\nca = \"ca.pem\"",
            "f.toml:2: provider.a.network.ca: unknown field `ca`, expected one of `proxy`, `ca_file`, `client_cert_file`, \
             `client_key_file`",
        );
        refused("[provider.a]\n[provider.a]", "f.toml:2: provider.a: duplicate key");
    }

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

    #[test]
    fn an_empty_file_is_a_good_one() {
        let config = Config::parse("", Path::new("/etc/feedgate/feedgate.toml")).expect("nothing is required");
        assert_eq!(config.plugins_dir, Path::new("/etc/feedgate/plugins"));
        assert_eq!(config.api, DEFAULT_LISTEN.parse().ok());
        assert!(!config.autostart && config.providers.is_empty());
    }

    #[test]
    fn a_provider_is_configured_in_either_place() {
        let section = "[provider.okx]\nids = [\"A\"]\nsettings = { price = \"mid\" }\n";
        let config = Config::parse(section, Path::new("f.toml")).expect("good");
        let beside =
            ProviderConfig::parse("ids = [\"A\"]\nsettings = { price = \"mid\" }\n", Path::new("okx.toml"), "okx");
        assert_eq!(config.providers.get("okx"), beside.as_ref().ok());
        assert_eq!(beside.expect("good").settings, r#"{"price":"mid"}"#);
    }
}
