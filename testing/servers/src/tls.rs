//! A certificate authority for one server, and the certificate that it gives to it.

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};

use crate::ServerError;

/// The names that a server's certificate is valid for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CertificateFor {
    /// `localhost` and `127.0.0.1`.
    #[default]
    NameAndAddress,
    /// `localhost` only: a client that verifies refuses `127.0.0.1`.
    NameOnly,
}

/// What [`issue`] makes, all in PEM.
pub struct Certificate {
    /// The authority.
    pub ca: String,
    /// What it signed.
    pub certificate: String,
    /// The certificate's key.
    pub key: String,
}

/// A new authority and a certificate by it. The two have different names: OpenSSL takes a
/// certificate whose issuer has its own name for self-signed.
///
/// # Errors
/// When no key can be made.
pub fn issue(names: CertificateFor) -> Result<Certificate, ServerError> {
    let ca_key = KeyPair::generate()?;
    let mut ca = CertificateParams::new(Vec::new())?;
    ca.distinguished_name.push(DnType::CommonName, "authority of this test");
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let ca_pem = ca.self_signed(&ca_key)?.pem();
    let issuer = Issuer::new(ca, ca_key);

    let mut subjects = vec!["localhost".to_owned()];
    if names == CertificateFor::NameAndAddress {
        subjects.push("127.0.0.1".to_owned());
    }
    let key = KeyPair::generate()?;
    let mut server = CertificateParams::new(subjects)?;
    server.distinguished_name.push(DnType::CommonName, "localhost");
    let certificate = server.signed_by(&key, &issuer)?.pem();
    Ok(Certificate { ca: ca_pem, certificate, key: key.serialize_pem() })
}
