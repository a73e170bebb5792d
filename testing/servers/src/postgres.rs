//! PostgreSQL, and hot standbys of it.
//!
//! Committed data survives [`Postgres::restart_immediate`] although `fsync` is off: what a server
//! has written is the kernel's, and the kernel lives on.

use std::{cmp::Reverse, fs, ops::Deref, path::PathBuf};

use crate::{
    ADMIN, ADMIN_PASSWORD, CertificateFor, Server, ServerError,
    credentials::url_part,
    guard::{Plan, RunAs},
};

/// Where Debian keeps the server's programs, a directory per version.
const VERSIONS: &str = "/usr/lib/postgresql";
const INSTALL: &str = "apt-get install postgresql";

/// How it differs from what `initdb` makes.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Lines at the end of `postgresql.conf`, where they override all others.
    pub config: Vec<String>,
    /// The names in its certificate.
    pub certificate: CertificateFor,
}

/// A PostgreSQL with [`ADMIN`] as superuser, who logs in with [`ADMIN_PASSWORD`].
#[derive(Debug)]
pub struct Postgres {
    server: Server,
    options: Options,
}

impl Postgres {
    /// Starts a new one.
    ///
    /// # Errors
    /// When it is not installed or does not start.
    pub fn start(options: Options) -> Result<Self, ServerError> {
        let server = Server::start(&plan(&options, None))?;
        Ok(Self { server, options })
    }

    /// Starts a hot standby of this one, with a copy of all data and the same users and options. It
    /// follows by streaming, so what is committed here appears there a little later.
    ///
    /// # Errors
    /// When the copy cannot be made or the standby does not start.
    pub fn standby(&self) -> Result<Self, ServerError> {
        let server = Server::start(&plan(&self.options, Some(self.port())))?;
        Ok(Self { server, options: self.options.clone() })
    }

    /// URL of a database for the administrator, without parameters.
    pub fn url(&self, database: &str) -> String {
        url(self.port(), database)
    }

    /// `pg_ctl -m immediate stop`: sessions are cut, nothing is written, recovery comes with the
    /// next start.
    ///
    /// # Errors
    /// As for [`Server::kill`].
    pub fn stop_immediate(&self) -> Result<(), ServerError> {
        self.kill()
    }

    /// [`Self::stop_immediate`] and [`Server::start_again`], with the same port and data.
    ///
    /// # Errors
    /// Those of the two.
    pub fn restart_immediate(&self) -> Result<(), ServerError> {
        self.restart()
    }
}

impl Deref for Postgres {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}

/// URL for the administrator of a server, or of a pooler before it, on this port.
pub(crate) fn url(port: u16, database: &str) -> String {
    let (password, database) = (url_part(ADMIN_PASSWORD), url_part(database));
    format!("postgres://{ADMIN}:{password}@127.0.0.1:{port}/{database}")
}

/// The directory with the programs of the newest version that is installed.
pub(crate) fn programs() -> Vec<PathBuf> {
    let mut versions: Vec<PathBuf> = fs::read_dir(VERSIONS)
        .map(|entries| entries.flatten().map(|entry| entry.path()).collect())
        .unwrap_or_default();
    versions.sort_by_key(|path| {
        let version = path.file_name().and_then(|name| name.to_str()?.parse::<u32>().ok());
        Reverse(version)
    });
    versions.into_iter().map(|version| version.join("bin")).take(1).collect()
}

fn plan(options: &Options, primary_port: Option<u16>) -> Plan {
    Plan {
        name: "postgres",
        script: include_str!("postgres.sh"),
        programs: &[("initdb", INSTALL), ("pg_ctl", INSTALL), ("pg_basebackup", INSTALL)],
        path: programs(),
        files: vec![
            ("admin.pw", format!("{ADMIN_PASSWORD}\n")),
            ("lines.conf", options.config.join("\n") + "\n"),
        ],
        env: primary_port
            .map(|port| ("PRIMARY_PORT".to_owned(), port.to_string()))
            .into_iter()
            .collect(),
        certificate: options.certificate,
        user: RunAs::Nobody,
    }
}
