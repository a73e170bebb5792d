//! Configuration: flags and `KIPPER_INTERCEPTOR_*`, read once, split into what each stage needs.

use std::{net::SocketAddr, num::NonZeroUsize, path::PathBuf, time::Duration};

use clap::{Args, Parser};
use humantime::parse_duration;
use ipnet::IpNet;
use kipper_process::telemetry::LogArgs;

use crate::{
    limits::{Http2Limits, Limits},
    queue::HoldLimits,
    reporter::ReporterConfig,
};

/// HTTP proxy that holds requests for functions without a pod and wakes them.
#[derive(Clone, Debug, Parser)]
#[command(name = "kipper-interceptor", version)]
pub struct Config {
    #[command(flatten)]
    pub log: LogArgs,
    #[command(flatten)]
    pub proxy: ProxyConfig,
    #[command(flatten)]
    pub reporter: ReporterConfig,
    /// Address of /livez, /readyz, /metrics and /routes.
    #[arg(long, env = "KIPPER_INTERCEPTOR_ADMIN_LISTEN", default_value = "0.0.0.0:9901")]
    pub admin_listen: SocketAddr,
    /// JSON file of fixed routes, instead of Kubernetes.
    #[arg(long, env = "KIPPER_INTERCEPTOR_STATIC_ROUTES")]
    pub static_routes: Option<PathBuf>,
    /// Domain under which functions have their hosts, where a Function's status does not say it.
    #[arg(long, env = "KIPPER_INTERCEPTOR_CLUSTER_DOMAIN")]
    pub cluster_domain: Option<String>,
    /// Parent domains whose direct children are cluster domains joined with `-`.
    #[arg(
        long,
        env = "KIPPER_INTERCEPTOR_SHARED_PARENTS",
        value_delimiter = ',',
        default_value = "kipper.run"
    )]
    pub shared_parents: Vec<String>,
    /// Watch one namespace only.
    #[arg(long, env = "KIPPER_INTERCEPTOR_NAMESPACE")]
    pub namespace: Option<String>,
    /// Service of the interceptors themselves, in --service-namespace. Its pods divide the pods of
    /// functions with a concurrency limit among themselves, and hand requests over to the owner
    /// of a pod on the port named `http`. --name must be the pod's name.
    #[arg(long, env = "KIPPER_INTERCEPTOR_SERVICE", requires_all = ["service_namespace", "name"])]
    pub service: Option<String>,
    /// Namespace of --service.
    #[arg(long, env = "KIPPER_INTERCEPTOR_SERVICE_NAMESPACE")]
    pub service_namespace: Option<String>,
    /// A request held this long with nothing moving wakes its function without KEDA.
    #[arg(long, env = "KIPPER_INTERCEPTOR_WAKE_FALLBACK_AFTER", value_parser = parse_duration, default_value = "1s")]
    pub wake_fallback_after: Duration,
    /// After SIGTERM: not ready, but still accepting, for this long.
    #[arg(long, env = "KIPPER_INTERCEPTOR_DRAIN_DELAY", value_parser = parse_duration, default_value = "5s")]
    pub drain_delay: Duration,
    /// Then what is held or running may take this long.
    #[arg(long, env = "KIPPER_INTERCEPTOR_DRAIN_DEADLINE", value_parser = parse_duration, default_value = "60s")]
    pub drain_deadline: Duration,
}

/// The data plane itself.
#[derive(Clone, Debug, Args)]
pub struct ProxyConfig {
    /// Address for HTTP/1.1 and HTTP/2 with prior knowledge.
    #[arg(long, env = "KIPPER_INTERCEPTOR_LISTEN", default_value = "0.0.0.0:8080")]
    pub listen: SocketAddr,
    /// Address for TLS; needs --tls-cert-dir.
    #[arg(long, env = "KIPPER_INTERCEPTOR_TLS_LISTEN", requires = "tls_cert_dir")]
    pub tls_listen: Option<SocketAddr>,
    /// Directory of certificates: <name>.crt with <name>.key, or <name>/tls.crt with
    /// <name>/tls.key. Read again when it changes.
    #[arg(long, env = "KIPPER_INTERCEPTOR_TLS_CERT_DIR")]
    pub tls_cert_dir: Option<PathBuf>,
    /// Data-plane threads; default: one per core.
    #[arg(long, env = "KIPPER_INTERCEPTOR_WORKERS")]
    pub workers: Option<NonZeroUsize>,
    /// Most client connections; further ones are closed at once.
    #[arg(long, env = "KIPPER_INTERCEPTOR_MAX_CONNECTIONS", default_value = "50000")]
    pub max_connections: NonZeroUsize,
    /// Networks whose X-Forwarded-* and X-Request-Id count.
    #[arg(long, env = "KIPPER_INTERCEPTOR_TRUSTED_PROXIES", value_delimiter = ',')]
    pub trusted_proxies: Vec<IpNet>,
    /// Where no function has the host, route /_fn/<name>/… by its path, without that prefix.
    #[arg(long, env = "KIPPER_INTERCEPTOR_PATH_ROUTES")]
    pub path_routes: bool,
    /// A request head has to arrive within this.
    #[arg(long, env = "KIPPER_INTERCEPTOR_HEADER_TIMEOUT", value_parser = parse_duration, default_value = "10s")]
    pub header_timeout: Duration,
    /// An idle connection is closed after this.
    #[arg(long, env = "KIPPER_INTERCEPTOR_IDLE_TIMEOUT", value_parser = parse_duration, default_value = "180s")]
    pub idle_timeout: Duration,
    /// A body may stand still this long; beyond it, it has to move --body-min-rate on average.
    #[arg(long, env = "KIPPER_INTERCEPTOR_BODY_TIMEOUT", value_parser = parse_duration, default_value = "20s")]
    pub body_timeout: Duration,
    /// Bytes per second a slow body or reader has to move.
    #[arg(long, env = "KIPPER_INTERCEPTOR_BODY_MIN_RATE", default_value = "500")]
    pub body_min_rate: u64,
    /// Longest request or response head, in bytes.
    #[arg(long, env = "KIPPER_INTERCEPTOR_MAX_HEADER_BYTES", default_value = "32768", value_parser = clap::value_parser!(u32).range(1024..=1 << 20))]
    pub max_header_bytes: u32,
    /// Streams open at a time on one HTTP/2 connection.
    #[arg(long, env = "KIPPER_INTERCEPTOR_H2_MAX_STREAMS", default_value = "256", value_parser = clap::value_parser!(u32).range(1..))]
    pub h2_max_streams: u32,
    /// A pod has to accept a connection within this.
    #[arg(long, env = "KIPPER_INTERCEPTOR_CONNECT_TIMEOUT", value_parser = parse_duration, default_value = "5s")]
    pub connect_timeout: Duration,
    /// Requests held per function; all functions together may hold four times as many.
    #[arg(long, env = "KIPPER_INTERCEPTOR_MAX_HELD", default_value = "10000")]
    pub max_held: NonZeroUsize,
    /// Bytes held per function; all functions together may hold four times as many.
    #[arg(long, env = "KIPPER_INTERCEPTOR_MAX_HELD_BYTES", default_value = "67108864")]
    pub max_held_bytes: NonZeroUsize,
}

impl Default for ProxyConfig {
    /// The flags' own defaults, on a free loopback port.
    fn default() -> Self {
        let (hold, h1, h2) = (HoldLimits::default(), Limits::default(), Http2Limits::default());
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            tls_listen: None,
            tls_cert_dir: None,
            workers: None,
            max_connections: NonZeroUsize::new(50_000).unwrap_or(NonZeroUsize::MIN),
            trusted_proxies: Vec::new(),
            path_routes: false,
            header_timeout: h1.header,
            idle_timeout: h1.idle,
            body_timeout: h1.grace,
            body_min_rate: h1.min_rate,
            max_header_bytes: u32::try_from(h1.head_bytes).unwrap_or(u32::MAX),
            h2_max_streams: h2.streams,
            connect_timeout: Duration::from_secs(5),
            max_held: NonZeroUsize::new(hold.requests).unwrap_or(NonZeroUsize::MIN),
            max_held_bytes: NonZeroUsize::new(hold.bytes).unwrap_or(NonZeroUsize::MIN),
        }
    }
}

impl ProxyConfig {
    pub(crate) fn hold(&self) -> HoldLimits {
        let (requests, bytes) = (self.max_held.get(), self.max_held_bytes.get());
        HoldLimits {
            requests,
            bytes,
            total_requests: requests.saturating_mul(4),
            total_bytes: bytes.saturating_mul(4),
        }
    }

    pub(crate) fn limits(&self) -> Limits {
        Limits {
            header: self.header_timeout,
            idle: self.idle_timeout,
            grace: self.body_timeout,
            min_rate: self.body_min_rate,
            head_bytes: usize::try_from(self.max_header_bytes).unwrap_or(usize::MAX),
        }
    }

    pub(crate) fn http2(&self) -> Http2Limits {
        Http2Limits {
            streams: self.h2_max_streams,
            header_list: self.max_header_bytes,
            idle: self.idle_timeout,
            ..Http2Limits::default()
        }
    }
}
