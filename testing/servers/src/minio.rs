//! MinIO, built from source: its binaries and packages are no longer published.

use std::{env, ops::Deref, path::PathBuf, process::Command};

use crate::{
    CertificateFor, Server, ServerError,
    guard::{Plan, RunAs},
};

/// The only way to get it.
const INSTALL: &str = ".ci/setup test";

/// How it differs from its defaults.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The notification target `arn:minio:sqs::KIPPER:webhook`, if there is to be one.
    pub webhook: Option<Webhook>,
    /// Whether it speaks TLS on its port, and nothing else.
    pub tls: bool,
    /// Further environment variables, such as `MINIO_API_REQUESTS_MAX`.
    pub env: Vec<(String, String)>,
}

/// Where it POSTs what happens in its buckets.
#[derive(Clone, Debug)]
pub struct Webhook {
    /// URL of the receiver, which need not be there yet.
    pub endpoint: String,
    /// Sent as a bearer token.
    pub token: String,
    /// Whether events are kept on disk until the receiver has taken them. Otherwise they are sent
    /// at once, and lost when it is not there.
    pub keeps_events: bool,
}

/// A MinIO with a single drive.
#[derive(Debug)]
pub struct Minio {
    server: Server,
    tls: bool,
}

impl Minio {
    /// The administrator's access key.
    pub const ACCESS_KEY: &str = "kipper";
    /// The administrator's secret key.
    pub const SECRET_KEY: &str = "sesame/street+9=";
    /// The only region there is.
    pub const REGION: &str = "us-east-1";
    /// The notification target of [`Options::webhook`].
    pub const WEBHOOK_ARN: &str = "arn:minio:sqs::KIPPER:webhook";

    /// Starts a new one without buckets.
    ///
    /// # Errors
    /// When it is not installed or does not start.
    pub fn start(options: &Options) -> Result<Self, ServerError> {
        let server = Server::start(&Plan {
            name: "minio",
            script: include_str!("minio.sh"),
            programs: &[("minio", INSTALL), ("curl", "apt-get install curl")],
            path: go_programs(),
            files: Vec::new(),
            env: environment(options),
            certificate: CertificateFor::NameAndAddress,
            user: RunAs::Caller,
        })?;
        Ok(Self { server, tls: options.tls })
    }

    /// URL of the S3 API; buckets are paths under it.
    pub fn endpoint(&self) -> String {
        let scheme = if self.tls { "https" } else { "http" };
        format!("{scheme}://127.0.0.1:{}", self.port())
    }
}

impl Deref for Minio {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}

fn environment(options: &Options) -> Vec<(String, String)> {
    let mut env: Vec<(&str, &str)> = vec![
        ("MINIO_ROOT_USER", Minio::ACCESS_KEY),
        ("MINIO_ROOT_PASSWORD", Minio::SECRET_KEY),
        // Neither a console with a port of its own nor a look at the network for a newer version.
        ("MINIO_BROWSER", "off"),
        ("MINIO_UPDATE", "off"),
    ];
    if options.tls {
        env.push(("TLS", "yes"));
    }
    if let Some(webhook) = &options.webhook {
        env.extend([
            ("MINIO_NOTIFY_WEBHOOK_ENABLE_KIPPER", "on"),
            ("MINIO_NOTIFY_WEBHOOK_ENDPOINT_KIPPER", &webhook.endpoint),
            ("MINIO_NOTIFY_WEBHOOK_AUTH_TOKEN_KIPPER", &webhook.token),
        ]);
        if webhook.keeps_events {
            env.push(("KEEPS_EVENTS", "yes"));
        }
    }
    let own = env.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned()));
    own.chain(options.env.iter().cloned()).collect()
}

/// Where `go install` puts programs. Without Go on the path, where it does so by default.
fn go_programs() -> Vec<PathBuf> {
    let gopath = Command::new("go").args(["env", "GOPATH"]).output().ok();
    let gopath = gopath.and_then(|output| String::from_utf8(output.stdout).ok());
    let gopath = gopath.map(|gopath| PathBuf::from(gopath.trim()));
    let default = env::home_dir().map(|home| home.join("go"));
    let roots = gopath.into_iter().chain(default).filter(|root| root.is_absolute());
    let bins = roots.map(|root| root.join("bin"));
    env::var_os("GOBIN").map(PathBuf::from).into_iter().chain(bins).collect()
}
