//! TLS towards clients: certificates by server name (RFC 6066 section 3), read from a directory
//! and read again when it changes.
//!
//! A certificate that cannot be read never replaces one that works: the last good set stays.

use std::{
    collections::{BTreeMap, HashMap},
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use arc_swap::ArcSwap;
use rustls::{
    ServerConfig,
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};

/// How often the directory is looked at.
const RELOAD_INTERVAL: Duration = Duration::from_secs(1);

/// Why certificates cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file or the directory cannot be read.
    #[error("cannot read {path}: {source}")]
    Read { path: PathBuf, source: io::Error },
    /// Not PEM, or not what it should hold.
    #[error("{path}: {detail}")]
    Invalid { path: PathBuf, detail: String },
    /// The directory holds no pair of certificate and key.
    #[error("{0}: no certificate with its key")]
    Empty(PathBuf),
}

/// Certificates by the names they are for.
#[derive(Debug, Default)]
struct Names {
    exact: HashMap<String, Arc<CertifiedKey>>,
    /// Answers for names that no certificate is for: the first one in the directory.
    fallback: Option<Arc<CertifiedKey>>,
}

/// The certificates of one directory.
#[derive(Debug)]
pub struct Certificates {
    directory: PathBuf,
    names: ArcSwap<Names>,
}

/// What a set of files looked like, to notice a change.
type Stamp = BTreeMap<PathBuf, (u64, Option<SystemTime>)>;

impl Certificates {
    /// Reads the directory.
    pub fn load(directory: &Path) -> Result<Arc<Self>, TlsError> {
        let names = ArcSwap::from_pointee(read(directory)?);
        Ok(Arc::new(Self { directory: directory.to_owned(), names }))
    }

    /// The server's TLS settings with these certificates.
    pub fn server_config(self: &Arc<Self>) -> Result<Arc<ServerConfig>, rustls::Error> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(self) as Arc<dyn ResolvesServerCert>);
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }

    /// Looks for changes; never ends.
    pub async fn reload(self: Arc<Self>) {
        let mut seen = stamp(&self.directory);
        let mut tick = tokio::time::interval(RELOAD_INTERVAL);
        loop {
            tick.tick().await;
            let now = stamp(&self.directory);
            if now == seen {
                continue;
            }
            seen = now;
            match read(&self.directory) {
                Ok(names) => {
                    tracing::info!(certificates = names.exact.len(), "certificates reloaded");
                    self.names.store(Arc::new(names));
                }
                Err(error) => {
                    tracing::warn!(%error, "certificates not reloaded, the old ones stay")
                }
            }
        }
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let names = self.names.load();
        let Some(host) = hello.server_name() else { return names.fallback.clone() };
        let host = host.to_ascii_lowercase();
        let wildcard = host.split_once('.').map(|(_, parent)| format!("*.{parent}"));
        let found = names.exact.get(&host);
        let found = found.or_else(|| names.exact.get(&wildcard?));
        found.or(names.fallback.as_ref()).cloned()
    }
}

/// Pairs of certificate and key files: `x.crt` with `x.key`, `x/tls.crt` with `x/tls.key`.
fn pairs(directory: &Path) -> Result<Vec<(PathBuf, PathBuf)>, TlsError> {
    let failed = |source| TlsError::Read { path: directory.to_owned(), source };
    let mut pairs = Vec::new();
    for entry in fs::read_dir(directory).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let hidden = path.file_name().is_some_and(|n| n.as_encoded_bytes().starts_with(b"."));
        let certificate = if path.is_dir() { path.join("tls.crt") } else { path };
        let key = certificate.with_extension("key");
        if !hidden && certificate.extension().is_some_and(|e| e == "crt") && key.exists() {
            pairs.push((certificate, key));
        }
    }
    pairs.sort();
    Ok(pairs)
}

fn stamp(directory: &Path) -> Stamp {
    let files = pairs(directory).unwrap_or_default();
    let files = files.into_iter().flat_map(|(c, k)| [c, k]);
    // Kubernetes swaps a symlink; the metadata is that of what it leads to.
    files.filter_map(|f| fs::metadata(&f).ok().map(|m| (f, (m.len(), m.modified().ok())))).collect()
}

fn read(directory: &Path) -> Result<Names, TlsError> {
    let mut names = Names::default();
    for (certificate, key) in pairs(directory)? {
        let (key, hosts) = certified(&certificate, &key)?;
        let key = Arc::new(key);
        names.fallback.get_or_insert_with(|| Arc::clone(&key));
        for host in hosts {
            names.exact.entry(host).or_insert_with(|| Arc::clone(&key));
        }
    }
    if names.fallback.is_none() {
        return Err(TlsError::Empty(directory.to_owned()));
    }
    Ok(names)
}

/// One pair, checked to belong together, and the names in the certificate.
fn certified(certificate: &Path, key: &Path) -> Result<(CertifiedKey, Vec<String>), TlsError> {
    let invalid = |path: &Path, detail: String| TlsError::Invalid { path: path.to_owned(), detail };
    let read = |path: &Path| {
        fs::read(path).map_err(|source| TlsError::Read { path: path.to_owned(), source })
    };
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&read(certificate)?).collect();
    let chain = chain.map_err(|e| invalid(certificate, e.to_string()))?;
    let private = PrivateKeyDer::from_pem_slice(&read(key)?);
    let private = private.map_err(|e| invalid(key, e.to_string()))?;
    let provider = rustls::crypto::ring::default_provider();
    let first = chain.first().ok_or_else(|| invalid(certificate, "no certificate".to_owned()))?;
    let parsed = webpki::EndEntityCert::try_from(first);
    let hosts = parsed
        .map_err(|e| invalid(certificate, e.to_string()))?
        .valid_dns_names()
        .map(str::to_ascii_lowercase)
        .collect();
    let key = CertifiedKey::from_der(chain, private, &provider);
    Ok((key.map_err(|e| invalid(certificate, e.to_string()))?, hosts))
}
