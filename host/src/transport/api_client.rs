//! Asking a running daemon's API, for the commands that read it and those that tell it what to do. It stands here because
//! only `transport` names reqwest; what the answers mean is `cli`'s business.

use std::fmt;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use reqwest::{RequestBuilder, Url};
use rustls::{ClientConfig, RootCertStore};

use super::tls::{TlsFiles, client_config};

/// The daemon answers from memory: one that takes longer is not going to.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Longer than the daemon itself waits for what it was told to do.
const CHANGE_TIMEOUT: Duration = Duration::from_secs(70);

/// A hundred thousand observations are some forty megabytes; whatever sends more is no daemon.
const MAX_BODY: usize = 256 << 20;

/// Why there is no answer.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ApiError {
    #[error("{base:?} is not a daemon's address, such as http://127.0.0.1:8080: {why}")]
    Address { base: String, why: String },
    #[error("cannot set up TLS: {0}")]
    Tls(String),
    #[error("cannot reach the daemon at {base}: {why}")]
    Unreachable { base: String, why: String },
    #[error("the token would go to {base} in plain sight: only https, or a daemon on this machine, is shown one")]
    PlainToken { base: String },
    #[error("the daemon at {base} did not answer within {seconds} s")]
    Timeout { base: String, seconds: u64 },
    #[error("what answers at {base} is not a feedgate daemon: {why}")]
    NotADaemon { base: String, why: String },
}

/// One daemon's API. Connections are reused from question to question.
#[derive(Clone, Debug)]
pub struct ApiClient {
    client: reqwest::Client,
    /// Without a slash at its end.
    base: String,
    /// Never printed.
    token: Option<Token>,
}

#[derive(Clone)]
struct Token(String);

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token")
    }
}

impl ApiClient {
    /// `base` is where the daemon listens, `http://` may be left out: `127.0.0.1:8080`. `token` is shown with every
    /// question; `ca_file` holds the roots that are trusted in place of the system's.
    pub fn new(base: &str, token: Option<String>, ca_file: Option<&Path>) -> Result<Self, ApiError> {
        let full = if base.contains("://") { base.to_owned() } else { format!("http://{base}") };
        let address = |why: &str| ApiError::Address { base: base.to_owned(), why: why.to_owned() };
        let url = Url::parse(&full).map_err(|error| address(&error.to_string()))?;
        if url.query().is_some() || url.fragment().is_some() {
            return Err(address("it has a query"));
        }
        if url.scheme() == "http" && token.is_some() && !is_this_machine(&url) {
            return Err(ApiError::PlainToken { base: base.to_owned() });
        }
        let files = || ca_file.map_or_else(|| Ok(TlsFiles::default()), |path| TlsFiles::of_roots("--ca-file", path));
        let tls = match url.scheme() {
            "https" => files().and_then(|files| client_config(&files)).map(|tls| ClientConfig::clone(&tls)),
            // Reading the system's certificates takes longer than the whole question.
            "http" => without_roots().map_err(|error| error.to_string()),
            _ => return Err(address("neither http nor https")),
        };
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(tls.map_err(ApiError::Tls)?)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .user_agent(concat!("feedgate/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| ApiError::Tls(error.to_string()))?;
        Ok(Self { client, base: full.trim_end_matches('/').to_owned(), token: token.map(Token) })
    }

    /// Where it asks.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// The status and the JSON of one answer. `path_and_query` begins with a slash and is already encoded.
    pub async fn get_json(&self, path_and_query: &str) -> Result<(u16, serde_json::Value), ApiError> {
        let url = format!("{}{path_and_query}", self.base);
        self.answer(self.client.get(url), TIMEOUT).await
    }

    /// As [`ApiClient::get_json`], for what changes something. It may take longer.
    pub async fn post_json(&self, path_and_query: &str, body: String) -> Result<(u16, serde_json::Value), ApiError> {
        let url = format!("{}{path_and_query}", self.base);
        let request = self.client.post(url).header(reqwest::header::CONTENT_TYPE, "application/json");
        self.answer(request.body(body), CHANGE_TIMEOUT).await
    }

    async fn answer(&self, request: RequestBuilder, patience: Duration) -> Result<(u16, serde_json::Value), ApiError> {
        let request = match &self.token {
            // Marked as sensitive by reqwest itself.
            Some(Token(token)) => request.bearer_auth(token),
            None => request,
        };
        let failed = |error| self.failed(error, patience);
        let mut answer = request.timeout(patience).send().await.map_err(failed)?;
        let status = answer.status().as_u16();
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(failed)? {
            if body.len() + chunk.len() > MAX_BODY {
                return Err(self.not_a_daemon(format!("its answer is longer than {} MiB", MAX_BODY >> 20)));
            }
            body.extend_from_slice(&chunk);
        }
        let json = serde_json::from_slice(&body)
            .map_err(|error| self.not_a_daemon(format!("status {status}, and no JSON: {error}")))?;
        Ok((status, json))
    }

    fn not_a_daemon(&self, why: String) -> ApiError {
        ApiError::NotADaemon { base: self.base.clone(), why }
    }

    fn failed(&self, error: reqwest::Error, patience: Duration) -> ApiError {
        let base = self.base.clone();
        if error.is_timeout() {
            return ApiError::Timeout { base, seconds: patience.as_secs() };
        }
        // The innermost cause says it best.
        let error = error.without_url();
        let mut source: &dyn std::error::Error = &error;
        while let Some(inner) = source.source() {
            source = inner;
        }
        ApiError::Unreachable { base, why: source.to_string() }
    }
}

/// Whether nothing leaves it.
fn is_this_machine(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

/// For plain HTTP, where no certificate is ever looked at.
fn without_roots() -> Result<ClientConfig, rustls::Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    Ok(ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_checked_before_anything_is_sent() {
        for (base, expected) in [
            ("127.0.0.1:8080", Some("http://127.0.0.1:8080")),
            ("http://[::1]:8080/", Some("http://[::1]:8080")),
            ("http://host/feedgate/", Some("http://host/feedgate")),
            ("localhost:8080", Some("http://localhost:8080")),
            ("ftp://host", None),
            ("http://host/?a", None),
            ("", None),
        ] {
            let client = ApiClient::new(base, None, None);
            assert_eq!(client.as_ref().ok().map(ApiClient::base), expected, "{base:?}: {client:?}");
        }
    }

    #[test]
    fn a_token_is_shown_in_plain_sight_to_this_machine_alone() {
        for (base, shown) in [
            ("127.0.0.1:8080", true),
            ("http://[::1]:8080", true),
            ("localhost:8080", true),
            ("https://feeds.example", true),
            ("http://feeds.example", false),
            ("10.0.0.1:8080", false),
            ("http://localhost.example", false),
        ] {
            let client = ApiClient::new(base, Some("a-secret".to_owned()), None);
            assert_eq!(client.is_ok(), shown, "{base}");
            assert!(!format!("{client:?}").contains("a-secret"));
        }
    }
}
