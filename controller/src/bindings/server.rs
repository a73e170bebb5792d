//! Where a database server is and who may administer it, as the Service's Secret says.

use std::{collections::BTreeMap, fmt, sync::Arc};

use kipper_function::service::{
    ServiceKind,
    credentials::{self, CA},
};
use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, pem::PemObject},
};

use super::error::BindingError;

/// A database server and its administrator.
#[derive(Clone, PartialEq, Eq)]
pub struct Server {
    /// Host name or address.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Who may create databases and users.
    pub user: String,
    /// Their password.
    pub password: String,
    /// Database the Service came with: where one must be named to connect.
    pub database: Option<String>,
    /// Certificate authority in PEM, see [`CA`].
    pub ca: Option<String>,
}

impl Server {
    /// Reads the Secret `<service>-credentials`. Space around values is ignored, except in the
    /// password: `echo` leaves a line feed behind.
    pub fn from_secret(
        kind: ServiceKind,
        data: &BTreeMap<String, Vec<u8>>,
    ) -> Result<Self, BindingError> {
        if !kind.is_database() {
            return Err(BindingError::Unsupported(kind));
        }
        complete(kind, &[], data)?;
        let (host, port) = address(data)?;
        Ok(Self {
            host,
            port,
            user: required(data, credentials::USERNAME)?.trim().to_owned(),
            password: required(data, credentials::PASSWORD)?.to_owned(),
            database: optional(data, credentials::NAME)?,
            ca: authority(data)?,
        })
    }

    /// How the server is verified; `None` without a certificate authority.
    pub(super) fn tls(&self) -> Result<Option<Arc<ClientConfig>>, BindingError> {
        let Some(ca) = &self.ca else { return Ok(None) };
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|_| invalid(CA, NO_CERTIFICATES))?
            .with_root_certificates(roots(ca)?)
            .with_no_client_auth();
        Ok(Some(Arc::new(config)))
    }
}

const NO_CERTIFICATES: &str = "holds no certificates in PEM";

fn roots(ca: &str) -> Result<RootCertStore, BindingError> {
    let invalid = || invalid(CA, NO_CERTIFICATES);
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(ca.as_bytes()) {
        roots.add(certificate.map_err(|_| invalid())?).map_err(|_| invalid())?;
    }
    if roots.is_empty() { Err(invalid()) } else { Ok(roots) }
}

/// Whether every key that is needed has a value; `more` are those of this use beyond the kind's own.
pub(crate) fn complete(
    kind: ServiceKind,
    more: &[&'static str],
    data: &BTreeMap<String, Vec<u8>>,
) -> Result<(), BindingError> {
    let is_set = |key: &str| data.get(key).is_some_and(|value| !value.trim_ascii().is_empty());
    Ok(kind.check_keys(more, is_set)?)
}

/// Host and port of a Service's Secret.
pub(crate) fn address(data: &BTreeMap<String, Vec<u8>>) -> Result<(String, u16), BindingError> {
    let host = required(data, credentials::HOST)?.trim();
    // A slash would be read as the path of a socket of this machine.
    if host.contains(|c: char| c == '/' || c.is_whitespace() || c.is_control()) {
        return Err(invalid(credentials::HOST, "is not a host name"));
    }
    let port = required(data, credentials::PORT)?.trim().parse().ok();
    let port = port
        .filter(|port| *port != 0)
        .ok_or_else(|| invalid(credentials::PORT, "is not a port number"))?;
    Ok((host.to_owned(), port))
}

/// Its certificate authority, see [`CA`].
pub(crate) fn authority(data: &BTreeMap<String, Vec<u8>>) -> Result<Option<String>, BindingError> {
    let ca = optional(data, CA)?;
    ca.as_deref().map(roots).transpose()?;
    Ok(ca)
}

/// A value without the space around it; empty counts as absent.
pub(crate) fn optional(
    data: &BTreeMap<String, Vec<u8>>,
    key: &'static str,
) -> Result<Option<String>, BindingError> {
    Ok(text(data, key)?.map(|value| value.trim().to_owned()).filter(|value| !value.is_empty()))
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("host", &self.host)
            .field("port", &self.port)
            .field("user", &self.user)
            .field("database", &self.database)
            .field("tls", &self.ca.is_some())
            .finish_non_exhaustive()
    }
}

pub(crate) fn invalid(key: &'static str, problem: &'static str) -> BindingError {
    BindingError::Credentials { key, problem }
}

fn text<'a>(
    data: &'a BTreeMap<String, Vec<u8>>,
    key: &'static str,
) -> Result<Option<&'a str>, BindingError> {
    let value = data.get(key).map(|value| std::str::from_utf8(value)).transpose();
    let value = value.map_err(|_| invalid(key, "is not UTF-8"))?;
    match value {
        Some(value) if value.contains('\0') => Err(invalid(key, "has a null character")),
        value => Ok(value),
    }
}

pub(crate) fn required<'a>(
    data: &'a BTreeMap<String, Vec<u8>>,
    key: &'static str,
) -> Result<&'a str, BindingError> {
    match text(data, key)? {
        Some(value) if !value.trim().is_empty() => Ok(value),
        Some(_) => Err(invalid(key, "is empty")),
        None => Err(invalid(key, "is missing")),
    }
}
