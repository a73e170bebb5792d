//! Connections to PostgreSQL: how they are made, what is pinned on them, and whether session locks
//! mean anything there.

use std::time::Duration;

use tokio_postgres::{
    Client, Config, NoTls, SimpleQueryMessage,
    config::{Host, SslMode},
    error::{Severity, SqlState},
};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::url::Address;
use crate::source::{SourceError, tls, url::Tls};

/// Where a URL names none.
const DEFAULT_PORT: u16 = 5432;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// A dead peer is noticed within 15 + 3 × 5 seconds on this end, and by the settings below on the
/// server's, where it frees the locks.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(15);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
const KEEPALIVE_RETRIES: u32 = 3;
const USER_TIMEOUT: Duration = Duration::from_secs(30);

/// Pinned for every session, where the server knows the setting. Nothing here decides which rows a
/// query selects: time zone, formats and search path are those that the role and the database have, as
/// in `psql` and in KEDA's count. How values are written is fixed where they are written, see `form`.
const SETTINGS: &[(&str, &str)] = &[
    ("client_min_messages", "error"),
    ("standard_conforming_strings", "on"),
    ("jit", "off"),
    ("idle_session_timeout", "0"),
    ("idle_in_transaction_session_timeout", "0"),
    ("tcp_keepalives_idle", "15"),
    ("tcp_keepalives_interval", "5"),
    ("tcp_keepalives_count", "3"),
    ("tcp_user_timeout", "30000"),
];

/// What the session of the claims has besides: it never writes, and no query of it runs forever. Its
/// plans are made anew, because one that was made for ten rows is wrong for none; marks are by key,
/// and planning each would cost the server more than running it.
const CLAIM_SETTINGS: &[(&str, &str)] = &[
    ("default_transaction_read_only", "on"),
    ("statement_timeout", "30s"),
    ("plan_cache_mode", "force_custom_plan"),
];

/// What the connection of the marks has besides.
const MARK_SETTINGS: &[(&str, &str)] =
    &[("default_transaction_read_only", "off"), ("statement_timeout", "0"), ("lock_timeout", "2s")];

/// The driver's words for a server that has no TLS.
const NO_TLS: &str = "server does not support TLS";

/// Which of the two connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// Holds the locks.
    Claims,
    /// Runs the user's statements.
    Marks,
}

/// How to connect.
#[derive(Clone)]
pub(super) struct Connector {
    config: Config,
    tls: Option<MakeRustlsConnect>,
}

impl Connector {
    /// Reads the URL. With a certificate authority (PEM) the connection is TLS and verified against
    /// it alone; without one `sslmode=require` verifies against the public authorities.
    pub(super) fn new(url: &str, authority: Option<&str>) -> Result<Self, SourceError> {
        let Address { url, tls } = Address::parse(url)?;
        let mut config: Config = url.parse().map_err(|error: tokio_postgres::Error| {
            invalid(format!("source URL: {}", cause(&error)))
        })?;
        let roots = match (authority, tls) {
            (Some(_), Tls::No) => {
                let words = "source URL: sslmode=disable, but there is a certificate authority: \
                             leave one of them out";
                return Err(invalid(words));
            }
            (Some(pem), _) => Some(tls::authorities(pem)?),
            (None, Tls::Verified) => Some(tls::public_authorities()),
            (None, Tls::No) => None,
            (None, Tls::Unsaid) => {
                tracing::info!("the source is connected without TLS; sslmode=require asks for it");
                None
            }
        };
        config
            .ssl_mode(if roots.is_some() { SslMode::Require } else { SslMode::Disable })
            .connect_timeout(CONNECT_TIMEOUT)
            .keepalives(true)
            .keepalives_idle(KEEPALIVE_IDLE)
            .keepalives_interval(KEEPALIVE_INTERVAL)
            .keepalives_retries(KEEPALIVE_RETRIES)
            .tcp_user_timeout(USER_TIMEOUT)
            .application_name("kipper-poll");
        let tls = roots.map(tls::client).transpose()?.map(MakeRustlsConnect::new);
        Ok(Self { config, tls })
    }

    /// Connects and pins the settings. The connection's task ends with the client.
    pub(super) async fn connect(&self, role: Role) -> Result<Client, SourceError> {
        let client = match &self.tls {
            None => {
                let (client, connection) =
                    self.config.connect(NoTls).await.map_err(|error| self.unreachable(&error))?;
                tokio::spawn(connection);
                client
            }
            Some(tls) => {
                let (client, connection) = self
                    .config
                    .connect(tls.clone())
                    .await
                    .map_err(|error| self.unreachable(&error))?;
                tokio::spawn(connection);
                client
            }
        };
        let special = if role == Role::Claims { CLAIM_SETTINGS } else { MARK_SETTINGS };
        let values: Vec<String> = SETTINGS
            .iter()
            .chain(special)
            .map(|(name, value)| format!("('{name}', '{value}')"))
            .collect();
        let sql = format!(
            "SELECT set_config(s.name, s.value, false) FROM (VALUES {}) s(name, value) \
             WHERE s.name IN (SELECT lower(name) FROM pg_catalog.pg_settings)",
            values.join(", ")
        );
        client.simple_query(&sql).await.map_err(|error| explain(role, &error))?;
        Ok(client)
    }

    /// A failed attempt to connect: what is wrong with the configuration, and what only with the moment.
    fn unreachable(&self, error: &tokio_postgres::Error) -> SourceError {
        match error.code() {
            Some(
                &(SqlState::INVALID_PASSWORD
                | SqlState::INVALID_AUTHORIZATION_SPECIFICATION
                | SqlState::INVALID_CATALOG_NAME),
            ) => invalid(cause(error)),
            _ if cause(error).contains(NO_TLS) => {
                let words = "the server does not support TLS: sslmode=disable connects without it";
                invalid(words)
            }
            _ => SourceError::Lost(format!("{}: {}", self.address(), cause(error))),
        }
    }

    /// Hosts and ports that are connected to.
    fn address(&self) -> String {
        let ports = self.config.get_ports();
        let servers = self.config.get_hosts().iter().enumerate().map(|(at, host)| {
            let port = ports.get(at).or(ports.first()).copied().unwrap_or(DEFAULT_PORT);
            match host {
                Host::Tcp(host) => format!("{host}:{port}"),
                Host::Unix(path) => path.display().to_string(),
            }
        });
        servers.collect::<Vec<_>>().join(", ")
    }
}

/// Refuses a standby, and a pooler or an engine on which a session's lock does not keep others out.
///
/// `claims` takes a random lock; `marks`, inside a transaction, must not get it, and neither may
/// share a backend with the other.
pub(super) async fn check_locks(claims: &Client, marks: &Client) -> Result<(), SourceError> {
    if value(claims, Role::Claims, "SELECT pg_is_in_recovery()").await? == "t" {
        return Err(invalid("the source is a standby: events can be claimed on the primary only"));
    }
    let key = fastrand::i64(..);
    let lock = format!("SELECT pg_try_advisory_lock({key})");
    let pid = "SELECT pg_backend_pid()";
    let first = value(claims, Role::Claims, pid).await?;
    let taken = value(claims, Role::Claims, &lock).await?;
    run(marks, Role::Marks, "BEGIN").await?;
    let other = value(marks, Role::Marks, pid).await?;
    let stolen = value(marks, Role::Marks, &lock).await?;
    // With the other backend busy a pooler has to show another one here.
    let second = value(claims, Role::Claims, pid).await?;
    let unlock = format!("SELECT pg_advisory_unlock({key})");
    if stolen == "t" {
        value(marks, Role::Marks, &unlock).await?;
    }
    run(marks, Role::Marks, "ROLLBACK").await?;
    if taken != "t" || stolen == "t" || first != second || first == other {
        return Err(invalid(
            "session locks do not hold on this connection, as behind a pooler in transaction mode: \
             connect to the server itself, or to a pool in session mode",
        ));
    }
    let freed = value(claims, Role::Claims, &unlock).await?;
    if freed == "t" { Ok(()) } else { Err(invalid("a session lock was lost at once")) }
}

/// First value of the first row, as text.
async fn value(client: &Client, role: Role, sql: &str) -> Result<String, SourceError> {
    let messages = client.simple_query(sql).await.map_err(|error| explain(role, &error))?;
    let first = messages.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
        _ => None,
    });
    Ok(first.unwrap_or_default())
}

async fn run(client: &Client, role: Role, sql: &str) -> Result<(), SourceError> {
    client.batch_execute(sql).await.map_err(|error| explain(role, &error))
}

pub(super) fn invalid(text: impl Into<String>) -> SourceError {
    SourceError::Invalid(text.into())
}

/// What an error says of the connection it came from.
pub(super) fn explain(role: Role, error: &tokio_postgres::Error) -> SourceError {
    let text = cause(error);
    if !is_gone(error) {
        return SourceError::Failed(text);
    }
    match role {
        Role::Claims => SourceError::Lost(text),
        Role::Marks => SourceError::Broken(text),
    }
}

/// True where the connection ends with the error. A FATAL message is the last one of its session.
pub(super) fn is_gone(error: &tokio_postgres::Error) -> bool {
    match error.as_db_error() {
        Some(answer) => {
            matches!(answer.parsed_severity(), Some(Severity::Fatal | Severity::Panic))
        }
        None => true,
    }
}

/// The server's own words, or those of what broke the connection.
pub(super) fn cause(error: &tokio_postgres::Error) -> String {
    if let Some(answer) = error.as_db_error() {
        let hint = answer.hint().map(|hint| format!(" ({hint})")).unwrap_or_default();
        return format!("{}{hint} [{}]", answer.message(), answer.code().code());
    }
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}
