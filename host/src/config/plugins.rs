//! The sections `[plugins]` and `[plugin.NAME]`, and the file of grants: what a plugin's file needs to be loaded, and what
//! it is granted.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::name::check_name;
use super::source::{ConfigError, Source, read};
use crate::access::grants::{self, Asks};
use crate::builds::provenance::{self, PublicKey, Require};
use crate::contract::description::Resources;
use crate::contract::digest::Digest;
use crate::contract::origin::Origin;

/// What holds for plugins, whichever providers use them.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct PluginsConfig {
    pub provenance: provenance::Policy,
    pub policy: grants::Policy,
    /// Sections like those of the main configuration, for what is written by commands. It need not be there.
    pub grants_file: PathBuf,
    /// By the file's name, without `.wasm`.
    by_name: BTreeMap<String, PluginConfig>,
    /// What stands in that file.
    in_file: BTreeMap<String, Asks>,
}

#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct PluginConfig {
    sha256: Option<Digest>,
    grant: Asks,
}

impl PluginsConfig {
    /// The only content that a file may have, where the operator wrote it.
    pub fn sha256(&self, stem: &str) -> Option<Digest> {
        self.by_name.get(stem)?.sha256
    }

    /// What the operator allows, in either place.
    pub fn grant(&self, stem: &str) -> Asks {
        let written = self.by_name.get(stem).map(|plugin| plugin.grant.clone()).unwrap_or_default();
        self.in_file.get(stem).map_or(written.clone(), |in_file| written.and(in_file))
    }

    /// Reads the file of grants. One that is bad grants nothing.
    pub(super) fn read_grants(&mut self) -> Result<(), ConfigError> {
        self.in_file = if self.grants_file.exists() {
            parse_grants(&read(&self.grants_file)?, &self.grants_file)?
        } else {
            BTreeMap::new()
        };
        Ok(())
    }

    /// What the file granted before stays.
    pub(super) fn keep_grants(&mut self, before: &Self) {
        self.in_file.clone_from(&before.in_file);
    }
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawPlugins {
    require: Require,
    trusted_keys: Vec<String>,
    policy: grants::Policy,
    grants_file: Option<PathBuf>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawPlugin {
    sha256: Option<String>,
    grant: RawGrant,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct RawGrant {
    origins: Vec<String>,
    secrets: BTreeSet<String>,
    memory_mib: Option<NonZeroU32>,
    init_ms: Option<NonZeroU32>,
    build_ms: Option<NonZeroU32>,
    parse_ms: Option<NonZeroU32>,
    result_kib: Option<NonZeroU32>,
}

pub(super) fn plugins(
    source: &Source<'_>,
    base: &Path,
    raw: RawPlugins,
    each: BTreeMap<String, RawPlugin>,
) -> Result<PluginsConfig, ConfigError> {
    let key = |text: &String| {
        let key = text.parse::<PublicKey>();
        key.map_err(|why| source.invalid("plugins.trusted_keys", format!("{text:?}: {why}")))
    };
    let trusted_keys = raw.trusted_keys.iter().map(key).collect::<Result<Vec<_>, _>>()?;
    if raw.require == Require::Signature && trusted_keys.is_empty() {
        let why = "\"signature\" wants trusted_keys beside it, or no plugin would load".to_owned();
        return Err(source.invalid("plugins.require", why));
    }
    let by_name = each.into_iter().map(|(name, raw)| {
        let invalid = |field: &str, why: String| source.invalid(&format!("plugin.{name}{field}"), why);
        check_name(&name)
            .map_err(|_| invalid("", format!("{name:?} is not the name of a file in plugins_dir, without .wasm")))?;
        let sha256 = raw.sha256.map(|text| text.parse().map_err(|why: &str| invalid(".sha256", why.to_owned())));
        let grant = grant(raw.grant).map_err(|(field, why)| invalid(&format!(".grant.{field}"), why))?;
        Ok((name, PluginConfig { sha256: sha256.transpose()?, grant }))
    });
    Ok(PluginsConfig {
        by_name: by_name.collect::<Result<_, ConfigError>>()?,
        provenance: provenance::Policy { require: raw.require, trusted_keys },
        policy: raw.policy,
        grants_file: base.join(raw.grants_file.unwrap_or_else(|| "grants.toml".into())),
        in_file: BTreeMap::new(),
    })
}

/// What stands in a file of grants, by the plugin's name.
pub fn parse_grants(text: &str, path: &Path) -> Result<BTreeMap<String, Asks>, ConfigError> {
    let source = Source { path, text };
    let sections: BTreeMap<String, RawGrant> = source.parse()?;
    let read = sections.into_iter().map(|(name, raw)| {
        check_name(&name).map_err(|why| source.invalid(&name, why))?;
        let granted = grant(raw).map_err(|(field, why)| source.invalid(&format!("{name}.{field}"), why))?;
        Ok((name, granted))
    });
    read.collect()
}

/// The error names the field.
fn grant(raw: RawGrant) -> Result<Asks, (&'static str, String)> {
    // Written as the plugin's own are: without the scheme's own port, in lower case.
    let origin = |text: &String| Origin::parse(text).map(|origin| origin.to_string());
    let origins = raw.origins.iter().map(origin).collect::<Result<_, _>>();
    Ok(Asks {
        origins: origins.map_err(|why| ("origins", why.to_string()))?,
        secrets: raw.secrets,
        resources: Resources {
            memory_mib: raw.memory_mib,
            init_ms: raw.init_ms,
            build_ms: raw.build_ms,
            parse_ms: raw.parse_ms,
            result_kib: raw.result_kib,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::super::Config;
    use super::*;

    #[test]
    fn grants_come_from_both_places() {
        let place = tempfile::TempDir::new().expect("a temporary directory");
        let path = place.path().join("feedgate.toml");
        let text = "[plugin.a.grant]\norigins = [\"WSS://A.com:443\"]\nmemory_mib = 128\n[plugin.b]";
        std::fs::write(place.path().join("grants.toml"), "[a]\nsecrets = [\"key\"]\nmemory_mib = 64\n[c]\n")
            .expect("writable");
        let loaded = Config::read(text.to_owned(), &path).expect("good");
        let granted = |stem: &str| loaded.config.plugins.grant(stem).written().join(", ");
        assert_eq!(granted("a"), "origins = [\"wss://a.com\"], secrets = [\"key\"], memory_mib = 128");
        assert_eq!((granted("b").as_str(), granted("c").as_str(), granted("d").as_str()), ("", "", ""));
        // A bad one grants nothing, says why, and refuses nothing else.
        std::fs::write(place.path().join("grants.toml"), "[a]\nsecrets = [\"key\"]\norigins = [\"a.com\"]")
            .expect("writable");
        let mut bad = Config::read(text.to_owned(), &path).expect("good but for the grants");
        let errors: Vec<_> = bad.errors().map(ToString::to_string).collect();
        assert!(errors.len() == 1 && errors[0].contains("grants.toml:3: a.origins: "), "{errors:?}");
        assert!(bad.config.plugins.grant("a").secrets.is_empty() && !bad.is_whole());
        bad.keep(&loaded.config);
        assert_eq!(bad.config.plugins, loaded.config.plugins);
    }

    #[test]
    fn what_is_wrong_is_told_by_line_and_field() {
        for (text, expected) in [
            ("[plugins]\nrequire = \"some\"", "f.toml:2: plugins.require: unknown variant `some`"),
            ("[plugins]\nrequire = \"signature\"", "f.toml:2: plugins.require: \"signature\" wants trusted_keys"),
            ("[plugins]\ntrusted_keys = [\"ed25519:A\"]", "f.toml:2: plugins.trusted_keys: \"ed25519:A\": a key is"),
            ("[plugins]\npolicy = \"lax\"", "f.toml:2: plugins.policy: unknown variant `lax`"),
            ("[plugin.a]\nsha256 = \"abc\"", "f.toml:2: plugin.a.sha256: a sha256 is written as 64 hexadecimal digits"),
            ("[plugin.a.grant]\norigins = [\"x\"]", "f.toml:2: plugin.a.grant.origins: "),
            ("[plugin.a.grant]\nmemory_mib = 0", "f.toml:2: plugin.a.grant.memory_mib: "),
            ("[plugin.a.grant]\nmemory = 1", "f.toml:2: plugin.a.grant.memory: unknown field"),
            ("[plugin.\"a b\"]", "f.toml:1: plugin.a b: \"a b\" is not the name of a file"),
        ] {
            let error = Config::parse(text, Path::new("/nowhere/f.toml")).expect_err("it is bad").to_string();
            assert!(error.contains(expected), "{error:?} lacks {expected:?}");
        }
    }
}
