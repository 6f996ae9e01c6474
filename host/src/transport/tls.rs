//! One TLS policy for both transports: the system's roots, ring for the cryptography.

use std::sync::{Arc, OnceLock};

use rustls::{ClientConfig, RootCertStore};

/// Read once for the process: a machine has more than a hundred roots, and a provider may have hundreds of connections.
///
/// A machine without certificates can still serve plain loopback; a TLS connection then fails with an unknown issuer,
/// and the warning says why.
pub(super) fn client_config() -> Result<Arc<ClientConfig>, String> {
    static CONFIG: OnceLock<Result<Arc<ClientConfig>, String>> = OnceLock::new();
    CONFIG.get_or_init(|| read().map(Arc::new).map_err(|error| error.to_string())).clone()
}

fn read() -> Result<ClientConfig, rustls::Error> {
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        tracing::warn!(%error, "a system certificate could not be read");
    }
    let mut roots = RootCertStore::empty();
    let (added, _) = roots.add_parsable_certificates(found.certs);
    if added == 0 {
        tracing::warn!("the system has no root certificates (package ca-certificates): no TLS connection will succeed");
    }
    Ok(ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth())
}
