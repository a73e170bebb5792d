//! PgBouncer in transaction mode, which gives each transaction of a session to whichever server
//! connection is free.

use std::ops::Deref;

use crate::{
    ADMIN, ADMIN_PASSWORD, CertificateFor, Postgres, Server, ServerError,
    guard::{Plan, RunAs},
    postgres,
};

/// How it differs from its defaults.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Lines at the end of section `[pgbouncer]`, where they override all others.
    pub config: Vec<String>,
}

/// A pooler that any user of the server behind it logs in to with the same password; with TLS and
/// without.
#[derive(Debug)]
pub struct PgBouncer {
    server: Server,
}

impl PgBouncer {
    /// Starts one before `postgres`, on whose port it relies for as long as it runs.
    ///
    /// # Errors
    /// When it is not installed or does not start.
    pub fn start(postgres: &Postgres, options: &Options) -> Result<Self, ServerError> {
        let quoted = ADMIN_PASSWORD.replace('"', "\"\"");
        let server = Server::start(&Plan {
            name: "pgbouncer",
            script: include_str!("pgbouncer.sh"),
            programs: &[
                ("pgbouncer", "apt-get install pgbouncer"),
                ("pg_isready", "apt-get install postgresql"),
            ],
            path: postgres::programs(),
            files: vec![
                ("userlist.txt", format!("\"{ADMIN}\" \"{quoted}\"\n")),
                ("lines.ini", options.config.join("\n") + "\n"),
            ],
            env: vec![("POSTGRES_PORT".to_owned(), postgres.port().to_string())],
            certificate: CertificateFor::NameAndAddress,
            user: RunAs::Nobody,
        })?;
        Ok(Self { server })
    }

    /// URL of a database for the administrator, without parameters.
    pub fn url(&self, database: &str) -> String {
        postgres::url(self.port(), database)
    }
}

impl Deref for PgBouncer {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}
