//! Configuration of an adapter: flags, environment, defaults.
//!
//! Two ports, because KEDA and the interceptors are different clients: network policy and mutual
//! TLS are set for each. Keys and certificates are read at start only; after a rotation the
//! process must be restarted, which costs no request.

use std::{net::SocketAddr, path::PathBuf, str::FromStr, time::Duration};

use clap::{Args, Parser};
use humantime::parse_duration;
use kipper_process::telemetry::LogArgs;
use kipper_trigger::shard::Shard;

use crate::warmup::Expected;

const DEFAULT_GRPC_LISTEN: &str = "0.0.0.0:9090";
const DEFAULT_COUNTS_LISTEN: &str = "0.0.0.0:9091";
const DEFAULT_ADMIN_LISTEN: &str = "0.0.0.0:9990";
/// Interceptors reconnect within two seconds; slower than that, and something is wrong.
const DEFAULT_SNAPSHOT_WAIT: &str = "10s";
/// An interceptor that lives is back within 1.5 s, its longest backoff; the counts of one that was
/// killed are gone before two seconds have passed. A false "inactive" in between needs a cut that
/// lasts longer, and KEDA's cooldown covers it.
const DEFAULT_INTERCEPTOR_TTL: &str = "1800ms";
/// Long enough for the Service to stop naming this address before KEDA reconnects.
const DEFAULT_DRAIN_DELAY: &str = "3s";
/// A bound, not a size: an idle function without a stream is forgotten.
const DEFAULT_MAX_FUNCTIONS: usize = 200_000;

/// Configuration of the process.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "kipper-scaler-adapter",
    version,
    about = "KEDA external scaler fed by the interceptors' counts"
)]
pub struct Config {
    /// Where KEDA's calls (ExternalScaler and health) are served
    #[arg(long, env = "KIPPER_SCALER_ADAPTER_GRPC_LISTEN", default_value = DEFAULT_GRPC_LISTEN)]
    pub grpc_listen: SocketAddr,

    /// Where interceptors report their counts
    #[arg(long, env = "KIPPER_SCALER_ADAPTER_COUNTS_LISTEN", default_value = DEFAULT_COUNTS_LISTEN)]
    pub counts_listen: SocketAddr,

    /// Where pollers report how many events wait for their functions; their tokens follow from the private
    /// key of the counts port [default: nowhere]
    #[arg(long, env = "KIPPER_SCALER_ADAPTER_BACKLOG_LISTEN", requires = "counts_tls_key")]
    pub backlog_listen: Option<SocketAddr>,

    /// Where /livez, /readyz and /metrics are served
    #[arg(long, env = "KIPPER_SCALER_ADAPTER_ADMIN_LISTEN", default_value = DEFAULT_ADMIN_LISTEN)]
    pub admin_listen: SocketAddr,

    /// Interceptors to hear from before KEDA is answered: a number, or the DNS name of their
    /// headless Service
    #[arg(
        long,
        env = "KIPPER_SCALER_ADAPTER_EXPECTED_INTERCEPTORS",
        default_value = "1",
        value_name = "COUNT|NAME"
    )]
    pub expected_interceptors: Expected,

    /// How long to wait for them at most
    #[arg(long, env = "KIPPER_SCALER_ADAPTER_SNAPSHOT_WAIT", default_value = DEFAULT_SNAPSHOT_WAIT, value_parser = parse_duration)]
    pub snapshot_wait: Duration,

    /// How long the counts of an interceptor without a stream are kept
    #[arg(long, env = "KIPPER_SCALER_ADAPTER_INTERCEPTOR_TTL", default_value = DEFAULT_INTERCEPTOR_TTL, value_parser = parse_duration)]
    pub interceptor_ttl: Duration,

    /// How long to serve on after a signal, while not ready
    #[arg(long, env = "KIPPER_SCALER_ADAPTER_DRAIN_DELAY", default_value = DEFAULT_DRAIN_DELAY, value_parser = parse_duration)]
    pub drain_delay: Duration,

    /// Which share of all functions is this adapter's, where several share them: 0/3 is the first of three.
    /// Interceptors report only its functions to it, and it refuses KEDA's questions about others
    #[arg(long, env = "KIPPER_SCALER_ADAPTER_SHARD", default_value_t, value_name = "INDEX/COUNT")]
    pub shard: Shard,

    /// Functions known at most; counts of further ones are refused
    #[arg(long, env = "KIPPER_SCALER_ADAPTER_MAX_FUNCTIONS", default_value_t = DEFAULT_MAX_FUNCTIONS)]
    pub max_functions: usize,

    /// Scale functions ahead of the HPA. Names a Deployment that is no function's (this adapter's
    /// own): as long as no admission policy refuses to scale that one, functions are left to the HPA
    #[arg(long, env = "KIPPER_SCALER_ADAPTER_BURST", value_name = "NAMESPACE/NAME")]
    pub burst: Option<ForeignDeployment>,

    /// Buckets that trigger functions
    #[cfg(feature = "bucket-watcher")]
    #[command(flatten)]
    pub bucket: kipper_bucket_watcher::BucketArgs,

    /// TLS towards KEDA
    #[command(flatten)]
    pub grpc_tls: GrpcTls,

    /// TLS towards interceptors
    #[command(flatten)]
    pub counts_tls: CountsTls,

    /// The log; only `main` reads it.
    #[command(flatten)]
    pub log: LogArgs,
}

/// A Deployment that must not be scaled from here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForeignDeployment {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl FromStr for ForeignDeployment {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once('/') {
            Some((namespace, name))
                if !namespace.is_empty() && !name.is_empty() && !name.contains('/') =>
            {
                Ok(Self { namespace: namespace.to_owned(), name: name.to_owned() })
            }
            _ => Err("expected <namespace>/<name>"),
        }
    }
}

/// TLS of the ExternalScaler port; plaintext when absent.
#[derive(Clone, Debug, Default, Args)]
pub struct GrpcTls {
    /// Certificate chain for KEDA's calls (PEM)
    #[arg(long, env = "KIPPER_SCALER_ADAPTER_GRPC_TLS_CERT", requires = "grpc_tls_key")]
    pub grpc_tls_cert: Option<PathBuf>,

    /// Its private key (PEM)
    #[arg(long, env = "KIPPER_SCALER_ADAPTER_GRPC_TLS_KEY", requires = "grpc_tls_cert")]
    pub grpc_tls_key: Option<PathBuf>,

    /// CA of the client certificates without which KEDA's calls are refused (PEM)
    #[arg(long, env = "KIPPER_SCALER_ADAPTER_GRPC_CLIENT_CA", requires = "grpc_tls_cert")]
    pub grpc_client_ca: Option<PathBuf>,
}

/// TLS of the counts port; plaintext when absent.
#[derive(Clone, Debug, Default, Args)]
pub struct CountsTls {
    /// Certificate chain for counts (PEM)
    #[arg(long, env = "KIPPER_SCALER_ADAPTER_COUNTS_TLS_CERT", requires = "counts_tls_key")]
    pub counts_tls_cert: Option<PathBuf>,

    /// Its private key (PEM)
    #[arg(long, env = "KIPPER_SCALER_ADAPTER_COUNTS_TLS_KEY", requires = "counts_tls_cert")]
    pub counts_tls_key: Option<PathBuf>,

    /// CA of the client certificates without which counts are refused (PEM)
    #[arg(long, env = "KIPPER_SCALER_ADAPTER_COUNTS_CLIENT_CA", requires = "counts_tls_cert")]
    pub counts_client_ca: Option<PathBuf>,
}

/// Files one server is secured with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TlsFiles<'a> {
    pub(crate) cert: &'a PathBuf,
    pub(crate) key: &'a PathBuf,
    pub(crate) client_ca: Option<&'a PathBuf>,
}

impl GrpcTls {
    pub(crate) fn files(&self) -> Option<TlsFiles<'_>> {
        files(&self.grpc_tls_cert, &self.grpc_tls_key, &self.grpc_client_ca)
    }
}

impl CountsTls {
    pub(crate) fn files(&self) -> Option<TlsFiles<'_>> {
        files(&self.counts_tls_cert, &self.counts_tls_key, &self.counts_client_ca)
    }
}

fn files<'a>(
    cert: &'a Option<PathBuf>,
    key: &'a Option<PathBuf>,
    client_ca: &'a Option<PathBuf>,
) -> Option<TlsFiles<'a>> {
    let (Some(cert), Some(key)) = (cert, key) else {
        return None;
    };
    Some(TlsFiles { cert, key, client_ca: client_ca.as_ref() })
}

impl Config {
    /// For use inside another process: free loopback ports, no TLS, no drain delay, and one
    /// interceptor to hear from.
    pub fn in_process() -> Self {
        let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
        Self {
            grpc_listen: loopback,
            counts_listen: loopback,
            backlog_listen: None,
            admin_listen: loopback,
            expected_interceptors: Expected::default(),
            snapshot_wait: Duration::from_secs(10),
            interceptor_ttl: Duration::from_millis(1800),
            drain_delay: Duration::ZERO,
            shard: Shard::WHOLE,
            max_functions: DEFAULT_MAX_FUNCTIONS,
            burst: None,
            #[cfg(feature = "bucket-watcher")]
            bucket: kipper_bucket_watcher::BucketArgs::default(),
            grpc_tls: GrpcTls::default(),
            counts_tls: CountsTls::default(),
            log: LogArgs::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn parse(flags: &[&str]) -> Result<Config, clap::Error> {
        Config::try_parse_from([&["kipper-scaler-adapter"], flags].concat())
    }

    #[test]
    fn defaults_stand_alone() {
        let config = parse(&[]).unwrap();
        assert_eq!(config.grpc_listen.port(), 9090);
        assert_eq!(config.counts_listen.port(), 9091);
        assert_eq!(config.expected_interceptors, Expected::default());
        assert!(config.grpc_tls.files().is_none() && config.counts_tls.files().is_none());
    }

    #[test]
    fn half_a_tls_set_up_is_refused() {
        for flags in [
            &["--counts-tls-cert", "c"][..],
            &["--counts-tls-key", "k"],
            &["--counts-client-ca", "a"],
            &["--grpc-client-ca", "a"],
            &["--expected-interceptors", "0"],
            &["--shard", "3/3"],
            &["--backlog-listen", "127.0.0.1:0"],
            &["--burst", "kipper-scaler-adapter"],
            &["--burst", "kipper/"],
            &["--snapshot-wait", "10"],
            #[cfg(feature = "bucket-watcher")]
            &["--bucket-listen", "127.0.0.1:0"],
        ] {
            assert!(parse(flags).is_err(), "{flags:?}");
        }
    }
}
