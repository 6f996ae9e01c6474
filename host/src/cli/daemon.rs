//! Questions to a running daemon, with answers in the API's own types.

use serde::de::DeserializeOwned;
use serde_json::Value;
use url::form_urlencoded::Serializer;

use super::CliError;
use crate::api::{Observations, Provider, Providers};
use crate::transport::ApiClient;

pub(super) struct Daemon(ApiClient);

impl Daemon {
    pub(super) fn new(base: &str) -> Result<Self, CliError> {
        Ok(Self(ApiClient::new(base)?))
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

    async fn ask<T: DeserializeOwned>(&self, path_and_query: &str) -> Result<T, CliError> {
        let (status, json) = self.0.get_json(path_and_query).await?;
        if status == 200 {
            return serde_json::from_value(json).map_err(CliError::Answer);
        }
        let said = json.get("error").and_then(Value::as_str).unwrap_or("it does not say why");
        Err(CliError::Refused { status, said: said.to_owned() })
    }
}
