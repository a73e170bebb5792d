//! What every peer of a run is started with.

use std::{
    fs,
    net::SocketAddr,
    num::NonZeroUsize,
    path::{Path, PathBuf},
};

use super::interceptor::Interceptor;

/// The host every function of a run is reached by, unless a route table has several.
pub const HOST: &str = "fn-bench-localhost";
/// Keep-alive never ends within a run: reconnecting is compared in a shape of its own.
pub(super) const KEEPALIVE_REQUESTS: u64 = 1_000_000_000;
/// Connections a peer accepts, far above what any run opens.
pub(super) const MAX_CONNECTIONS: usize = 8192;

/// What every peer of a run is started with.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Where configurations and logs go.
    pub dir: PathBuf,
    /// The binary of this harness, which is also backend, load generator and hyper proxy.
    pub bench: PathBuf,
    /// Workers of every peer.
    pub workers: NonZeroUsize,
    /// How our own proxy is started.
    pub interceptor: Interceptor,
    /// What every proxy forwards to.
    pub backend: SocketAddr,
    /// What every proxy that ends TLS shows.
    pub certificate: Certificate,
}

/// Where a peer listens.
#[derive(Clone, Copy, Debug)]
pub(super) struct Listen {
    pub(super) plain: SocketAddr,
    /// Of the peers that can.
    pub(super) tls: SocketAddr,
}

/// A certificate that is valid for [`HOST`], by itself: a directory with `<host>.crt` and
/// `<host>.key`, and both in one file, as HAProxy reads them.
#[derive(Clone, Debug)]
pub struct Certificate {
    pub(super) dir: PathBuf,
}

impl Certificate {
    /// Makes one in a directory of its own in `dir`.
    ///
    /// # Errors
    /// When it cannot be made or written.
    pub fn create(dir: &Path) -> Result<Self, anyhow::Error> {
        let made = rcgen::generate_simple_self_signed(vec![HOST.to_owned()])?;
        let (certificate, key) = (made.cert.pem(), made.signing_key.serialize_pem());
        let dir = dir.join("certificates");
        fs::create_dir_all(&dir)?;
        let own = Self { dir };
        fs::write(own.certificate(), &certificate)?;
        fs::write(own.key(), &key)?;
        fs::write(own.both(), certificate + &key)?;
        Ok(own)
    }

    pub(super) fn certificate(&self) -> PathBuf {
        self.dir.join(format!("{HOST}.crt"))
    }

    pub(super) fn key(&self) -> PathBuf {
        self.dir.join(format!("{HOST}.key"))
    }

    pub(super) fn both(&self) -> PathBuf {
        self.dir.join("both.pem")
    }
}

/// Finds a program Debian installs outside of an ordinary user's path.
pub(super) fn system_binary(name: &str) -> PathBuf {
    let sbin = Path::new("/usr/sbin").join(name);
    if sbin.exists() { sbin } else { PathBuf::from(name) }
}
