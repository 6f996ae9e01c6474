//! The section `[api]`: where the API listens, who may ask, and how much.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use super::secret::{RawSecret, SecretSource};
use super::source::{ConfigError, Source};
use crate::access::token::Token;

/// Loopback: what is read here is nobody else's business until the operator says so.
pub const DEFAULT_LISTEN: &str = "127.0.0.1:8787";

/// How the API is served.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ApiConfig {
    pub listen: SocketAddr,
    /// What a reader must show. `None`: everybody may read.
    pub token: Option<SecretSource>,
    /// What must be shown to change anything. `None`: nothing can be changed.
    pub admin_token: Option<SecretSource>,
    /// The certificates and the key of the first, in PEM form. `None`: plain HTTP.
    pub tls: Option<(PathBuf, PathBuf)>,
    pub max_requests_per_second: NonZeroU32,
    pub max_connections: NonZeroU32,
    /// For each step of a request: the handshake, its head, its body, each part of the answer.
    pub request_timeout: Duration,
}

/// Far beyond what a few dashboards ask, and far below what makes a feed late.
const MAX_REQUESTS_PER_SECOND: NonZeroU32 = NonZeroU32::new(1_000).expect("not zero");
const MAX_CONNECTIONS: NonZeroU32 = NonZeroU32::new(256).expect("not zero");
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

impl Default for ApiConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8787)),
            token: None,
            admin_token: None,
            tls: None,
            max_requests_per_second: MAX_REQUESTS_PER_SECOND,
            max_connections: MAX_CONNECTIONS,
            request_timeout: REQUEST_TIMEOUT,
        }
    }
}

/// What may be shown, as it was read.
#[derive(Copy, Clone, Debug, Default)]
pub struct ApiTokens {
    pub read: Option<Token>,
    pub admin: Option<Token>,
}

impl ApiConfig {
    /// Reads both tokens; an error is a field and why it is refused.
    pub fn read_tokens(&self) -> Result<ApiTokens, (&'static str, String)> {
        let token = |field, source: &Option<SecretSource>| {
            let read = |source: &SecretSource| source.read().and_then(|text| Token::new(&text));
            source.as_ref().map(read).transpose().map_err(|why| (field, why))
        };
        let tokens =
            ApiTokens { read: token("api.token", &self.token)?, admin: token("api.admin_token", &self.admin_token)? };
        match (&tokens.read, &tokens.admin) {
            (Some(read), Some(admin)) if admin.is_same(read) => {
                Err(("api.admin_token", "is the same as api.token: who may read could change everything".to_owned()))
            }
            _ => Ok(tokens),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawApi {
    enabled: bool,
    listen: String,
    token: Option<RawSecret>,
    admin_token: Option<RawSecret>,
    tls_cert_file: Option<PathBuf>,
    tls_key_file: Option<PathBuf>,
    max_requests_per_second: u32,
    max_connections: u32,
    request_timeout_ms: u64,
}

impl Default for RawApi {
    fn default() -> Self {
        Self {
            enabled: true,
            listen: DEFAULT_LISTEN.to_owned(),
            token: None,
            admin_token: None,
            tls_cert_file: None,
            tls_key_file: None,
            max_requests_per_second: MAX_REQUESTS_PER_SECOND.get(),
            max_connections: MAX_CONNECTIONS.get(),
            request_timeout_ms: 10_000,
        }
    }
}

/// `None` where there is to be none; what stands beside `enabled = false` need not be complete.
pub(super) fn api(source: &Source<'_>, base: &Path, raw: RawApi) -> Result<Option<ApiConfig>, ConfigError> {
    let invalid = |field: &str, why: &str| source.invalid(&format!("api.{field}"), why.to_owned());
    let listen: SocketAddr = raw
        .listen
        .parse()
        .map_err(|_| invalid("listen", &format!("{:?} is not an address like {DEFAULT_LISTEN}", raw.listen)))?;
    if !raw.enabled {
        return Ok(None);
    }
    let secret = |field: &str, raw: Option<RawSecret>| {
        raw.map(|raw| raw.source(base)).transpose().map_err(|why| invalid(field, &why))
    };
    let at_least_1 =
        |field: &str, value: u32| NonZeroU32::new(value).ok_or_else(|| invalid(field, "must be at least 1"));
    let tls = match (raw.tls_cert_file, raw.tls_key_file) {
        (Some(certificate), Some(key)) => Some((base.join(certificate), base.join(key))),
        (None, None) => None,
        (Some(_), None) => return Err(invalid("tls_cert_file", "wants tls_key_file beside it")),
        (None, Some(_)) => return Err(invalid("tls_key_file", "wants tls_cert_file beside it")),
    };
    if !(1..=MAX_TIMEOUT_MS).contains(&raw.request_timeout_ms) {
        return Err(invalid("request_timeout_ms", &format!("must be 1 to {MAX_TIMEOUT_MS}")));
    }
    let config = ApiConfig {
        listen,
        token: secret("token", raw.token)?,
        admin_token: secret("admin_token", raw.admin_token)?,
        tls,
        max_requests_per_second: at_least_1("max_requests_per_second", raw.max_requests_per_second)?,
        max_connections: at_least_1("max_connections", raw.max_connections)?,
        request_timeout: Duration::from_millis(raw.request_timeout_ms),
    };
    let mut missing = Vec::new();
    if !listen.ip().to_canonical().is_loopback() {
        missing.extend(config.token.is_none().then_some("token"));
        missing.extend(config.tls.is_none().then_some("tls_cert_file and tls_key_file"));
    }
    if !missing.is_empty() {
        let missing = missing.join(", and ");
        return Err(invalid("listen", &format!("{listen} can be reached by others, which wants {missing} beside it")));
    }
    config.read_tokens().map_err(|(field, why)| source.invalid(field, why))?;
    Ok(Some(config))
}

/// A request that takes longer than ten minutes has been forgotten by whoever sent it.
const MAX_TIMEOUT_MS: u64 = 600_000;

#[cfg(test)]
mod tests {
    use super::super::Config;
    use super::*;

    fn parsed(section: &str) -> Result<Option<ApiConfig>, String> {
        let directory = tempfile::TempDir::new().expect("a temporary directory");
        for (name, content) in [
            ("one", "0123456789abcdef\n"),
            ("same", "0123456789abcdef"),
            ("other", "fedcba9876543210"),
            ("short", "no"),
        ] {
            std::fs::write(directory.path().join(name), content).expect("writable");
        }
        let parsed = Config::parse(&format!("[api]\n{section}\n"), &directory.path().join("f.toml"));
        let place = format!("{}/", directory.path().display());
        parsed.map(|config| config.api).map_err(|error| error.to_string().replace(&place, ""))
    }

    #[track_caller]
    fn refused(section: &str, expected: &str) {
        assert_eq!(parsed(section).expect_err("must be refused"), expected);
    }

    const TLS: &str = "tls_cert_file = \"cert.pem\"\ntls_key_file = \"key.pem\"";

    #[test]
    fn what_others_can_reach_wants_a_token_and_tls() {
        const WHY: &str = "can be reached by others, which wants";
        for (listen, own) in [
            ("127.0.0.1:1", true),
            ("127.9.9.9:1", true),
            ("[::1]:1", true),
            ("[::ffff:127.0.0.1]:1", true),
            ("0.0.0.0:1", false),
            ("[::]:1", false),
            ("10.0.0.1:1", false),
            ("[fe80::1]:1", false),
        ] {
            let listen = format!("listen = \"{listen}\"");
            assert_eq!(parsed(&listen).is_ok(), own, "{listen}");
            assert!(parsed(&format!("{listen}\ntoken = {{ file = \"one\" }}\n{TLS}")).is_ok(), "{listen}");
            assert_eq!(parsed(&format!("{listen}\nenabled = false")), Ok(None), "{listen}");
        }
        let listen = "listen = \"0.0.0.0:1\"";
        let words = |missing| format!("f.toml:2: api.listen: 0.0.0.0:1 {WHY} {missing} beside it");
        refused(listen, &words("token, and tls_cert_file and tls_key_file"));
        refused(&format!("{listen}\n{TLS}"), &words("token"));
        refused(&format!("{listen}\n{TLS}\nadmin_token = {{ file = \"one\" }}"), &words("token"));
        refused(&format!("{listen}\ntoken = {{ file = \"one\" }}"), &words("tls_cert_file and tls_key_file"));
    }

    #[test]
    fn tokens_and_limits_are_checked_by_file_line_and_field() {
        for (section, expected) in [
            ("token = { file = \"short\" }", "f.toml:2: api.token: has 2 characters; 16 to 512 are needed"),
            ("token = {}", "f.toml:2: api.token: wants one of env, file and credential"),
            (
                "admin_token = { env = \"FEEDGATE_NOT_SET\" }",
                "f.toml:2: api.admin_token: environment variable FEEDGATE_NOT_SET is not set",
            ),
            (
                "token = { file = \"one\" }\nadmin_token = { file = \"same\" }",
                "f.toml:3: api.admin_token: is the same as api.token: who may read could change everything",
            ),
            ("tls_cert_file = \"x\"", "f.toml:2: api.tls_cert_file: wants tls_key_file beside it"),
            ("tls_key_file = \"x\"", "f.toml:2: api.tls_key_file: wants tls_cert_file beside it"),
            ("max_connections = 0", "f.toml:2: api.max_connections: must be at least 1"),
            ("max_requests_per_second = 0", "f.toml:2: api.max_requests_per_second: must be at least 1"),
            ("request_timeout_ms = 0", "f.toml:2: api.request_timeout_ms: must be 1 to 600000"),
            ("listen = \"x\"", "f.toml:2: api.listen: \"x\" is not an address like 127.0.0.1:8787"),
        ] {
            refused(section, expected);
        }
        let both = "token = { file = \"one\" }\nadmin_token = { file = \"other\" }\nmax_connections = 3";
        let config = parsed(both).expect("good").expect("enabled");
        assert_eq!((config.max_connections.get(), config.tls), (3, None));
        assert_eq!(parsed(""), Ok(Some(ApiConfig::default())));
    }
}
