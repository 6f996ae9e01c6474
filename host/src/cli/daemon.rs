//! Questions to a running daemon, with answers in the API's own types.

use std::path::PathBuf;

use serde::de::DeserializeOwned;
use serde_json::Value;
use url::form_urlencoded::{Serializer, byte_serialize};

use super::CliError;
use crate::api::{Config, Done, Observations, Plugin, Plugins, Provider, Providers, Reload};
use crate::config::SecretSource;
use crate::transport::ApiClient;

/// Where a token may stand that no option names: on a command line everybody on the machine could read it.
const TOKEN: &str = "FEEDGATE_TOKEN";

/// Where a daemon is, and what it is shown.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Address {
    /// Where the daemon's API listens.
    pub api: String,
    /// Its first line is the token; the environment variable FEEDGATE_TOKEN where there is none.
    pub token_file: Option<PathBuf>,
    /// Roots that are trusted in place of the system's, in PEM form.
    pub ca_file: Option<PathBuf>,
}

pub(super) struct Daemon(ApiClient);

impl Daemon {
    pub(super) fn new(address: &Address) -> Result<Self, CliError> {
        let token = match &address.token_file {
            Some(path) => {
                let token = SecretSource::File(path.clone()).read();
                Some(token.map_err(|why| CliError::Token { place: "--token-file", why })?.to_string())
            }
            None => std::env::var(TOKEN).ok().filter(|token| !token.is_empty()),
        };
        Ok(Self(ApiClient::new(&address.api, token, address.ca_file.as_deref())?))
    }

    pub(super) fn base(&self) -> &str {
        self.0.base()
    }

    /// Those of all providers, and all their ids, where none is named.
    pub(super) async fn observations(
        &self,
        provider: Option<&str>,
        id: Option<&str>,
    ) -> Result<Observations, CliError> {
        let mut query = Serializer::new(String::new());
        query.extend_pairs(provider.map(|provider| ("provider", provider)));
        query.extend_pairs(id.map(|id| ("id", id)));
        let query = query.finish();
        let mark = if query.is_empty() { "" } else { "?" };
        self.ask(&format!("/v1/observations{mark}{query}")).await
    }

    pub(super) async fn providers(&self) -> Result<Vec<Provider>, CliError> {
        Ok(self.ask::<Providers>("/v1/providers").await?.providers)
    }

    pub(super) async fn plugins(&self) -> Result<Vec<Plugin>, CliError> {
        Ok(self.ask::<Plugins>("/v1/plugins").await?.plugins)
    }

    pub(super) async fn config(&self) -> Result<Config, CliError> {
        self.ask("/v1/config").await
    }

    /// Waits for what comes of it.
    pub(super) async fn reload(&self) -> Result<Reload, CliError> {
        self.tell("/v1/reload?wait=true", None).await
    }

    pub(super) async fn reload_soon(&self) -> Result<Done, CliError> {
        self.tell("/v1/reload?wait=false", None).await
    }

    /// Every connection, where no provider is named.
    pub(super) async fn rotate(&self, provider: Option<&str>) -> Result<Done, CliError> {
        match provider {
            Some(provider) => self.tell(&format!("/v1/providers/{}/rotate", segment(provider)?), None).await,
            None => self.tell("/v1/rotate", None).await,
        }
    }

    /// `verb` is the end of an endpoint about a plugin's builds.
    pub(super) async fn build(&self, plugin: &str, verb: &str, digest: Option<&str>) -> Result<Done, CliError> {
        self.tell(&format!("/v1/plugins/{}/{verb}", segment(plugin)?), digest).await
    }

    async fn ask<T: DeserializeOwned>(&self, path_and_query: &str) -> Result<T, CliError> {
        understood(self.0.get_json(path_and_query).await?)
    }

    async fn tell<T: DeserializeOwned>(&self, path_and_query: &str, digest: Option<&str>) -> Result<T, CliError> {
        let body = digest.map_or_else(String::new, |digest| serde_json::json!({ "digest": digest }).to_string());
        understood(self.0.post_json(path_and_query, body).await?)
    }
}

fn understood<T: DeserializeOwned>((status, json): (u16, Value)) -> Result<T, CliError> {
    if matches!(status, 200 | 202) {
        return serde_json::from_value(json).map_err(CliError::Answer);
    }
    let said = json.get("error").and_then(Value::as_str).unwrap_or("it does not say why");
    Err(CliError::Refused { status, said: said.to_owned() })
}

/// A name as one part of a path, which dots alone would lead elsewhere. The form's `+` means a space in a query only.
fn segment(name: &str) -> Result<String, CliError> {
    if matches!(name, "" | "." | "..") {
        return Err(CliError::Refused { status: 404, said: format!("{name:?} is no name") });
    }
    Ok(byte_serialize(name.as_bytes()).collect::<String>().replace('+', "%20"))
}
