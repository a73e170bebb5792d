//! What the console of a cluster is configured with: flags, `KIPPER_CONSOLE_*`, defaults.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use clap::{Args, Parser};
use http::Uri;
use humantime::parse_duration;
use kipper_client::cluster::SYSTEM_NAMESPACE;
use kipper_process::telemetry::LogArgs;

use crate::{
    PublicUrl,
    oidc::settings::{Issuer, Scopes},
};

const DEFAULT_LISTEN: &str = "0.0.0.0:8080";
const DEFAULT_ADMIN_LISTEN: &str = "0.0.0.0:9990";
/// Long enough for the ingress to stop sending here.
const DEFAULT_DRAIN_DELAY: &str = "3s";

/// What API servers make user names of.
const DEFAULT_SCOPES: &str = "openid email";

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

    /// Log in by OpenID Connect.
    #[command(flatten)]
    pub oidc: OidcConfig,

    /// Namespace of the controller and the interceptor
    #[arg(long, env = "KIPPER_CONSOLE_SYSTEM_NAMESPACE", default_value = SYSTEM_NAMESPACE)]
    pub system_namespace: String,

    /// Send requests to this interceptor instead of the function's URL
    #[arg(long, env = "KIPPER_CONSOLE_INTERCEPTOR", value_name = "URL")]
    pub interceptor: Option<Uri>,

    /// File with the assistant's settings, as the Secret of the chart's namespace is mounted [default: the
    /// Secret, where the user may read it]
    #[arg(long, env = "KIPPER_CONSOLE_ASSISTANT_SETTINGS_FILE", value_name = "FILE")]
    pub assistant_settings_file: Option<PathBuf>,

    /// Let the assistant call providers in private networks
    #[arg(long, env = "KIPPER_CONSOLE_ASSISTANT_ALLOW_PRIVATE_ADDRESSES")]
    pub assistant_allow_private_addresses: bool,

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

/// Of logging in by OpenID Connect, beside tokens.
#[derive(Clone, Debug, Args)]
pub struct OidcConfig {
    /// Let users log in by OpenID Connect at this issuer, which the API server has to trust
    #[arg(
        long = "oidc-issuer-url",
        env = "KIPPER_CONSOLE_OIDC_ISSUER_URL",
        value_name = "URL",
        requires = "client_id"
    )]
    pub issuer: Option<Issuer>,

    /// Client ID of the console at the issuer, the audience that the API server expects
    #[arg(
        long = "oidc-client-id",
        env = "KIPPER_CONSOLE_OIDC_CLIENT_ID",
        value_name = "ID",
        requires = "issuer"
    )]
    pub client_id: Option<String>,

    /// File with the client secret [default: a public client, which has none]
    #[arg(
        long = "oidc-client-secret-file",
        env = "KIPPER_CONSOLE_OIDC_CLIENT_SECRET_FILE",
        value_name = "FILE",
        requires = "issuer"
    )]
    pub client_secret_file: Option<PathBuf>,

    /// Scopes to ask for, with spaces between them
    #[arg(long = "oidc-scopes", env = "KIPPER_CONSOLE_OIDC_SCOPES", default_value = DEFAULT_SCOPES)]
    pub scopes: Scopes,

    /// File with the authorities of the issuer, in PEM [default: the public ones]
    #[arg(
        long = "oidc-ca-file",
        env = "KIPPER_CONSOLE_OIDC_CA_FILE",
        value_name = "FILE",
        requires = "issuer"
    )]
    pub ca_file: Option<PathBuf>,

    /// What the page calls the issuer [default: its host]
    #[arg(
        long = "oidc-name",
        env = "KIPPER_CONSOLE_OIDC_NAME",
        value_name = "NAME",
        requires = "issuer"
    )]
    pub name: Option<String>,
}
