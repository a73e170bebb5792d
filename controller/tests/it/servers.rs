//! The database servers of this test run, one PostgreSQL and one MariaDB, each started when a test
//! first asks, and sessions on them.

use std::{error::Error, sync::LazyLock};

use kipper_controller::bindings::Server;
use kipper_function::service::ServiceKind;
pub(crate) use kipper_servers::{ADMIN, ADMIN_PASSWORD};
use kipper_servers::{CertificateFor, MariaDb, Postgres, mariadb, postgres};
use mysql_async::prelude::Queryable;

const CERTIFICATE: CertificateFor = CertificateFor::NameOnly;

static POSTGRES: LazyLock<Postgres> = LazyLock::new(|| {
    let options = postgres::Options { certificate: CERTIFICATE, ..Default::default() };
    Postgres::start(options).unwrap_or_else(|error| panic!("{error}"))
});
static MARIADB: LazyLock<MariaDb> = LazyLock::new(|| {
    let options = mariadb::Options { certificate: CERTIFICATE, ..Default::default() };
    MariaDb::start(&options).unwrap_or_else(|error| panic!("{error}"))
});

/// The server for this kind, as the Service's Secret would describe it.
pub(crate) fn server(kind: ServiceKind) -> Server {
    Server {
        host: "127.0.0.1".to_owned(),
        port: running(kind).port(),
        user: ADMIN.to_owned(),
        password: ADMIN_PASSWORD.to_owned(),
        database: None,
        ca: None,
    }
}

/// The certificate authority of that server, whose certificate is for `localhost` only.
pub(crate) fn authority(kind: ServiceKind) -> String {
    running(kind).ca_pem().to_owned()
}

fn running(kind: ServiceKind) -> &'static kipper_servers::Server {
    match kind {
        ServiceKind::Postgres => &POSTGRES,
        ServiceKind::Mysql => &MARIADB,
        _ => panic!("no server for {kind}"),
    }
}

/// A session of anybody.
pub(crate) enum Session {
    Postgres(tokio_postgres::Client),
    Mysql(mysql_async::Conn),
}

impl Session {
    /// Logs in to `database`, or with `None` to the server.
    pub(crate) async fn open(
        kind: ServiceKind,
        user: &str,
        password: &str,
        database: Option<&str>,
    ) -> Result<Self, String> {
        let port = running(kind).port();
        if kind == ServiceKind::Postgres {
            let mut config = tokio_postgres::Config::new();
            config.host("127.0.0.1").port(port).user(user).password(password);
            config.dbname(database.unwrap_or("postgres"));
            let (client, connection) = config.connect(tokio_postgres::NoTls).await.map_err(text)?;
            tokio::spawn(connection);
            return Ok(Self::Postgres(client));
        }
        let options = mysql_async::OptsBuilder::default()
            .ip_or_hostname("127.0.0.1")
            .tcp_port(port)
            .user(Some(user))
            .pass(Some(password))
            .db_name(database)
            .prefer_socket(false);
        Ok(Self::Mysql(mysql_async::Conn::new(options).await.map_err(text)?))
    }

    pub(crate) async fn admin(kind: ServiceKind) -> Self {
        Self::open(kind, ADMIN, ADMIN_PASSWORD, None).await.unwrap()
    }

    pub(crate) async fn admin_in(kind: ServiceKind, database: &str) -> Self {
        Self::open(kind, ADMIN, ADMIN_PASSWORD, Some(database)).await.unwrap()
    }

    /// Runs statements that have no result.
    pub(crate) async fn run(&mut self, sql: &str) -> Result<(), String> {
        match self {
            Self::Postgres(client) => client.batch_execute(sql).await.map_err(text),
            Self::Mysql(conn) => conn.query_drop(sql).await.map_err(text),
        }
    }

    /// First column of the first row, as text; `None` without a row.
    pub(crate) async fn value(&mut self, sql: &str) -> Result<Option<String>, String> {
        match self {
            Self::Postgres(client) => {
                let messages = client.simple_query(sql).await.map_err(text)?;
                Ok(messages.into_iter().find_map(|message| match message {
                    tokio_postgres::SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
                    _ => None,
                }))
            }
            Self::Mysql(conn) => conn.query_first(sql).await.map_err(text),
        }
    }
}

fn text(error: impl Error) -> String {
    let source = error.source().map(|source| format!(": {source}")).unwrap_or_default();
    format!("{error}{source}")
}
