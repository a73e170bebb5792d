//! Redis: one server. With its append-only file a killed one comes back with all that it confirmed.

use std::ops::Deref;

use crate::{
    ADMIN_PASSWORD, CertificateFor, Server, ServerError,
    credentials::{redis_string, url_part},
    guard::{Plan, RunAs},
};

const INSTALL: &str = "apt-get install redis-server";

/// How it differs from its defaults.
#[derive(Clone, Debug)]
pub struct Options {
    /// What clients authenticate with; `None` lets everybody in.
    pub password: Option<String>,
    /// Whether it speaks TLS on a second port.
    pub tls: bool,
    /// Lines of `redis.conf`, such as `maxmemory-policy allkeys-lru` or `appendonly no`.
    pub config: Vec<String>,
}

impl Default for Options {
    /// With [`ADMIN_PASSWORD`], without TLS.
    fn default() -> Self {
        Self { password: Some(ADMIN_PASSWORD.to_owned()), tls: false, config: Vec::new() }
    }
}

/// A Redis.
#[derive(Debug)]
pub struct Redis {
    server: Server,
    options: Options,
}

impl Redis {
    /// Starts a new one.
    ///
    /// # Errors
    /// When it is not installed or does not start.
    pub fn start(options: Options) -> Result<Self, ServerError> {
        let server = Server::start(&plan(&options, None))?;
        Ok(Self { server, options })
    }

    /// Starts a replica of this one with the same options; it is in step when this returns.
    ///
    /// # Errors
    /// When it does not start, or cannot follow.
    pub fn replica(&self) -> Result<Self, ServerError> {
        let server = Server::start(&plan(&self.options, Some(self.port())))?;
        Ok(Self { server, options: self.options.clone() })
    }

    /// The port on which it speaks TLS, where the options say so.
    pub fn tls_port(&self) -> Option<u16> {
        self.options.tls.then(|| self.server.tls_port())
    }

    /// What clients authenticate with.
    pub fn password(&self) -> Option<&str> {
        self.options.password.as_deref()
    }

    /// `redis://` URL of database 0.
    pub fn url(&self) -> String {
        format!("redis://{}127.0.0.1:{}/0", self.user_info(), self.port())
    }

    /// `rediss://` URL of database 0, where the options ask for TLS.
    pub fn tls_url(&self) -> Option<String> {
        Some(format!("rediss://{}127.0.0.1:{}/0", self.user_info(), self.tls_port()?))
    }

    fn user_info(&self) -> String {
        self.password().map(|password| format!(":{}@", url_part(password))).unwrap_or_default()
    }
}

impl Deref for Redis {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}

fn plan(options: &Options, primary_port: Option<u16>) -> Plan {
    let mut lines = options.config.clone();
    let mut env = vec![("PASSWORD".to_owned(), options.password.clone().unwrap_or_default())];
    if let Some(password) = options.password.as_deref().map(redis_string) {
        lines.push(format!("requirepass {password}"));
        // Any of them may become a replica.
        lines.push(format!("masterauth {password}"));
    }
    if options.tls {
        env.push(("TLS".to_owned(), "yes".to_owned()));
    }
    if let Some(port) = primary_port {
        env.push(("PRIMARY_PORT".to_owned(), port.to_string()));
    }
    Plan {
        name: "redis",
        script: include_str!("redis.sh"),
        programs: &[("redis-server", INSTALL), ("redis-cli", "apt-get install redis-tools")],
        path: Vec::new(),
        files: vec![("lines.conf", lines.join("\n") + "\n")],
        env,
        certificate: CertificateFor::NameAndAddress,
        user: RunAs::Nobody,
    }
}
