//! TLS to a source: one provider, and the authorities that are trusted.

use std::sync::Arc;

use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, pem::PemObject as _},
};

use super::SourceError;

/// The public authorities.
pub(super) fn public_authorities() -> RootCertStore {
    webpki_roots::TLS_SERVER_ROOTS.iter().cloned().collect()
}

/// The authorities in this text, and no others.
pub(super) fn authorities(pem: &str) -> Result<RootCertStore, SourceError> {
    let text = "the source's certificate authority holds no certificates in PEM";
    let problem = || SourceError::Invalid(text.to_owned());
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        roots.add(certificate.map_err(|_| problem())?).map_err(|_| problem())?;
    }
    if roots.is_empty() { Err(problem()) } else { Ok(roots) }
}

/// A client that trusts these.
pub(super) fn client(roots: RootCertStore) -> Result<ClientConfig, SourceError> {
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| SourceError::Invalid(format!("TLS: {error}")))?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}
