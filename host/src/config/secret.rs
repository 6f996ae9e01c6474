//! Where a secret comes from.

use std::path::PathBuf;

use serde::Deserialize;

/// Where a secret comes from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SecretSource {
    Env(String),
    File(PathBuf),
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawSecret {
    pub(super) env: Option<String>,
    pub(super) file: Option<PathBuf>,
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
