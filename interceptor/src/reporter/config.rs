//! Where and how to report, and why that may be impossible.

use std::{path::PathBuf, time::Duration};

use clap::Args;

/// Where and how to report.
#[derive(Clone, Debug, Args)]
pub struct ReporterConfig {
    /// Scaler-adapter to report to; every address of its name gets a stream. May be repeated
    #[arg(
        long = "adapter",
        env = "KIPPER_INTERCEPTOR_ADAPTERS",
        value_name = "HOST:PORT",
        value_delimiter = ','
    )]
    pub adapters: Vec<String>,

    /// Name of this interceptor, unique in the fleet: the pod's name [default: a random one]
    #[arg(long = "name", env = "KIPPER_INTERCEPTOR_NAME")]
    pub name: Option<String>,

    /// CA of the adapters' certificates (PEM); without it counts are sent in plaintext
    #[arg(long, env = "KIPPER_INTERCEPTOR_ADAPTER_CA")]
    pub adapter_ca: Option<PathBuf>,

    /// Certificate to show to adapters (PEM); read anew for every connection
    #[arg(long, env = "KIPPER_INTERCEPTOR_ADAPTER_CERT", requires_all = ["adapter_key", "adapter_ca"])]
    pub adapter_cert: Option<PathBuf>,

    /// Its private key (PEM)
    #[arg(long, env = "KIPPER_INTERCEPTOR_ADAPTER_KEY", requires = "adapter_cert")]
    pub adapter_key: Option<PathBuf>,

    /// Name in the adapters' certificates [default: the host of `--adapter`]
    #[arg(long, env = "KIPPER_INTERCEPTOR_ADAPTER_SERVER_NAME", requires = "adapter_ca")]
    pub adapter_server_name: Option<String>,

    /// How often changes are reported while they keep coming
    #[arg(long, env = "KIPPER_INTERCEPTOR_COUNTS_INTERVAL", default_value = "200ms", value_parser = humantime::parse_duration)]
    pub counts_interval: Duration,
}

impl Default for ReporterConfig {
    fn default() -> Self {
        Self {
            adapters: Vec::new(),
            name: None,
            adapter_ca: None,
            adapter_cert: None,
            adapter_key: None,
            adapter_server_name: None,
            counts_interval: Duration::from_millis(200),
        }
    }
}

/// Why counts cannot be reported at all.
#[derive(Debug, thiserror::Error)]
pub enum ReporterError {
    /// A file of a key or certificate could not be read.
    #[error("read {path}")]
    TlsFile {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// An adapter's address has no port.
    #[error("adapter {0:?} is not host:port")]
    Address(String),
}
