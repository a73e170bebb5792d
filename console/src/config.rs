//! What the console of a cluster is configured with: flags, `KIPPER_CONSOLE_*`, defaults.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use clap::Parser;
use http::Uri;
use humantime::parse_duration;
use kipper_client::cluster::SYSTEM_NAMESPACE;
use kipper_process::telemetry::LogArgs;

use crate::PublicUrl;

const DEFAULT_LISTEN: &str = "0.0.0.0:8080";
const DEFAULT_ADMIN_LISTEN: &str = "0.0.0.0:9990";
/// Long enough for the ingress to stop sending here.
const DEFAULT_DRAIN_DELAY: &str = "3s";

/// Configuration of the process.
#[derive(Clone, Debug, Parser)]
#[command(name = "kipper-console", version, about = "Web console of the functions of a cluster")]
pub struct Config {
    /// Where the page and its API are served, as plain HTTP for an ingress
    #[arg(long, env = "KIPPER_CONSOLE_LISTEN", default_value = DEFAULT_LISTEN)]
    pub listen: SocketAddr,

    /// Scheme and host under which browsers reach the console; no other is answered
    #[arg(long, env = "KIPPER_CONSOLE_PUBLIC_URL", value_name = "URL")]
    pub public_url: PublicUrl,

    /// File with 32 or more random bytes that seal sessions, the same for all replicas [default: a key
    /// of this process]
    #[arg(long, env = "KIPPER_CONSOLE_SESSION_KEY_FILE", value_name = "FILE")]
    pub session_key_file: Option<PathBuf>,

    /// Namespace of the controller and the interceptor
    #[arg(long, env = "KIPPER_CONSOLE_SYSTEM_NAMESPACE", default_value = SYSTEM_NAMESPACE)]
    pub system_namespace: String,

    /// Send requests to this interceptor instead of the function's URL
    #[arg(long, env = "KIPPER_CONSOLE_INTERCEPTOR", value_name = "URL")]
    pub interceptor: Option<Uri>,

    /// How long to serve on after a signal, while not ready
    #[arg(long, env = "KIPPER_CONSOLE_DRAIN_DELAY", default_value = DEFAULT_DRAIN_DELAY, value_parser = parse_duration)]
    pub drain_delay: Duration,

    /// Where /livez, /readyz and /metrics are served
    #[arg(long, env = "KIPPER_CONSOLE_ADMIN_LISTEN", default_value = DEFAULT_ADMIN_LISTEN)]
    pub admin_listen: SocketAddr,

    /// The log; only `main` reads it.
    #[command(flatten)]
    pub log: LogArgs,
}
