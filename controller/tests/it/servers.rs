//! Real database servers of this test run: one PostgreSQL and one MariaDB, started when a test
//! first asks, in a directory and on a port of their own.
//!
//! Each server is the child of a guard, a shell that waits for the end of its standard input. Only
//! this process holds the other end, so however it ends, the guard ends the server and removes its
//! directory.

use std::{
    error::Error,
    fs,
    io::{BufRead, BufReader, Read},
    net::TcpListener,
    os::unix::fs::MetadataExt,
    path::Path,
    process::{Child, Command, Stdio},
    sync::LazyLock,
};

use kipper_api::service::ServiceKind;
use kipper_controller::bindings::Server;
use mysql_async::prelude::Queryable;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

/// The administrator of both servers.
pub(crate) const ADMIN: &str = "admin";
/// Their password: nothing in a Secret is nice by promise.
pub(crate) const ADMIN_PASSWORD: &str = "it's \"quoted\" \\ pä$$ %s";

static POSTGRES: LazyLock<Running> = LazyLock::new(|| start("postgres.sh"));
static MARIADB: LazyLock<Running> = LazyLock::new(|| start("mariadb.sh"));

struct Running {
    port: u16,
    ca: String,
    /// Dropping its standard input would end the server.
    _guard: Child,
}

/// The server for this kind, as the Service's Secret would describe it.
pub(crate) fn server(kind: ServiceKind) -> Server {
    let running = running(kind);
    Server {
        host: "127.0.0.1".to_owned(),
        port: running.port,
        user: ADMIN.to_owned(),
        password: ADMIN_PASSWORD.to_owned(),
        database: None,
        ca: None,
    }
}

/// The certificate authority of that server, whose certificate is for `localhost` only.
pub(crate) fn authority(kind: ServiceKind) -> String {
    running(kind).ca.clone()
}

fn running(kind: ServiceKind) -> &'static Running {
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
        let port = running(kind).port;
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

/// Starts the server that `script` knows how to start. Another process can take the port between
/// choosing and using it, so several are tried.
fn start(script: &str) -> Running {
    let mut log = String::new();
    for _ in 0..3 {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let directory = tempfile::Builder::new().prefix(script).tempdir().unwrap().keep();
        let ca = furnish(&directory);
        let mut guard = guard(script, &directory, port);
        let mut said = String::new();
        BufReader::new(guard.stdout.take().unwrap()).read_line(&mut said).unwrap();
        if said == "ready\n" {
            return Running { port, ca, _guard: guard };
        }
        guard.stderr.take().unwrap().read_to_string(&mut log).unwrap();
        guard.wait().unwrap();
    }
    panic!("{script} does not start, are postgresql and mariadb-server installed?\n{log}");
}

/// Runs the script; as `nobody` where this is root, which no PostgreSQL runs as.
fn guard(script: &str, directory: &Path, port: u16) -> Child {
    let is_root = fs::metadata("/proc/self").unwrap().uid() == 0;
    let mut command = Command::new(if is_root { "setpriv" } else { "bash" });
    if is_root {
        let status = Command::new("chown").args(["-R", "nobody:"]).arg(directory).status();
        assert!(status.unwrap().success());
        command.args(["--reuid=nobody", "--regid=nogroup", "--clear-groups", "bash"]);
    }
    command
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/servers/").to_owned() + script)
        .arg(directory)
        .arg(port.to_string())
        .current_dir(directory)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command.spawn().unwrap()
}

/// Puts certificates and the administrator's password where the scripts look for them.
fn furnish(directory: &Path) -> String {
    let ca_key = KeyPair::generate().unwrap();
    let mut ca = CertificateParams::new(Vec::new()).unwrap();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca_pem = ca.self_signed(&ca_key).unwrap().pem();
    let issuer = Issuer::new(ca, ca_key);
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let certificate = certificate.signed_by(&key, &issuer).unwrap();
    let password = ADMIN_PASSWORD.replace('\\', "\\\\").replace('\'', "''");
    let init = format!(
        "CREATE USER '{ADMIN}'@'%' IDENTIFIED BY '{password}';\n\
         GRANT ALL PRIVILEGES ON *.* TO '{ADMIN}'@'%' WITH GRANT OPTION;\n"
    );
    let files = [
        ("ca.pem", ca_pem.clone()),
        ("server.pem", certificate.pem()),
        ("server.key", key.serialize_pem()),
        ("admin.pw", format!("{ADMIN_PASSWORD}\n")),
        ("init.sql", init),
    ];
    for (name, content) in files {
        fs::write(directory.join(name), content).unwrap();
    }
    ca_pem
}
