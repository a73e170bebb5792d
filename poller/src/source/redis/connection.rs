//! The connection to Redis: how it is made, when it counts as lost, and scripts on it.
//!
//! The client never connects again and never sends a command twice by itself: a connection that
//! fails in any way is closed, and what it was doing has an unknown outcome.

use std::{io, time::Duration};

use fred::{
    clients::{Client, WithOptions},
    error::{Error, ErrorKind},
    interfaces::ClientLike,
    types::{
        Builder, ClusterHash, CustomCommand, Resp3Frame, Value,
        config::{Config, ConnectionConfig, Options, PerformanceConfig, TcpConfig, TlsConfig},
    },
};
use futures_util::future::join;
use ring::digest;
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::source::{SourceError, tls};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// A server that has not answered for this long is gone; also how a dead peer is noticed, since
/// leases are renewed more often.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(10);

/// Errors of the server after which another connection may do better: it is a replica now, or is
/// still starting.
const GONE: &[&str] = &["READONLY", "MASTERDOWN", "LOADING", "CLUSTERDOWN", "NOAUTH"];
/// Errors of the server at connecting which only the user can mend.
const REFUSED: &[&str] =
    &["WRONGPASS", "NOAUTH", "NOPERM", "ERR AUTH", "ERR invalid password", "ERR DB index"];

/// What TLS says of an answer that is none of its own.
const NO_TLS: &str = "corrupt message";
const WITHOUT_TLS: &str = "the URL of a port without TLS begins with redis://";

/// How to connect.
#[derive(Clone)]
pub(super) struct Connector {
    config: Config,
}

impl Connector {
    /// Reads the URL. With a certificate authority (PEM) the connection is TLS and verified against
    /// it alone; without one `rediss` verifies against the public authorities.
    pub(super) fn new(url: &str, authority: Option<&str>) -> Result<Self, SourceError> {
        let (scheme, rest) = url
            .split_once("://")
            .ok_or_else(|| invalid("the source URL must begin with redis:// or rediss://"))?;
        let (scheme, is_tls) = match scheme {
            "redis" => ("redis", false),
            "rediss" => ("redis", true),
            "redis-sentinel" => ("redis-sentinel", false),
            "rediss-sentinel" => ("redis-sentinel", true),
            "redis-cluster" | "rediss-cluster" => {
                return Err(invalid("Redis Cluster is not supported yet"));
            }
            _ => {
                let known = "redis, rediss, redis-sentinel and rediss-sentinel";
                return Err(invalid(format!(
                    "invalid scheme of the source URL, expected one of {known}"
                )));
            }
        };
        // Without its `s`: the client's own TLS would read this machine's certificates.
        let mut config = Config::from_url(&format!("{scheme}://{rest}"))
            .map_err(|error| invalid(format!("source URL: {}", error.details())))?;
        let roots = match authority {
            Some(pem) => Some(tls::authorities(pem)?),
            None => is_tls.then(tls::public_authorities),
        };
        config.tls = roots.map(tls::client).transpose()?.map(TlsConfig::from);
        config.fail_fast = true;
        // A connection begins there, and selecting it would need a right.
        config.database = config.database.filter(|database| *database != 0);
        Ok(Self { config })
    }

    /// Nothing came in time, which is all that one side sees of a port that the other has TLS on.
    fn silent(&self) -> SourceError {
        let hint = if self.config.tls.is_some() {
            WITHOUT_TLS
        } else {
            "the URL of a port with TLS begins with rediss://"
        };
        SourceError::Lost(format!("no answer within {CONNECT_TIMEOUT:?}: {hint}"))
    }

    /// A failed attempt to connect: what is wrong with the configuration, and what only with the moment.
    fn unreachable(&self, error: &Error) -> SourceError {
        let words = &*in_words(error);
        if REFUSED.iter().any(|prefix| words.starts_with(prefix)) {
            return invalid(words);
        }
        if self.config.tls.is_some() && words.contains(NO_TLS) {
            return SourceError::Lost(format!("{words}: {WITHOUT_TLS}"));
        }
        SourceError::Lost(format!("{}: {words}", self.address()))
    }

    /// Hosts and ports that are connected to.
    fn address(&self) -> String {
        let servers = self.config.server.hosts();
        let servers: Vec<_> = servers.iter().map(ToString::to_string).collect();
        servers.join(", ")
    }

    /// True where sentinels say who the master is.
    pub(super) fn has_sentinels(&self) -> bool {
        self.config.server.is_sentinel()
    }

    /// Connects and authenticates, to the master that the sentinels name where there are any.
    pub(super) async fn connect(&self) -> Result<Connection, SourceError> {
        let client = Builder::from_config(self.config.clone())
            .with_connection_config(|config: &mut ConnectionConfig| {
                config.connection_timeout = CONNECT_TIMEOUT;
                config.internal_command_timeout = COMMAND_TIMEOUT;
                config.max_command_attempts = 1;
                config.max_redirections = 1;
                config.tcp = TcpConfig { nodelay: Some(true), ..TcpConfig::default() };
            })
            .with_performance_config(|config: &mut PerformanceConfig| {
                config.default_command_timeout = COMMAND_TIMEOUT;
            })
            .build()
            .map_err(|error| invalid(format!("source URL: {}", error.details())))?;
        // Polled first, the wait knows of whatever becomes of the attempt.
        let mut routing = None;
        let connected = timeout(CONNECT_TIMEOUT, async {
            let begin = async { routing = Some(client.connect()) };
            join(client.wait_for_connect(), begin).await.0
        });
        let connected = match connected.await {
            Ok(connected) => connected.map_err(|error| self.unreachable(&error)),
            Err(_) => Err(self.silent()),
        };
        let Some(mut routing) = routing else { return Err(self.silent()) };
        if let Err(error) = connected {
            routing.abort();
            return Err(error);
        }
        let closed = CancellationToken::new();
        let closing = closed.clone();
        tokio::spawn(async move {
            tokio::select! {
                _ = &mut routing => closing.cancel(),
                // Its sockets go with the task.
                () = closing.cancelled() => routing.abort(),
            }
        });
        let client = client.with_options(&Options { fail_fast: true, ..Options::default() });
        Ok(Connection { client, _guard: closed.clone().drop_guard(), closed })
    }
}

/// A connection. Dropping it closes it.
pub(super) struct Connection {
    client: WithOptions<Client>,
    closed: CancellationToken,
    _guard: DropGuard,
}

impl Connection {
    pub(super) fn is_closed(&self) -> bool {
        self.closed.is_cancelled()
    }

    /// One command. An error of the server comes as its words, and then it did nothing or what its
    /// script says; any other one closes the connection.
    pub(super) async fn call(
        &self,
        command: &'static str,
        arguments: Vec<Value>,
    ) -> Result<Result<Resp3Frame, String>, SourceError> {
        let command = CustomCommand::new_static(command, ClusterHash::FirstKey, false);
        let answer = tokio::select! {
            biased;
            answer = self.client.custom_raw(command, arguments) => answer,
            // The client forgets commands that it was given while it ended.
            () = self.closed.cancelled() => Err(Error::new(ErrorKind::IO, "connection closed")),
        };
        let words = match answer {
            Ok(Resp3Frame::SimpleError { data, .. }) => data.to_string(),
            Ok(Resp3Frame::BlobError { data, .. }) => String::from_utf8_lossy(&data).into_owned(),
            Ok(frame) => return Ok(Ok(frame)),
            Err(error) => return Err(self.lost(&in_words(&error))),
        };
        if GONE.iter().any(|prefix| words.starts_with(prefix)) {
            return Err(self.lost(&words));
        }
        Ok(Err(words))
    }

    /// Runs a script, which the server knows already unless it was restarted.
    pub(super) async fn run(
        &self,
        script: &Script,
        keys: Vec<Value>,
        arguments: Vec<Value>,
    ) -> Result<Resp3Frame, SourceError> {
        let count = i64::try_from(keys.len()).unwrap_or(i64::MAX);
        let mut all = Vec::with_capacity(2 + keys.len() + arguments.len());
        all.push(Value::from(script.sha.clone()));
        all.push(Value::from(count));
        all.extend(keys);
        all.extend(arguments);
        let answer = match self.call("EVALSHA", all.clone()).await? {
            // It ran nothing.
            Err(words) if words.starts_with("NOSCRIPT") => {
                all[0] = Value::from(script.text.clone());
                self.call("EVAL", all).await?
            }
            answer => answer,
        };
        answer.map_err(SourceError::Failed)
    }

    /// Ends it, and with an error every call that still waits for its answer.
    pub(super) fn close(&self) {
        self.closed.cancel();
    }

    /// The connection is of no use any more: nothing is known of what it was doing.
    pub(super) fn lost(&self, why: &str) -> SourceError {
        self.close();
        SourceError::Lost(why.to_owned())
    }
}

/// A Lua script.
pub(super) struct Script {
    text: String,
    sha: String,
}

impl Script {
    pub(super) fn new(text: String) -> Self {
        let digest = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, text.as_bytes());
        let sha = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        Self { text, sha }
    }
}

/// The client's words; those of the operating system it gives in Rust's own notation.
fn in_words(error: &Error) -> String {
    let words = error.details();
    if let Some((_, said)) =
        words.split_once(", error: \"").filter(|_| words.starts_with("Custom {"))
    {
        return said.trim_end_matches("\" }").to_owned();
    }
    let code = words.strip_prefix("Os { code: ").and_then(|rest| rest.split(',').next());
    match code.and_then(|code| code.parse().ok()) {
        Some(code) => io::Error::from_raw_os_error(code).to_string(),
        None => words.to_owned(),
    }
}

pub(super) fn invalid(text: impl Into<String>) -> SourceError {
    SourceError::Invalid(text.into())
}
