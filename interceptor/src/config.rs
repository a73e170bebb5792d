//! Configuration: flags and `KIPPER_INTERCEPTOR_*`, read once, split into what each stage needs.

use std::{net::SocketAddr, num::NonZeroUsize, path::PathBuf, time::Duration};

use clap::{Args, Parser};
use humantime::parse_duration;
use ipnet::IpNet;
use kipper_process::telemetry::LogArgs;

use crate::{
    limits::{Http2Limits, Limits, PodLimits},
    message::section::HeadLimits,
    observe::config::ObserveConfig,
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
    /// Networks whose clients may read /routes, which names every function and its pods. The default
    /// is this machine, as with `kubectl port-forward`.
    #[arg(
        long,
        env = "KIPPER_INTERCEPTOR_ROUTES_READERS",
        value_delimiter = ',',
        default_value = "127.0.0.0/8,::1/128"
    )]
    pub routes_readers: Vec<IpNet>,
    /// Domain under which functions have their hosts: no other host is routed to them.
    #[arg(
        long,
        env = "KIPPER_INTERCEPTOR_CLUSTER_DOMAIN",
        required_unless_present = "static_routes"
    )]
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
    /// Namespace of --service and of the controller, whose claims of hosts have the routes. Without it routes
    /// come from the Functions themselves.
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
    /// Most client connections; further ones are closed at once. One with TLS counts as four and one
    /// of HTTP/2 as eight, for what they may keep.
    #[arg(long, env = "KIPPER_INTERCEPTOR_MAX_CONNECTIONS", default_value = "40000")]
    pub max_connections: NonZeroUsize,
    /// Networks whose X-Forwarded-* and X-Request-Id count, and with --otlp-endpoint the flag of traceparent:
    /// a proxy there has to set it or remove that of its clients.
    #[arg(long, env = "KIPPER_INTERCEPTOR_TRUSTED_PROXIES", value_delimiter = ',')]
    pub trusted_proxies: Vec<IpNet>,
    /// Where no function has the host, route /_fn/<name>/… by its path, without that prefix.
    #[arg(long, env = "KIPPER_INTERCEPTOR_PATH_ROUTES")]
    pub path_routes: bool,
    /// A request head has to arrive within this.
    #[arg(long, env = "KIPPER_INTERCEPTOR_HEADER_TIMEOUT", value_parser = parse_duration, default_value = "10s")]
    pub header_timeout: Duration,
    /// An idle connection is closed after this, and so is an upgraded one on which nothing moved.
    #[arg(long, env = "KIPPER_INTERCEPTOR_IDLE_TIMEOUT", value_parser = parse_duration, default_value = "180s")]
    pub idle_timeout: Duration,
    /// A body may stand still this long; beyond it, it has to move --body-min-rate on average.
    #[arg(long, env = "KIPPER_INTERCEPTOR_BODY_TIMEOUT", value_parser = parse_duration, default_value = "20s")]
    pub body_timeout: Duration,
    /// Bytes per second a slow body or reader has to move.
    #[arg(long, env = "KIPPER_INTERCEPTOR_BODY_MIN_RATE", default_value = "500")]
    pub body_min_rate: u64,
    /// Longest request head, in bytes.
    #[arg(long, env = "KIPPER_INTERCEPTOR_MAX_HEADER_BYTES", default_value = "32768", value_parser = clap::value_parser!(u32).range(1024..=1 << 20))]
    pub max_header_bytes: u32,
    /// Most header fields of a request. Python's own server takes 100.
    #[arg(long, env = "KIPPER_INTERCEPTOR_MAX_HEADER_FIELDS", default_value = "100", value_parser = clap::value_parser!(u16).range(1..=10_000))]
    pub max_header_fields: u16,
    /// Longest response head of a pod, in bytes.
    #[arg(long, env = "KIPPER_INTERCEPTOR_MAX_RESPONSE_HEADER_BYTES", default_value = "262144", value_parser = clap::value_parser!(u32).range(1024..=1 << 20))]
    pub max_response_header_bytes: u32,
    /// Most header fields of a pod's response.
    #[arg(long, env = "KIPPER_INTERCEPTOR_MAX_RESPONSE_HEADER_FIELDS", default_value = "1000", value_parser = clap::value_parser!(u16).range(1..=10_000))]
    pub max_response_header_fields: u16,
    /// Streams open at a time on one HTTP/2 connection.
    #[arg(long, env = "KIPPER_INTERCEPTOR_H2_MAX_STREAMS", default_value = "256", value_parser = clap::value_parser!(u32).range(1..))]
    pub h2_max_streams: u32,
    /// What a client may send ahead on one HTTP/2 stream, in bytes; on all streams of a connection
    /// together 1 MiB, or 64 KiB while --max-buffered-bytes is half used.
    #[arg(long, env = "KIPPER_INTERCEPTOR_H2_WINDOW", default_value = "262144", value_parser = clap::value_parser!(u32).range(16_384..=1 << 20))]
    pub h2_window: u32,
    /// Bytes of all bodies, heads and tunnels together that one side has sent and the other not taken.
    /// Beyond it each keeps 8 KiB instead of 64, and a request with a longer head is refused.
    #[arg(long, env = "KIPPER_INTERCEPTOR_MAX_BUFFERED_BYTES", default_value = "33554432")]
    pub max_buffered_bytes: NonZeroUsize,
    /// A connection on which nothing came for this long is probed, and ends when nothing comes for
    /// as long again; 0s = never.
    #[arg(long, env = "KIPPER_INTERCEPTOR_TCP_KEEPALIVE", value_parser = parse_duration, default_value = "30s")]
    pub tcp_keepalive: Duration,
    /// A client that acknowledges nothing of what it was sent for this long is gone; never less than
    /// --body-timeout. 0s = as long as the kernel tries.
    #[arg(long, env = "KIPPER_INTERCEPTOR_TCP_USER_TIMEOUT", value_parser = parse_duration, default_value = "60s")]
    pub tcp_user_timeout: Duration,
    /// A pod has to accept a connection within this.
    #[arg(long, env = "KIPPER_INTERCEPTOR_CONNECT_TIMEOUT", value_parser = parse_duration, default_value = "5s")]
    pub connect_timeout: Duration,
    /// Requests held per function; all functions together may hold four times as many.
    #[arg(long, env = "KIPPER_INTERCEPTOR_MAX_HELD", default_value = "10000")]
    pub max_held: NonZeroUsize,
    /// Bytes held per function; all functions together may hold four times as many.
    #[arg(long, env = "KIPPER_INTERCEPTOR_MAX_HELD_BYTES", default_value = "67108864")]
    pub max_held_bytes: NonZeroUsize,
    #[command(flatten)]
    pub observe: ObserveConfig,
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
            max_connections: NonZeroUsize::new(40_000).unwrap_or(NonZeroUsize::MIN),
            trusted_proxies: Vec::new(),
            path_routes: false,
            header_timeout: h1.header,
            idle_timeout: h1.idle,
            body_timeout: h1.grace,
            body_min_rate: h1.min_rate,
            max_header_bytes: u32::try_from(h1.request_head.bytes).unwrap_or(u32::MAX),
            max_header_fields: u16::try_from(h1.request_head.fields).unwrap_or(u16::MAX),
            max_response_header_bytes: u32::try_from(h1.response_head.bytes).unwrap_or(u32::MAX),
            max_response_header_fields: u16::try_from(h1.response_head.fields).unwrap_or(u16::MAX),
            h2_max_streams: h2.streams,
            h2_window: h2.window,
            max_buffered_bytes: NonZeroUsize::new(32 << 20).unwrap_or(NonZeroUsize::MIN),
            tcp_keepalive: h1.keep_alive,
            tcp_user_timeout: h1.user_timeout,
            connect_timeout: Duration::from_secs(5),
            max_held: NonZeroUsize::new(hold.requests).unwrap_or(NonZeroUsize::MIN),
            max_held_bytes: NonZeroUsize::new(hold.bytes).unwrap_or(NonZeroUsize::MIN),
            observe: ObserveConfig::default(),
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
            keep_alive: self.tcp_keepalive,
            // A client may take as long to read as this; its window is closed meanwhile.
            user_timeout: match self.tcp_user_timeout {
                Duration::ZERO => Duration::ZERO,
                limit => limit.max(self.body_timeout),
            },
            request_head: head_limits(self.max_header_bytes, self.max_header_fields),
            response_head: head_limits(
                self.max_response_header_bytes,
                self.max_response_header_fields,
            ),
        }
    }

    pub(crate) fn pods(&self) -> PodLimits {
        PodLimits {
            connect: self.connect_timeout,
            keep_alive: self.tcp_keepalive,
            header_list: self.max_response_header_bytes,
        }
    }

    pub(crate) fn http2(&self) -> Http2Limits {
        Http2Limits {
            streams: self.h2_max_streams,
            header_list: self.max_header_bytes,
            window: self.h2_window,
            idle: self.idle_timeout,
            ..Http2Limits::default()
        }
    }
}

fn head_limits(bytes: u32, fields: u16) -> HeadLimits {
    HeadLimits { bytes: usize::try_from(bytes).unwrap_or(usize::MAX), fields: fields.into() }
}
