//! One HTTP request, as a plugin wrote it, to an answer within bounds: origins checked at every hop, secrets put in
//! last, redirects followed by hand, the body read to a cap.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{HeaderMap, HeaderName, HeaderValue, LOCATION};

use rustls::ClientConfig;

use crate::codec::{Method, Request, Response};
use crate::origin::{Admitted, Forbidden, Grants, is_public};
use crate::secret::{MissingSecret, Secrets};

const MAX_REDIRECTS: usize = 5;

/// Why there is no answer.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(super) enum FetchError {
    #[error("forbidden: {0}")]
    Forbidden(#[from] Forbidden),
    #[error(transparent)]
    Secret(#[from] MissingSecret),
    #[error("header {0:?} has a name or a value that HTTP does not allow")]
    Header(String),
    #[error("redirected more than {MAX_REDIRECTS} times")]
    Redirects,
    #[error("no answer within {} ms", .0.as_millis())]
    Timeout(Duration),
    #[error("answer longer than {} KiB (knob: http.max_body_kib)", .0 >> 10)]
    TooLarge(usize),
    #[error("cannot connect: {0}")]
    Connect(String),
    #[error("transfer failed: {0}")]
    Transfer(String),
}

impl FetchError {
    /// The bounded word for metrics.
    pub(super) fn cause(&self) -> &'static str {
        match self {
            Self::Forbidden(_) => "forbidden",
            Self::Secret(_) => "secret",
            Self::Header(_) => "header",
            Self::Redirects => "redirects",
            Self::Timeout(_) => "timeout",
            Self::TooLarge(_) => "too-large",
            Self::Connect(_) => "connect",
            Self::Transfer(_) => "transfer",
        }
    }
}

/// One provider's client. Cheap to clone; connections are reused.
#[derive(Clone, Debug)]
pub struct HttpClient {
    client: reqwest::Client,
    grants: Arc<Grants>,
    secrets: Arc<Secrets>,
    max_body: usize,
}

impl HttpClient {
    pub fn new(grants: Arc<Grants>, secrets: Arc<Secrets>, max_body: usize) -> Result<Self, String> {
        let tls = super::tls::client_config()?;
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(ClientConfig::clone(&tls))
            .dns_resolver(Resolver { grants: grants.clone() })
            // Each hop is checked by hand.
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .user_agent(concat!("feedgate/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|e| e.to_string())?;
        Ok(Self { client, grants, secrets, max_body })
    }

    /// Where the request would go.
    pub(super) fn admit(&self, request: &Request) -> Result<Admitted, FetchError> {
        Ok(self.grants.admit(&request.url)?)
    }

    /// Sends it and reads the answer, whatever its status. `timeout` bounds the whole.
    pub(super) async fn send(&self, request: &Request, timeout: Duration) -> Result<Response, FetchError> {
        let whole = self.follow(request, timeout);
        tokio::time::timeout(timeout, whole).await.unwrap_or(Err(FetchError::Timeout(timeout)))
    }

    async fn follow(&self, request: &Request, timeout: Duration) -> Result<Response, FetchError> {
        let first = admit_filled(&self.grants, &self.secrets, &request.url, 0)?;
        let first_origin = first.origin;
        let mut url = first.url;
        let mut method = request.method;
        let mut body = match &request.body {
            Some(body) => Some(fill_bytes(body, &self.secrets)?),
            None => None,
        };
        let mut same_origin = true;
        for _ in 0..=MAX_REDIRECTS {
            let headers = self.headers(request, same_origin)?;
            let mut sending = match method {
                Method::Get => self.client.get(url.clone()),
                Method::Post => self.client.post(url.clone()),
            }
            .headers(headers);
            if let Some(body) = &body {
                sending = sending.body(body.clone());
            }
            let answer = sending.send().await.map_err(|e| failed(e, timeout))?;
            let status = answer.status().as_u16();
            let location = answer.headers().get(LOCATION).and_then(|value| value.to_str().ok());
            let (301 | 302 | 303 | 307 | 308, Some(location)) = (status, location) else {
                return self.read(answer, timeout).await;
            };
            let shown =
                || Forbidden::NotAUrl(format!("redirect to {:?}", location.chars().take(200).collect::<String>()));
            let next = url.join(location).map_err(|_| shown())?;
            let admitted = self.grants.admit(next.as_str())?;
            // What was meant for one origin, a key above all, is not shown to another.
            same_origin &= admitted.origin == first_origin || admitted.url.origin() == url.origin();
            url = admitted.url;
            if matches!(status, 301..=303) {
                (method, body) = (Method::Get, None);
            } else if !same_origin {
                body = None;
            }
        }
        Err(FetchError::Redirects)
    }

    fn headers(&self, request: &Request, same_origin: bool) -> Result<HeaderMap, FetchError> {
        let mut headers = HeaderMap::new();
        for (name, value) in &request.headers {
            if !same_origin && (Secrets::named_in(value) || name.eq_ignore_ascii_case("authorization")) {
                continue;
            }
            let bad = || FetchError::Header(name.chars().take(80).collect());
            let mut filled = HeaderValue::from_str(&self.secrets.fill(value)?).map_err(|_| bad())?;
            filled.set_sensitive(Secrets::named_in(value));
            headers.append(HeaderName::from_bytes(name.as_bytes()).map_err(|_| bad())?, filled);
        }
        Ok(headers)
    }

    async fn read(&self, mut answer: reqwest::Response, timeout: Duration) -> Result<Response, FetchError> {
        let too_large = FetchError::TooLarge(self.max_body);
        if answer.content_length().is_some_and(|length| length > self.max_body as u64) {
            return Err(too_large);
        }
        let status = answer.status().as_u16();
        // A value that is not text says nothing to a plugin.
        let text = |(name, value): (&HeaderName, &HeaderValue)| {
            Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned()))
        };
        let headers = answer.headers().iter().filter_map(text).collect();
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(|e| failed(e, timeout))? {
            if body.len() + chunk.len() > self.max_body {
                return Err(too_large);
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Response { status, headers, body })
    }
}

/// Decides on a URL as the plugin wrote it, at one of the places that serve it, then puts its secrets in; they must not
/// lead elsewhere.
pub(super) fn admit_filled(
    grants: &Grants,
    secrets: &Secrets,
    url: &str,
    place: usize,
) -> Result<Admitted, FetchError> {
    let admitted = grants.admit_at(url, place)?;
    if !Secrets::named_in(url) {
        return Ok(admitted);
    }
    let filled = grants.admit_at(&secrets.fill_url(url)?, place)?;
    if filled.origin != admitted.origin {
        return Err(Forbidden::NotAUrl("with its secret, the URL".to_owned()).into());
    }
    Ok(filled)
}

fn fill_bytes(body: &[u8], secrets: &Secrets) -> Result<Vec<u8>, FetchError> {
    match std::str::from_utf8(body) {
        Ok(text) if Secrets::named_in(text) => Ok(secrets.fill(text)?.into_bytes()),
        _ => Ok(body.to_vec()),
    }
}

/// The innermost cause says it best; the URL, which may hold a secret, is left out.
fn failed(error: reqwest::Error, timeout: Duration) -> FetchError {
    let error = error.without_url();
    if error.is_timeout() {
        return FetchError::Timeout(timeout);
    }
    let mut source: &dyn std::error::Error = &error;
    while let Some(inner) = source.source() {
        if let Some(forbidden) = inner.downcast_ref::<Forbidden>() {
            return FetchError::Forbidden(forbidden.clone());
        }
        source = inner;
    }
    let text = source.to_string();
    if error.is_connect() { FetchError::Connect(text) } else { FetchError::Transfer(text) }
}

/// Looks names up and refuses the addresses that no grant allows.
struct Resolver {
    grants: Arc<Grants>,
}

impl reqwest::dns::Resolve for Resolver {
    fn resolve(&self, name: reqwest::dns::Name) -> reqwest::dns::Resolving {
        let private = self.grants.allows_private(name.as_str());
        Box::pin(async move {
            let host = name.as_str().to_owned();
            let found: Vec<SocketAddr> = tokio::net::lookup_host((host.as_str(), 0)).await?.collect();
            if let Some(address) = found.iter().map(SocketAddr::ip).find(|ip| !private && !is_public(*ip)) {
                return Err(Forbidden::PrivateAddress { host, address }.into());
            }
            Ok(Box::new(found.into_iter()) as reqwest::dns::Addrs)
        })
    }
}
