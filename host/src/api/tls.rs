//! How the API shows itself, where it is not plain HTTP: the operator's certificate, ring for the cryptography.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

/// An error is a field and why it is refused.
pub(super) fn acceptor((certificate, key): &(PathBuf, PathBuf)) -> Result<TlsAcceptor, (&'static str, String)> {
    let (of_certificate, of_key) = ("api.tls_cert_file", "api.tls_key_file");
    let refused = |path: &Path, why: String| format!("{} {why}", path.display());
    let read = |field, path: &Path| {
        std::fs::read(path).map_err(|why| (field, refused(path, format!("cannot be read: {why}"))))
    };
    let chain = read(of_certificate, certificate)?;
    let chain: Vec<_> = CertificateDer::pem_slice_iter(&chain)
        .collect::<Result<_, _>>()
        .map_err(|why| (of_certificate, refused(certificate, format!("is not PEM: {why}"))))?;
    if chain.is_empty() {
        return Err((of_certificate, refused(certificate, "holds no certificate in PEM form".to_owned())));
    }
    let private = PrivateKeyDer::from_pem_slice(&read(of_key, key)?)
        .map_err(|why| (of_key, refused(key, format!("holds no private key in PEM form: {why}"))))?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|why| (of_certificate, why.to_string()))?
        .with_no_client_auth()
        .with_single_cert(chain, private)
        .map_err(|why| (of_key, refused(key, format!("is not the key of {}: {why}", certificate.display()))))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}
