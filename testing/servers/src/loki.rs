//! Loki, built from source by the local cluster: neither Debian nor a language's registry has it.

use std::ops::Deref;

use crate::{
    CertificateFor, Server, ServerError,
    guard::{Plan, RunAs},
};

/// Puts it on the path that `deploy/local-cluster/cluster env` prints.
const INSTALL: &str = "deploy/local-cluster/cluster build";

/// A Loki without tenants, of one process, that takes lines of any age.
#[derive(Debug)]
pub struct Loki(Server);

impl Loki {
    /// Starts a new one without lines.
    ///
    /// # Errors
    /// When it is not built or does not start.
    pub fn start() -> Result<Self, ServerError> {
        Self::with("auth_enabled: false")
    }

    /// The same, with tenants: each request has to name one.
    ///
    /// # Errors
    /// When it is not built or does not start.
    pub fn with_tenants() -> Result<Self, ServerError> {
        Self::with("auth_enabled: true")
    }

    fn with(line: &str) -> Result<Self, ServerError> {
        Ok(Self(Server::start(&Plan {
            name: "loki",
            script: include_str!("loki.sh"),
            programs: &[("loki", INSTALL), ("curl", "apt-get install curl")],
            path: Vec::new(),
            files: vec![("loki.yaml", format!("{line}\n{}", include_str!("loki.yaml")))],
            env: Vec::new(),
            certificate: CertificateFor::NameAndAddress,
            user: RunAs::Caller,
        })?))
    }

    /// URL under which its API's paths are.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port())
    }
}

impl Deref for Loki {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.0
    }
}
