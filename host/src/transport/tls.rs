//! One TLS policy for both transports: the system's roots or the operator's, ring for the cryptography. No sockets here.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

use crate::config::NetworkConfig;

/// What the operator's files hold. Compared with what they hold later, to see that one was replaced.
#[derive(Clone, PartialEq, Eq, Default)]
pub(super) struct TlsFiles {
    ca: Option<File>,
    /// Certificates, and the key of the first.
    client: Option<(File, File)>,
}

#[derive(Clone, PartialEq, Eq)]
struct File {
    field: &'static str,
    path: PathBuf,
    content: Vec<u8>,
}

/// A key is in there.
impl fmt::Debug for TlsFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TlsFiles")
    }
}

impl TlsFiles {
    pub(super) fn read(config: &NetworkConfig) -> Result<Self, String> {
        let ca = config.ca_file.as_deref().map(|path| File::read("network.ca_file", path)).transpose()?;
        let client = match &config.client_cert {
            Some((certificate, key)) => Some((
                File::read("network.client_cert_file", certificate)?,
                File::read("network.client_key_file", key)?,
            )),
            None => None,
        };
        Ok(Self { ca, client })
    }
}

impl TlsFiles {
    /// Roots alone, named by the option that says where they are.
    pub(super) fn of_roots(option: &'static str, path: &Path) -> Result<Self, String> {
        Ok(Self { ca: Some(File::read(option, path)?), client: None })
    }
}

impl File {
    fn read(field: &'static str, path: &Path) -> Result<Self, String> {
        let file = |content| Self { field, path: path.to_owned(), content };
        std::fs::read(path).map(file).map_err(|why| format!("{field}: {} cannot be read: {why}", path.display()))
    }

    fn refused(&self, why: impl fmt::Display) -> String {
        format!("{}: {} {why}", self.field, self.path.display())
    }

    fn certificates(&self) -> Result<Vec<CertificateDer<'static>>, String> {
        let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&self.content).collect();
        match found {
            Ok(certificates) if !certificates.is_empty() => Ok(certificates),
            Ok(_) => Err(self.refused("holds no certificate in PEM form")),
            Err(why) => Err(self.refused(format!("is not PEM: {why}"))),
        }
    }
}

/// The TLS of one provider. Where it has no files of its own, that of the whole process: a machine has more than a
/// hundred roots, and a provider may have hundreds of connections.
pub(super) fn client_config(files: &TlsFiles) -> Result<Arc<ClientConfig>, String> {
    if *files != TlsFiles::default() {
        return build(files).map(Arc::new);
    }
    static SHARED: OnceLock<Result<Arc<ClientConfig>, String>> = OnceLock::new();
    SHARED.get_or_init(|| build(&TlsFiles::default()).map(Arc::new)).clone()
}

fn build(files: &TlsFiles) -> Result<ClientConfig, String> {
    let roots = match &files.ca {
        Some(file) => Arc::new(own_roots(file)?),
        None => system_roots(),
    };
    let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots);
    let Some((certificate, key)) = &files.client else {
        return Ok(builder.with_no_client_auth());
    };
    let chain = certificate.certificates()?;
    let private = PrivateKeyDer::from_pem_slice(&key.content)
        .map_err(|why| key.refused(format!("holds no private key in PEM form: {why}")))?;
    builder
        .with_client_auth_cert(chain, private)
        .map_err(|why| key.refused(format!("is not the key of {}: {why}", certificate.path.display())))
}

fn own_roots(file: &File) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for certificate in file.certificates()? {
        roots
            .add(certificate)
            .map_err(|why| file.refused(format!("holds a certificate that cannot be used: {why}")))?;
    }
    Ok(roots)
}

/// Read once for the process.
///
/// A machine without certificates can still serve plain loopback; a TLS connection then fails with an unknown issuer,
/// and the warning says why.
fn system_roots() -> Arc<RootCertStore> {
    static ROOTS: OnceLock<Arc<RootCertStore>> = OnceLock::new();
    let read = || {
        let found = rustls_native_certs::load_native_certs();
        for error in &found.errors {
            tracing::warn!(%error, "a system certificate could not be read");
        }
        let mut roots = RootCertStore::empty();
        let (added, _) = roots.add_parsable_certificates(found.certs);
        if added == 0 {
            tracing::warn!(
                "the system has no root certificates (package ca-certificates): no TLS connection will succeed, except \
                 with a network.ca_file"
            );
        }
        Arc::new(roots)
    };
    ROOTS.get_or_init(read).clone()
}
