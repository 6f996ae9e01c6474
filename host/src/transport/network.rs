//! One provider's way out: what it trusts, who it says it is, and the proxy it goes through, for both transports. Where to
//! go is decided elsewhere.

use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::proxy::{SocksV5, Tunnel};
use rustls::ClientConfig;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::http::{HeaderValue, Uri};
use tower_service::Service as _;

use super::tls::{TlsFiles, client_config};
use crate::access::proxy::{Proxy, ProxyKind};
use crate::config::NetworkConfig;

/// Cheap to clone.
#[derive(Clone, Debug)]
pub struct Network {
    files: Arc<TlsFiles>,
    tls: Arc<ClientConfig>,
    proxy: Option<Arc<Proxy>>,
}

impl Network {
    /// Reads the files. The error names file and field.
    pub fn new(config: &NetworkConfig) -> Result<Self, String> {
        let files = TlsFiles::read(config)?;
        let tls = client_config(&files)?;
        Ok(Self { files: Arc::new(files), tls, proxy: config.proxy.clone().map(Arc::new) })
    }

    /// Whether its files read otherwise now. The error is that they cannot be read.
    pub fn files_changed(&self, config: &NetworkConfig) -> Result<bool, String> {
        Ok(TlsFiles::read(config)? != *self.files)
    }

    pub(super) fn tls(&self) -> &Arc<ClientConfig> {
        &self.tls
    }

    pub(super) fn proxy(&self) -> Option<&Proxy> {
        self.proxy.as_deref()
    }
}

/// The words for what went wrong on the way through a proxy.
pub(super) fn through(proxy: &Proxy, why: &str) -> String {
    format!("through the proxy {proxy}: {why}")
}

/// A TCP connection to a place, made by the proxy, which looks the name up.
pub(super) async fn connect_through(proxy: &Proxy, host: &str, port: u16) -> Result<TcpStream, String> {
    let uri = |host: &str, port: u16| format!("http://{host}:{port}").parse::<Uri>().map_err(|error| error.to_string());
    let (at, to) = (uri(&proxy.host, proxy.port)?, uri(host, port)?);
    let connector = HttpConnector::new();
    let stream = match proxy.kind {
        ProxyKind::Http => {
            let mut tunnel = Tunnel::new(at, connector);
            if let Some((user, password)) = &proxy.credentials {
                let basic = format!("Basic {}", BASE64_STANDARD.encode(format!("{user}:{password}")));
                let mut basic = HeaderValue::from_str(&basic).map_err(|error| error.to_string())?;
                basic.set_sensitive(true);
                tunnel = tunnel.with_auth(basic);
            }
            tunnel.call(to).await.map_err(|error| innermost(&error))
        }
        ProxyKind::Socks5 => {
            let mut socks = SocksV5::new(at, connector);
            if let Some((user, password)) = &proxy.credentials {
                socks = socks.with_auth(user.clone(), password.clone());
            }
            socks.call(to).await.map_err(|error| innermost(&error))
        }
    };
    Ok(stream?.into_inner())
}

fn innermost(error: &dyn std::error::Error) -> String {
    let mut found = error;
    while let Some(inner) = found.source() {
        found = inner;
    }
    found.to_string()
}

/// The same proxy, for HTTP.
pub(super) fn for_requests(proxy: &Proxy) -> Result<reqwest::Proxy, String> {
    // With the plain `socks5` reqwest would look names up itself.
    let scheme = match proxy.kind {
        ProxyKind::Http => "http",
        ProxyKind::Socks5 => "socks5h",
    };
    let url = format!("{scheme}://{}:{}", proxy.host, proxy.port);
    let found = reqwest::Proxy::all(url).map_err(|error| innermost(&error))?;
    Ok(match &proxy.credentials {
        Some((user, password)) => found.basic_auth(user, password),
        None => found,
    })
}
