//! Connections to MySQL and MariaDB: how they are made, what is pinned on them, and how their calls
//! take turns.
//!
//! The protocol answers one statement before it takes the next, so whoever needs a connection takes
//! a [`Turn`] on it: for one statement, or for a whole transaction.

use std::time::Duration;

use mysql_async::{
    Conn, DriverError, Error, IoError, Opts, OptsBuilder, Params, Row, SslOpts, Statement, Value,
    prelude::Queryable as _,
};
use tokio::{
    sync::{Mutex, MutexGuard},
    time::{error::Elapsed, timeout},
};

use super::url;
use crate::source::{SourceError, tls, url::Tls};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// When a silent connection is asked whether its peer is there. After that the system's own rules
/// for keep-alives hold.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(15);
/// The server ends the statements of a claim after 30 seconds; one that is silent for longer than
/// this is on a dead connection.
const CLAIM_TIMEOUT: Duration = Duration::from_secs(45);
/// The same for the user's own statements, which the server does not end.
const MARK_TIMEOUT: Duration = Duration::from_secs(600);
/// How long an idle connection may take to prove that it lives.
const PROOF_TIMEOUT: Duration = Duration::from_secs(10);
/// Prepared statements a connection keeps: what a plan has, and room.
const STATEMENTS: usize = 64;

/// Pinned for every session, where the server knows the setting. The time zone is the server's own, as
/// in any client and in KEDA's count: it decides which rows a query with `NOW()` selects. `sql_mode` is what the tokenizer of
/// the templates reads by, and takes dates that are zero as they come. A session whose machine is gone
/// keeps its locks for `wait_timeout`; a living one is proved every few seconds.
const SETTINGS: &[(&str, &str)] = &[
    ("autocommit", "1"),
    ("sql_mode", "'STRICT_TRANS_TABLES,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION'"),
    ("wait_timeout", "60"),
    ("sql_auto_is_null", "0"),
    ("sql_safe_updates", "0"),
    ("sql_select_limit", "18446744073709551615"),
    ("sql_big_selects", "1"),
    ("group_concat_max_len", "16777216"),
    ("idle_transaction_timeout", "0"),
    // Keys are always looked up by their index, never by way of a temporary table.
    ("in_predicate_conversion_threshold", "0"),
];

/// What the session of the claims has besides: none of its queries runs forever.
const CLAIM_SETTINGS: &[(&str, &str)] = &[
    ("max_statement_time", "30"),
    ("max_execution_time", "30000"),
    ("lock_wait_timeout", "10"),
    ("innodb_lock_wait_timeout", "10"),
];

/// What the connection of the marks has besides.
const MARK_SETTINGS: &[(&str, &str)] = &[
    ("max_statement_time", "0"),
    ("max_execution_time", "0"),
    ("lock_wait_timeout", "2"),
    ("innodb_lock_wait_timeout", "2"),
];

/// Errors of a server that will not have this user, password, database or host, whenever asked.
const REFUSALS: &[u16] = &[1044, 1045, 1049, 1130, 1251, 1698, 1820, 1862, 3118, 4151];
/// Errors that are the last words of a session: the server goes, or somebody ended the session.
const LAST_WORDS: &[u16] =
    &[1053, 1077, 1079, 1080, 1152, 1153, 1158, 1159, 1160, 1161, 1184, 1927, 3169, 4031];

/// Which of the two connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// Holds the locks.
    Claims,
    /// Runs the user's statements.
    Marks,
}

/// How to connect.
#[derive(Clone, Debug)]
pub(super) struct Connector {
    opts: Opts,
}

impl Connector {
    /// Reads the URL. With a certificate authority (PEM) the connection is TLS and verified against
    /// it alone; without one `ssl-mode=required` verifies against the public authorities.
    pub(super) fn new(url: &str, authority: Option<&str>) -> Result<Self, SourceError> {
        let (address, parameters) = url.split_once('?').unwrap_or((url, ""));
        let mode = url::tls(parameters)?;
        // The driver's own words for a bad URL never quote it.
        let opts =
            Opts::from_url(address).map_err(|error| invalid(format!("source URL: {error}")))?;
        if opts.db_name().is_none_or(str::is_empty) {
            return Err(invalid("source URL: it names no database, as in mysql://…/shop"));
        }
        let tls = match authority {
            Some(_) if mode == Tls::No => {
                let words = "source URL: ssl-mode=disabled, but there is a certificate authority: \
                             leave one of them out";
                return Err(invalid(words));
            }
            Some(pem) => {
                // The client reads it again, and takes one without a certificate for none.
                tls::authorities(pem)?;
                let options = SslOpts::default().with_disable_built_in_roots(true);
                Some(options.with_root_certs(vec![pem.as_bytes().to_vec().into()]))
            }
            None if mode == Tls::Verified => Some(SslOpts::default()),
            None => {
                if mode == Tls::Unsaid {
                    let words =
                        "the source is connected without TLS; ssl-mode=required asks for it";
                    tracing::info!("{words}");
                }
                None
            }
        };
        let opts = OptsBuilder::from_opts(opts)
            .ssl_opts(tls)
            .prefer_socket(false)
            .tcp_keepalive(Some(KEEPALIVE_IDLE))
            // A mark counts the rows it finds, changed or not.
            .client_found_rows(true)
            .stmt_cache_size(STATEMENTS)
            .connect_attribute("program_name", "kipper-poll");
        Ok(Self { opts: opts.into() })
    }

    /// Connects and pins the settings.
    pub(super) async fn connect(&self, role: Role) -> Result<Link, SourceError> {
        let connecting = async {
            let mut conn = Conn::new(self.opts.clone()).await?;
            pin(&mut conn, role).await?;
            Ok(conn)
        };
        let conn = match timeout(CONNECT_TIMEOUT, connecting).await {
            Ok(connected) => connected.map_err(|error| self.unreachable(&error))?,
            Err(_) => return Err(SourceError::Lost("no answer to a connection".to_owned())),
        };
        Ok(Link { role, conn: Mutex::new(Some(conn)) })
    }

    /// A failed attempt to connect: what is wrong with the configuration, and what only with the moment.
    fn unreachable(&self, error: &Error) -> SourceError {
        match error {
            Error::Server(answer) if REFUSALS.contains(&answer.code) => invalid(cause(error)),
            Error::Driver(
                DriverError::NoClientSslFlagFromServer
                | DriverError::UnknownAuthPlugin { .. }
                | DriverError::MysqlOldPasswordDisabled
                | DriverError::CleartextPluginDisabled,
            ) => invalid(cause(error)),
            _ => {
                let (host, port) = (self.opts.ip_or_hostname(), self.opts.tcp_port());
                SourceError::Lost(format!("{host}:{port}: {}", cause(error)))
            }
        }
    }
}

async fn pin(conn: &mut Conn, role: Role) -> Result<(), Error> {
    let special = if role == Role::Claims { CLAIM_SETTINGS } else { MARK_SETTINGS };
    let wanted: Vec<&(&str, &str)> = SETTINGS.iter().chain(special).collect();
    let names: Vec<String> = wanted.iter().map(|(name, _)| format!("'{name}'")).collect();
    let sql = format!("SHOW SESSION VARIABLES WHERE Variable_name IN ({})", names.join(", "));
    let known: Vec<(String, String)> = conn.query(sql).await?;
    let is_known = |name: &str| known.iter().any(|(known, _)| known.eq_ignore_ascii_case(name));
    let settings: Vec<String> = wanted
        .iter()
        .filter(|(name, _)| is_known(name))
        .map(|(name, value)| format!("SESSION {name} = {value}"))
        .collect();
    conn.query_drop("SET NAMES utf8mb4").await?;
    conn.query_drop(format!("SET {}", settings.join(", "))).await?;
    conn.query_drop("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED").await?;
    // The default of the server may be read only.
    let access = if role == Role::Claims { "READ ONLY" } else { "READ WRITE" };
    conn.query_drop(format!("SET SESSION TRANSACTION {access}")).await
}

/// A connection that several calls share.
pub(super) struct Link {
    role: Role,
    /// `None` once the connection is gone.
    conn: Mutex<Option<Conn>>,
}

impl Link {
    /// Waits for a turn.
    pub(super) async fn turn(&self) -> Turn<'_> {
        Turn { role: self.role, conn: self.conn.lock().await }
    }

    /// True when the connection is known to be gone. One that is at work is not.
    pub(super) fn is_closed(&self) -> bool {
        self.conn.try_lock().is_ok_and(|conn| conn.is_none())
    }

    /// Proves that the connection lives, and that the server still takes writes. One that is at work
    /// proves itself, and may be at work for long.
    pub(super) async fn prove(&self) -> Result<(), SourceError> {
        let Ok(conn) = self.conn.try_lock() else { return Ok(()) };
        let mut turn = Turn { role: self.role, conn };
        let asked = timeout(PROOF_TIMEOUT, turn.text("SELECT @@global.read_only")).await;
        let Ok(answer) = asked else {
            turn.close();
            return Err(self.role.gone("no answer"));
        };
        if answer?.first().is_some_and(|row| is_off(row.as_ref(0))) {
            return Ok(());
        }
        turn.close();
        Err(self.role.gone("the server has become read only"))
    }
}

/// A variable of the server that is switched off.
fn is_off(value: Option<&Value>) -> bool {
    match value {
        Some(Value::Bytes(text)) => text == b"0" || text.eq_ignore_ascii_case(b"OFF"),
        Some(Value::Int(number)) => *number == 0,
        _ => false,
    }
}

/// The connection, for as long as this value lives.
pub(super) struct Turn<'a> {
    role: Role,
    conn: MutexGuard<'a, Option<Conn>>,
}

impl Turn<'_> {
    /// Runs a statement without parameters: none of the user's, and none with a value in it.
    pub(super) async fn text(&mut self, sql: &str) -> Result<Vec<Row>, Failure> {
        let (conn, limit) = self.conn()?;
        let answer = timeout(limit, conn.query(sql)).await;
        self.settle(answer)
    }

    /// Prepares a statement, or finds it among those this connection has.
    pub(super) async fn prepare(&mut self, sql: &str) -> Result<Statement, Failure> {
        let (conn, limit) = self.conn()?;
        let answer = timeout(limit, conn.prep(sql)).await;
        self.settle(answer)
    }

    /// All rows of a statement.
    pub(super) async fn rows(
        &mut self,
        sql: &str,
        parameters: Vec<Value>,
    ) -> Result<Vec<Row>, Failure> {
        let (conn, limit) = self.conn()?;
        let answer = timeout(limit, conn.exec(sql, positional(parameters))).await;
        self.settle(answer)
    }

    /// Shows the rows of a statement one by one, so that not all are in memory at once.
    pub(super) async fn each(
        &mut self,
        sql: &str,
        parameters: Vec<Value>,
        mut visit: impl FnMut(Row) + Send,
    ) -> Result<(), Failure> {
        let (conn, limit) = self.conn()?;
        let reading = async {
            let mut result = conn.exec_iter(sql, positional(parameters)).await?;
            while let Some(row) = result.next().await? {
                visit(row);
            }
            result.drop_result().await
        };
        let answer = timeout(limit, reading).await;
        self.settle(answer)
    }

    /// Runs a statement of the user's. Returns how many rows it found to change.
    pub(super) async fn execute(
        &mut self,
        statement: &Statement,
        parameters: Vec<Value>,
    ) -> Result<u64, Failure> {
        let (conn, limit) = self.conn()?;
        let answer = timeout(limit, conn.exec_drop(statement, positional(parameters))).await;
        let affected = conn.affected_rows();
        self.settle(answer).map(|()| affected)
    }

    /// A failure of this side, before or after the server was asked.
    pub(super) fn own(&self, text: String) -> Failure {
        Failure { role: self.role, code: None, text, gone: false }
    }

    fn conn(&mut self) -> Result<(&mut Conn, Duration), Failure> {
        let role = self.role;
        let limit = if role == Role::Claims { CLAIM_TIMEOUT } else { MARK_TIMEOUT };
        match self.conn.as_mut() {
            Some(conn) => Ok((conn, limit)),
            None => Err(Failure::gone(role, "the connection has ended")),
        }
    }

    /// Closes the connection when an answer shows that it is gone, or did not come in time.
    fn settle<T>(&mut self, answer: Result<Result<T, Error>, Elapsed>) -> Result<T, Failure> {
        let failure = match answer {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(error)) => Failure::new(self.role, &error),
            Err(_) => Failure::gone(self.role, "no answer"),
        };
        if failure.gone {
            self.close();
        }
        Err(failure)
    }

    fn close(&mut self) {
        self.conn.take();
    }
}

fn positional(parameters: Vec<Value>) -> Params {
    if parameters.is_empty() { Params::Empty } else { Params::Positional(parameters) }
}

/// Why a call on a connection failed.
#[derive(Debug)]
pub(super) struct Failure {
    role: Role,
    /// The server's, if it answered at all.
    pub(super) code: Option<u16>,
    /// The server's own words, or those of what broke the connection.
    pub(super) text: String,
    /// The connection ends with it.
    pub(super) gone: bool,
}

impl Failure {
    fn new(role: Role, error: &Error) -> Self {
        match error {
            Error::Server(answer) => {
                let text = format!("{} [{}]", answer.message, answer.code);
                let gone = LAST_WORDS.contains(&answer.code);
                Self { role, code: Some(answer.code), text, gone }
            }
            // Told of a statement before it was sent.
            Error::Driver(
                DriverError::MixedParams
                | DriverError::Params(_)
                | DriverError::StmtParamsMismatch { .. }
                | DriverError::StmtParamsNumberExceedsLimit { .. },
            ) => Self { role, code: None, text: cause(error), gone: false },
            _ => Self::gone(role, &cause(error)),
        }
    }

    fn gone(role: Role, text: &str) -> Self {
        Self { role, code: None, text: text.to_owned(), gone: true }
    }

    /// A failure of one of the user's statements: theirs to mend, unless the connection broke.
    pub(super) fn about(self, what: &str) -> SourceError {
        if self.gone { self.into() } else { invalid(format!("{what}: {}", self.text)) }
    }
}

impl From<Failure> for SourceError {
    fn from(failure: Failure) -> Self {
        if failure.gone { failure.role.gone(&failure.text) } else { Self::Failed(failure.text) }
    }
}

impl Role {
    /// What the end of this connection means.
    fn gone(self, text: &str) -> SourceError {
        match self {
            Self::Claims => SourceError::Lost(text.to_owned()),
            Self::Marks => SourceError::Broken(text.to_owned()),
        }
    }
}

/// What went wrong, without the driver's name for where.
fn cause(error: &Error) -> String {
    match error {
        Error::Server(answer) => format!("{} [{}]", answer.message, answer.code),
        Error::Io(IoError::Io(error)) => error.to_string(),
        Error::Io(error) => error.to_string(),
        Error::Driver(error) => error.to_string(),
        error => error.to_string(),
    }
}

pub(super) fn invalid(text: impl Into<String>) -> SourceError {
    SourceError::Invalid(text.into())
}

#[cfg(test)]
mod tests {
    use super::Connector;

    #[test]
    fn urls() {
        let check = |url: &str, says: Option<&str>| match (Connector::new(url, None), says) {
            (Ok(_), None) => {}
            (Err(error), Some(says)) => assert!(error.to_string().contains(says), "{url}: {error}"),
            (made, _) => panic!("{url}: {:?}", made.map(|_| ())),
        };
        check("mysql://u:p%40w@db.shop:3307/orders", None);
        check("mysql://u@db/orders?ssl-mode=required", None);
        check("mysql://u@db", Some("database"));
        check("mysql://u@db/", Some("database"));
        check("postgres://u@db/orders", Some("scheme"));
        check("mysql://u@db/orders?ssl-mode=preferred", Some("ssl-mode"));
        check("db/orders", Some("URL"));
    }

    #[test]
    fn an_authority_must_hold_certificates() {
        let error = Connector::new("mysql://u@db/orders", Some("no")).map(|_| ()).unwrap_err();
        assert!(error.to_string().contains("PEM"), "{error}");
    }
}
