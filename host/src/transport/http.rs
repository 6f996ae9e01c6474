//! One HTTP request, as a plugin wrote it, to an answer within bounds: origins checked at every hop, secrets put in
//! last, redirects followed by hand, the body read to a cap. When to ask, and what an answer means, is decided elsewhere.

use std::net::SocketAddr;
use std::sync::{Arc, Once};
use std::time::Duration;

use reqwest::header::{CONTENT_LENGTH, HeaderMap, HeaderName, HeaderValue, LOCATION};
use tokio::time::Instant;

use rustls::ClientConfig;
use zeroize::Zeroizing;

use super::data_url::{self, BadData};
use super::limiter::OriginLimits;
use super::network::{Network, for_requests, through};
use super::places::{Places, trouble};
use crate::access::proxy::Proxy;
use crate::access::secret::{MissingSecret, Secrets};
use crate::contract::codec::{Method, Request, Response};
use crate::contract::header::is_hosts_own;
use crate::contract::origin::{Admitted, Forbidden, Grants, Origin, is_public};
use crate::logic::retry_after;

const MAX_REDIRECTS: usize = 5;

/// Why there is no answer.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(super) enum FetchError {
    #[error(transparent)]
    Data(#[from] BadData),
    #[error("forbidden: {0}")]
    Forbidden(#[from] Forbidden),
    #[error(transparent)]
    Secret(#[from] MissingSecret),
    #[error("header {0:?} has a name or a value that HTTP does not allow")]
    Header(String),
    #[error("header {0:?} is written by the host: a plugin may not set it")]
    HostsOwnHeader(String),
    #[error("{origin} asked for no requests for another {} s", .left.as_secs_f64().ceil())]
    Paused { origin: Origin, left: Duration },
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
            Self::Data(_) => "data-url",
            Self::Forbidden(_) => "forbidden",
            Self::Secret(_) => "secret",
            Self::Header(_) | Self::HostsOwnHeader(_) => "header",
            Self::Paused { .. } => "paused",
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
    places: Arc<Places>,
    origins: Arc<OriginLimits>,
    proxy: Option<Proxy>,
    max_body: usize,
}

impl HttpClient {
    pub(crate) fn new(
        grants: Arc<Grants>,
        secrets: Arc<Secrets>,
        places: Arc<Places>,
        origins: Arc<OriginLimits>,
        network: &Network,
        max_body: usize,
    ) -> Result<Self, String> {
        let mut tls = ClientConfig::clone(network.tls());
        tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let proxy = network.proxy().cloned();
        let resolver = Resolver { grants: grants.clone(), proxy: proxy.as_ref().map(|proxy| proxy.host.clone()) };
        let mut client = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .dns_resolver(resolver)
            // Each hop is checked by hand.
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .user_agent(concat!("feedgate/", env!("CARGO_PKG_VERSION")));
        if let Some(proxy) = &proxy {
            client = client.proxy(for_requests(proxy)?);
        }
        let client = client.build().map_err(|e| e.to_string())?;
        Ok(Self { client, grants, secrets, places, origins, proxy, max_body })
    }

    /// The answer to a `data:` URL, which goes nowhere; `None` for every other.
    pub(super) fn answer_itself(&self, request: &Request) -> Option<Result<Response, FetchError>> {
        Some(data_url::answer(request, self.max_body)?.map_err(FetchError::from))
    }

    /// Where the request would go.
    pub(super) fn admit(&self, request: &Request) -> Result<Admitted, FetchError> {
        Ok(self.grants.admit(&request.url)?)
    }

    /// Whether the origin may be asked, as far as anyone in the process knows.
    pub(super) fn check_pause(&self, origin: &Origin) -> Result<(), FetchError> {
        match self.origins.paused(origin, Instant::now()) {
            Some(left) => Err(FetchError::Paused { origin: origin.clone(), left }),
            None => Ok(()),
        }
    }

    /// Sends it and reads the answer, whatever its status. `conditions` are headers of the host's own, for the URL as it
    /// is asked and not for where it redirects to. `timeout` bounds the whole. Nothing is sent to an origin that asked
    /// to be left alone, and one that asks for it now is left alone by everyone.
    pub(super) async fn send(
        &self,
        request: &Request,
        conditions: &[(&'static str, String)],
        timeout: Duration,
    ) -> Result<Response, FetchError> {
        let origin = self.grants.admit(&request.url)?.origin;
        let place = self.places.pick(&origin);
        let first = admit_filled(&self.grants, &self.secrets, &request.url, place)?;
        self.check_pause(&origin)?;
        let whole = self.follow(request, first, conditions, timeout);
        let answer = tokio::time::timeout(timeout, whole).await.unwrap_or(Err(FetchError::Timeout(timeout)));
        let told = answer.as_ref().ok().and_then(told_to_wait);
        if fails(&answer) {
            self.places.failed(&origin, place, told);
        } else {
            self.places.worked(&origin, place);
        }
        if let Some(wait) = told {
            self.origins.pause(&origin, wait, Instant::now());
        }
        answer
    }

    async fn follow(
        &self,
        request: &Request,
        first: Admitted,
        conditions: &[(&'static str, String)],
        timeout: Duration,
    ) -> Result<Response, FetchError> {
        let first_origin = first.origin;
        let mut url = first.url;
        let mut method = request.method;
        let mut body = match &request.body {
            Some(body) => Some(fill_bytes(body, &self.secrets)?),
            None => None,
        };
        let mut same_origin = true;
        for hop in 0..=MAX_REDIRECTS {
            let mut headers = self.headers(request, same_origin)?;
            for (name, value) in conditions.iter().filter(|_| hop == 0) {
                let value = HeaderValue::from_str(value).map_err(|_| FetchError::Header((*name).to_owned()))?;
                headers.append(HeaderName::from_static(name), value);
            }
            let mut sending = match method {
                Method::Get => self.client.get(url.clone()),
                Method::Post => self.client.post(url.clone()),
            }
            .headers(headers);
            match &body {
                Some(body) if !body.is_empty() => sending = sending.body(body.to_vec()),
                // Not said by itself, and some servers want it said (411).
                _ if method == Method::Post => sending = sending.header(CONTENT_LENGTH, 0),
                _ => {}
            }
            let answer = sending.send().await.map_err(|e| self.failed(e, timeout))?;
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
            let shown = || name.chars().take(80).collect();
            if is_hosts_own(name) {
                return Err(FetchError::HostsOwnHeader(shown()));
            }
            let bad = || FetchError::Header(shown());
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
        while let Some(chunk) = answer.chunk().await.map_err(|e| self.failed(e, timeout))? {
            if body.len() + chunk.len() > self.max_body {
                return Err(too_large);
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Response { status, headers, body })
    }

    /// The innermost cause says it best; the URL, which may hold a secret, is left out.
    fn failed(&self, error: reqwest::Error, timeout: Duration) -> FetchError {
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
        match &self.proxy {
            Some(proxy) if error.is_connect() => FetchError::Connect(through(proxy, &text)),
            _ if error.is_connect() => FetchError::Connect(text),
            _ => FetchError::Transfer(text),
        }
    }
}

/// Whether it is the place that failed, so that another may do better: no answer, or none that a venue in good order
/// gives.
fn fails(answer: &Result<Response, FetchError>) -> bool {
    match answer {
        Ok(answer) => answer.status >= 500 || trouble(answer.status).is_some(),
        Err(FetchError::Timeout(_) | FetchError::Connect(_) | FetchError::Transfer(_)) => true,
        Err(_) => false,
    }
}

/// How long a venue that answers "not now" wants to be left alone, where it says so.
fn told_to_wait(answer: &Response) -> Option<Duration> {
    if is_busy(answer.status) { retry_after(&answer.headers) } else { None }
}

/// Whether the status says "not now". 418 is what some venues answer to those who went on after a 429.
pub(super) fn is_busy(status: u16) -> bool {
    matches!(status, 418 | 429 | 503)
}

/// `Retry-After` in whatever form: seconds as [`retry_after::read`] takes them, or a date. Of several the longest counts.
pub(super) fn retry_after(headers: &[(String, String)]) -> Option<Duration> {
    static TOLD: Once = Once::new();
    let said = headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case("retry-after"));
    let wait = |(_, value): &(String, String)| {
        let date = || {
            let date = httpdate::parse_http_date(value.trim()).ok()?;
            Some(date.duration_since(std::time::SystemTime::now()).unwrap_or_default())
        };
        let wait = retry_after::read(value).or_else(date);
        if wait.is_none() {
            let value: String = value.chars().take(80).collect();
            TOLD.call_once(|| tracing::warn!(?value, "a Retry-After that cannot be read; said once"));
        }
        wait
    };
    said.filter_map(wait).max()
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

fn fill_bytes(body: &[u8], secrets: &Secrets) -> Result<Zeroizing<Vec<u8>>, FetchError> {
    match std::str::from_utf8(body) {
        Ok(text) if Secrets::named_in(text) => Ok(Zeroizing::new(secrets.fill(text)?.as_bytes().to_vec())),
        _ => Ok(Zeroizing::new(body.to_vec())),
    }
}

/// Looks names up and refuses the addresses that no grant allows. Through a proxy the only name it sees is the proxy's,
/// which may be at home; the venue's is looked up over there.
struct Resolver {
    grants: Arc<Grants>,
    proxy: Option<String>,
}

impl reqwest::dns::Resolve for Resolver {
    fn resolve(&self, name: reqwest::dns::Name) -> reqwest::dns::Resolving {
        let private = self.grants.allows_private(name.as_str()) || self.proxy.as_deref() == Some(name.as_str());
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_comes_in_many_forms() {
        let of = |value: &str| retry_after(&[("Retry-After".to_owned(), value.to_owned())]);
        assert_eq!(of("120"), Some(Duration::from_secs(120)));
        assert_eq!(of(" 7 "), Some(Duration::from_secs(7)));
        assert_eq!(of("299.997"), Some(Duration::from_secs(300)));
        assert_eq!(of("300, 300"), Some(Duration::from_secs(300)));
        assert_eq!(of("soon"), None);
        let twice = ["7", "30"].map(|value| ("retry-after".to_owned(), value.to_owned()));
        assert_eq!(retry_after(&twice), Some(Duration::from_secs(30)));
        assert_eq!(of("Sun, 06 Nov 1994 08:49:37 GMT"), Some(Duration::ZERO));
        let later = httpdate::fmt_http_date(std::time::SystemTime::now() + Duration::from_secs(100));
        assert!(of(&later).is_some_and(|wait| wait > Duration::from_secs(90) && wait <= Duration::from_secs(100)));
    }
}
