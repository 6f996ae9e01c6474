//! `feedgate.toml` and the `NAME.toml` beside a plugin, parsed into valid types. The only place that reads them.
//!
//! Units are in the names, unknown keys are errors, and every error says file, line and field. Nothing here starts or
//! stops anything: the supervisor compares what it runs with what is written.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use serde::de::IgnoredAny;

use self::api::{RawApi, api};
use self::limits::{RawPluginLimits, plugin_limits};
use self::name::check_name;
use self::plugins::{RawPlugin, RawPlugins, plugins};
use self::provider::{RawProvider, provider};
use self::source::{Section, Source, read};
use crate::contract::limits::PluginLimits;

mod api;
pub(crate) mod last_good;
mod limits;
mod name;
pub mod plugins;
mod provider;
mod secret;
mod source;

pub use api::{ApiConfig, ApiTokens, DEFAULT_LISTEN};
pub use plugins::PluginsConfig;
pub use provider::{HttpConfig, NetworkConfig, ProviderConfig, Transport, WebSocketConfig};
pub use secret::SecretSource;
pub use source::ConfigError;

/// Everything an operator can say.
#[derive(Clone, PartialEq, Debug)]
pub struct Config {
    /// Where plugins are dropped.
    pub plugins_dir: PathBuf,
    /// What must survive a restart. `None`: nothing does.
    pub state_dir: Option<PathBuf>,
    /// Run a plugin that nobody configured, with its own default ids.
    pub autostart: bool,
    /// `None`: no API.
    pub api: Option<ApiConfig>,
    pub plugin_limits: PluginLimits,
    /// How long a new build is watched, and may be taken back, before it counts as good.
    pub probation: Duration,
    pub plugins: PluginsConfig,
    pub providers: BTreeMap<String, ProviderConfig>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct RawConfig {
    plugins_dir: Option<PathBuf>,
    state_dir: Option<PathBuf>,
    autostart: bool,
    probation_ms: Option<u64>,
    api: RawApi,
    plugin_limits: RawPluginLimits,
    plugins: RawPlugins,
    plugin: BTreeMap<String, RawPlugin>,
    /// Each is read by itself.
    provider: BTreeMap<String, IgnoredAny>,
}

/// A file as far as it is good.
#[derive(Clone, PartialEq, Debug)]
pub struct Loaded {
    pub config: Config,
    /// What is wrong with which provider's section. `config` has what was there before, if anything was.
    pub bad: BTreeMap<String, ConfigError>,
    /// What is wrong with the file of grants. `config` has what it granted before, if it did.
    pub bad_grants: Option<ConfigError>,
    /// Why nothing of the file is in `config`, which is what the file last said that was good.
    pub refused: Option<ConfigError>,
    /// What was read.
    pub text: String,
}

impl Loaded {
    /// Whether the file applies as it is written.
    pub fn is_whole(&self) -> bool {
        self.errors().next().is_none()
    }

    /// What is wrong with the file, in words.
    pub fn errors(&self) -> impl Iterator<Item = &ConfigError> {
        self.refused.iter().chain(&self.bad_grants).chain(self.bad.values())
    }

    /// In place of what is bad: what stood there before.
    pub fn keep(&mut self, before: &Config) {
        if self.bad_grants.is_some() {
            self.config.plugins.keep_grants(&before.plugins);
        }
        for name in self.bad.keys() {
            if let Some(provider) = before.providers.get(name) {
                self.config.providers.insert(name.clone(), provider.clone());
            }
        }
    }
}

impl From<Config> for Loaded {
    fn from(config: Config) -> Self {
        Self { config, bad: BTreeMap::new(), bad_grants: None, refused: None, text: String::new() }
    }
}

impl Config {
    /// Reads and checks a file. Paths in it are relative to it. A provider's section that is bad costs that provider
    /// only; anything else, the file.
    pub fn load(path: &Path) -> Result<Loaded, ConfigError> {
        Self::read(read(path)?, path)
    }

    /// Text that is at hand, good as a whole.
    pub fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        let mut loaded = Self::read(text.to_owned(), path)?;
        match loaded.bad.pop_first().map(|(_, error)| error).or(loaded.bad_grants) {
            Some(error) => Err(error),
            None => Ok(loaded.config),
        }
    }

    /// As [`Config::load`], for text that is at hand.
    pub fn read(text: String, path: &Path) -> Result<Loaded, ConfigError> {
        let (mut config, bad) = Self::read_text(&text, path)?;
        let bad_grants = config.plugins.read_grants().err();
        Ok(Loaded { config, bad, bad_grants, refused: None, text })
    }

    fn read_text(text: &str, path: &Path) -> Result<(Self, BTreeMap<String, ConfigError>), ConfigError> {
        let source = Source { path, text };
        let raw: RawConfig = source.parse()?;
        let base = path.parent().unwrap_or(Path::new("."));
        let api = api(&source, base, raw.api)?;
        let (mut providers, mut bad) = (BTreeMap::new(), BTreeMap::new());
        for (name, section) in source.sections("provider")? {
            match provider_section(&source, base, &name, section) {
                Ok(provider) => drop(providers.insert(name, provider)),
                Err(error) => drop(bad.insert(name, error)),
            }
        }
        let config = Self {
            plugins_dir: base.join(raw.plugins_dir.unwrap_or_else(|| "plugins".into())),
            state_dir: Some(state_dir(path, raw.state_dir)),
            autostart: raw.autostart,
            api,
            plugin_limits: plugin_limits(&source, &raw.plugin_limits)?,
            probation: Duration::from_millis(raw.probation_ms.unwrap_or(600_000)),
            plugins: plugins(&source, base, raw.plugins, raw.plugin)?,
            providers,
        };
        Ok((config, bad))
    }

    /// No file: plugins from `plugins_dir`, nothing that survives, everything else as by default.
    pub fn with_plugins_dir(plugins_dir: PathBuf) -> Result<Self, ConfigError> {
        Ok(Self { plugins_dir, state_dir: None, ..Self::parse("", Path::new("feedgate.toml"))? })
    }
}

fn state_dir(path: &Path, written: Option<PathBuf>) -> PathBuf {
    path.parent().unwrap_or(Path::new(".")).join(written.unwrap_or_else(|| "state".into()))
}

fn provider_section(
    source: &Source<'_>,
    base: &Path,
    name: &str,
    section: Section<'_>,
) -> Result<ProviderConfig, ConfigError> {
    check_name(name).map_err(|why| source.invalid(&format!("provider.{name}"), why))?;
    let raw: RawProvider = source.parse_section(section)?;
    provider(source, &format!("provider.{name}."), base, name, raw)
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
        refused(
            "[plugin_limits]\ncompile_ms = 3600001",
            "f.toml:2: plugin_limits.compile_ms: at most 3600000: other plugins wait for it",
        );
        refused(
            "[plugin_limits]\ncompile_memory_mib = 0",
            "f.toml:2: plugin_limits.compile_memory_mib: must be at least 1",
        );
        refused("[provider.a]\nids = [", "f.toml:2: provider.a.ids: unclosed array, expected `]`");
        refused(
            "[provider.a]\n[provider.a.secrets]\nkey = { env = \"A\", file = \"b\" }",
            "f.toml:3: provider.a.secrets.key: wants one of env, file and credential",
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
    fn a_bad_section_costs_its_provider_only() {
        #[track_caller]
        fn check(text: &str, expected: Result<(&[&str], &[&str]), &str>) {
            match (Config::read(text.to_owned(), Path::new("f.toml")), expected) {
                (Ok(loaded), Ok((good, bad))) => {
                    assert_eq!(loaded.config.providers.keys().collect::<Vec<_>>(), good, "{text}");
                    assert_eq!(loaded.bad.values().map(ToString::to_string).collect::<Vec<_>>(), bad, "{text}");
                }
                (Err(error), Err(words)) => assert_eq!(error.to_string(), words),
                (found, _) => panic!("{text}: {found:?}"),
            }
        }
        check("[provider.a]\n[provider.b]", Ok((&["a", "b"], &[])));
        check(
            "[provider.a]\n[provider.b]\nids = [\"X\", \"X\"]\n[provider.c]\nplugin = 7\n[provider.d]",
            Ok((
                &["a", "d"],
                &[
                    "f.toml:3: provider.b.ids: \"X\" is there twice",
                    "f.toml:5: provider.c.plugin: invalid type: integer `7`, expected a string",
                ],
            )),
        );
        check(
            "[provider]\na = {}\nb = 5",
            Ok((&["a"], &["f.toml:3: provider.b: invalid type: integer `5`, expected struct RawProvider"])),
        );
        check("[provider.a]\nids = [\n[provider.b]", Err("f.toml:3: provider.b: unclosed array, expected `]`"));
        check(
            "[provider.a]\n[api]\nlisten = 1",
            Err("f.toml:3: api.listen: invalid type: integer `1`, expected a string"),
        );
        check("provider = 1", Err("f.toml:1: provider: invalid type: integer `1`, expected a map"));
    }

    #[test]
    fn an_empty_file_is_a_good_one() {
        let config = Config::parse("", Path::new("/etc/feedgate/feedgate.toml")).expect("nothing is required");
        assert_eq!(config.plugins_dir, Path::new("/etc/feedgate/plugins"));
        assert_eq!(config.api, Some(ApiConfig::default()));
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
