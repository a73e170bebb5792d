//! MariaDB.

use std::ops::Deref;

use crate::{
    ADMIN, ADMIN_PASSWORD, CertificateFor, Server, ServerError,
    credentials::{sql_string, url_part},
    guard::{Plan, RunAs},
};

const INSTALL: &str = "apt-get install mariadb-server";

/// How it differs from its defaults.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Lines at the end of section `[mysqld]`, where they override all others.
    pub config: Vec<String>,
    /// The names in its certificate.
    pub certificate: CertificateFor,
}

/// A MariaDB with [`ADMIN`] as administrator, who logs in with [`ADMIN_PASSWORD`].
#[derive(Debug)]
pub struct MariaDb {
    server: Server,
}

impl MariaDb {
    /// Starts a new one.
    ///
    /// # Errors
    /// When it is not installed or does not start.
    pub fn start(options: &Options) -> Result<Self, ServerError> {
        let init = format!(
            "CREATE USER IF NOT EXISTS '{ADMIN}'@'%' IDENTIFIED BY {};\n\
             GRANT ALL PRIVILEGES ON *.* TO '{ADMIN}'@'%' WITH GRANT OPTION;\n",
            sql_string(ADMIN_PASSWORD)
        );
        let server = Server::start(&Plan {
            name: "mariadb",
            script: include_str!("mariadb.sh"),
            programs: &[
                ("mariadbd", INSTALL),
                ("mariadb-install-db", INSTALL),
                ("mariadb-admin", INSTALL),
            ],
            path: Vec::new(),
            files: vec![("init.sql", init), ("lines.cnf", options.config.join("\n") + "\n")],
            env: Vec::new(),
            certificate: options.certificate,
            user: RunAs::Nobody,
        })?;
        Ok(Self { server })
    }

    /// URL of a database for the administrator, without parameters.
    pub fn url(&self, database: &str) -> String {
        let (password, database) = (url_part(ADMIN_PASSWORD), url_part(database));
        format!("mysql://{ADMIN}:{password}@127.0.0.1:{}/{database}", self.port())
    }
}

impl Deref for MariaDb {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}
