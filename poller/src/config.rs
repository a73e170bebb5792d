//! What a poller is told: flags, environment, defaults.
//!
//! The names without `POLL` in them are those that pods have always had.

use std::{fmt, net::SocketAddr, num::NonZeroUsize, path::PathBuf, time::Duration};

use clap::{Parser, ValueEnum};
use humantime::parse_duration;
use kipper_bucket::Endpoint;
use kipper_process::telemetry::LogArgs;

use crate::{
    drain::DrainToken,
    error::Error,
    identity::Identity,
    poller::Settings,
    rescuer::EXTEND_INTERVAL,
    source::{
        minio::MinioConfig,
        mysql::MysqlConfig,
        postgres::PostgresConfig,
        redis::{ListEnd, RedisConfig},
    },
    target::{HealthPath, TargetUrl},
};

const DEFAULT_TARGET_URL: &str = "http://127.0.0.1:8080/event";
const DEFAULT_HEALTH_PATH: &str = "/health";
const DEFAULT_LEASE: &str = "30s";
/// Leases that run out between two renewals would be taken over from pods that are well.
const MIN_LEASE: Duration = EXTEND_INTERVAL.saturating_mul(2);
const DEFAULT_POLL_INTERVAL: &str = "1s";
const DEFAULT_CONCURRENCY: NonZeroUsize = NonZeroUsize::new(8).expect("not zero");
/// Each held event is a lock in the server's shared table: ten pods of 256 are 40 % of what a
/// PostgreSQL with its defaults has room for.
const DEFAULT_MAX_HELD: NonZeroUsize = NonZeroUsize::new(256).expect("not zero");
const DEFAULT_MAX_HELD_BYTES: usize = 16 << 20;
const DEFAULT_MAX_ATTEMPTS: u32 = 10;
const DEFAULT_STATE_BUCKET: &str = "kipper-events";
const DEFAULT_DELIVER_TIMEOUT: &str = "300s";
/// What the pod's grace period has beyond the longest delivery, less what the rest of its end takes.
const DRAIN_MARGIN: Duration = Duration::from_secs(20);
const DEFAULT_DRAIN_DELAY: &str = "0s";
const DEFAULT_ADMIN_LISTEN: &str = "0.0.0.0:9990";
const DEFAULT_DRAIN_LISTEN: &str = "0.0.0.0:9991";

/// What kind of source events come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Trigger {
    /// Rows of PostgreSQL
    Postgres,
    /// Rows of MySQL and MariaDB
    Mysql,
    /// Items of a Redis list
    Redis,
    /// Objects of a bucket (MinIO or another S3)
    Minio,
}

/// What marks share a transaction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum MarkCommit {
    /// All that are due
    #[default]
    Batch,
    /// None: for statements whose triggers must not meet in one transaction
    Each,
}

/// A value that is not printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

/// Configuration of the process.
#[derive(Clone, Debug, Parser)]
#[command(name = "kipper-poll", version, about = "Delivers events of a source to a function")]
pub struct Config {
    /// What events come from
    #[arg(long, env = "KIPPER_TRIGGER", value_enum)]
    pub trigger: Trigger,

    /// Namespace of the function
    #[arg(long, env = "KIPPER_POLL_NAMESPACE", default_value = "default")]
    pub namespace: String,

    /// Name of the function; pods of one function never handle one event at the same time
    #[arg(long, env = "KIPPER_POLL_FUNCTION")]
    pub function: String,

    /// Where events are posted
    #[arg(long, env = "KIPPER_TARGET_URL", default_value = DEFAULT_TARGET_URL)]
    pub target_url: TargetUrl,

    /// Path that answers 2xx or 3xx once the function takes events; one that has no such path is
    /// ready when it accepts a connection
    #[arg(long, env = "KIPPER_POLL_HEALTH_PATH", default_value = DEFAULT_HEALTH_PATH)]
    pub health_path: HealthPath,

    /// Where the source is, with user and password
    #[arg(long, env = "KIPPER_SOURCE_URL", hide_env_values = true)]
    pub source_url: Secret,

    /// Certificate authority of the source (PEM); the connection is TLS and verified against it
    #[arg(long, env = "KIPPER_SOURCE_CA", value_name = "FILE")]
    pub source_ca: Option<PathBuf>,

    /// Access key of the S3 service
    #[arg(long, env = "KIPPER_SOURCE_ACCESS_KEY", hide_env_values = true)]
    pub source_access_key: Option<Secret>,

    /// Its secret key
    #[arg(long, env = "KIPPER_SOURCE_SECRET_KEY", hide_env_values = true)]
    pub source_secret_key: Option<Secret>,

    /// Bucket whose changes are the events; the bucket watcher looks at it
    #[arg(long, env = "KIPPER_MINIO_BUCKET")]
    pub bucket: Option<String>,

    /// Bucket in which the watcher stores them
    #[arg(long, env = "KIPPER_POLL_STATE_BUCKET", default_value = DEFAULT_STATE_BUCKET)]
    pub state_bucket: String,

    /// Query whose rows are the events
    #[arg(long, env = "KIPPER_QUERY")]
    pub query: Option<String>,

    /// Statement run after a row was handled; {{column}} is the row's value
    #[arg(long, env = "KIPPER_MARK_DONE")]
    pub mark_done: Option<String>,

    /// What is committed at once: all marks that are due, or each by itself, 8 at a time
    #[arg(long, env = "KIPPER_POLL_MARK_COMMIT", value_enum, default_value_t)]
    pub mark_commit: MarkCommit,

    /// Statement run after a row's last attempt; {{_error}} and {{_attempts}} are known too
    #[arg(long, env = "KIPPER_ON_FAILED")]
    pub on_failed: Option<String>,

    /// Columns that tell rows apart; the primary key if not given
    #[arg(long, env = "KIPPER_POLL_KEY", value_delimiter = ',')]
    pub key: Vec<String>,

    /// List whose items are the events
    #[arg(long, env = "KIPPER_REDIS_LIST")]
    pub list: Option<String>,

    /// End of the list from which items are taken
    #[arg(long, env = "KIPPER_POLL_LIST_END", value_enum, default_value_t)]
    pub list_end: ListEnd,

    /// How long a claim lives when its poller is gone
    #[arg(long, env = "KIPPER_POLL_LEASE", default_value = DEFAULT_LEASE, value_parser = parse_duration)]
    pub lease: Duration,

    /// Pause after a look that found nothing
    #[arg(long, env = "KIPPER_POLL_INTERVAL", default_value = DEFAULT_POLL_INTERVAL, value_parser = parse_duration)]
    pub poll_interval: Duration,

    /// Events handled at once
    #[arg(long, env = "KIPPER_POLL_CONCURRENCY", default_value_t = DEFAULT_CONCURRENCY)]
    pub concurrency: NonZeroUsize,

    /// Events claimed and not yet marked at most
    #[arg(long, env = "KIPPER_POLL_MAX_HELD", default_value_t = DEFAULT_MAX_HELD)]
    pub max_held: NonZeroUsize,

    /// Bytes of their bodies at most
    #[arg(long, env = "KIPPER_POLL_MAX_HELD_BYTES", default_value_t = DEFAULT_MAX_HELD_BYTES)]
    pub max_held_bytes: usize,

    /// Attempts before an event is dead
    #[arg(long, env = "KIPPER_MAX_ATTEMPTS", default_value_t = DEFAULT_MAX_ATTEMPTS, value_parser = clap::value_parser!(u32).range(1..))]
    pub max_attempts: u32,

    /// How long one delivery may take
    #[arg(long, env = "KIPPER_POLL_DELIVER_TIMEOUT", default_value = DEFAULT_DELIVER_TIMEOUT, value_parser = parse_duration)]
    pub deliver_timeout: Duration,

    /// Where /livez, /readyz and /metrics are served
    #[arg(long, env = "KIPPER_POLL_ADMIN_LISTEN", default_value = DEFAULT_ADMIN_LISTEN)]
    pub admin_listen: SocketAddr,

    /// Where /drain is served, if it has a token
    #[arg(long, env = "KIPPER_POLL_DRAIN_LISTEN", default_value = DEFAULT_DRAIN_LISTEN)]
    pub drain_listen: SocketAddr,

    /// How long /drain takes at the least
    #[arg(long, env = "KIPPER_POLL_DRAIN_DELAY", default_value = DEFAULT_DRAIN_DELAY, value_parser = parse_duration)]
    pub drain_delay: Duration,

    /// What a request for /drain must bring in its header kipper-drain-token
    #[arg(long, env = "KIPPER_POLL_DRAIN_TOKEN", hide_env_values = true)]
    pub drain_token: Option<DrainToken>,

    /// The log; only `main` reads it.
    #[command(flatten)]
    pub log: LogArgs,
}

impl Trigger {
    /// Its name, as in a Function.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Postgres => "postgres",
            Self::Redis => "redis",
            Self::Mysql => "mysql",
            Self::Minio => "minio",
        }
    }
}

impl Config {
    /// What clap cannot know.
    pub(crate) fn check(&self) -> Result<(), Error> {
        if self.max_held < self.concurrency {
            return Err(Error::Config("max-held must be at least concurrency".to_owned()));
        }
        if self.lease < MIN_LEASE {
            let least = humantime::format_duration(MIN_LEASE);
            return Err(Error::Config(format!("lease must be at least {least}")));
        }
        Ok(())
    }

    pub(crate) fn identity(&self) -> Identity {
        Identity::new(&self.namespace, &self.function, self.trigger.as_str())
    }

    pub(crate) fn settings(&self) -> Settings {
        Settings {
            concurrency: self.concurrency.get(),
            max_held: self.max_held.get(),
            max_held_bytes: self.max_held_bytes,
            max_attempts: self.max_attempts,
            poll_interval: self.poll_interval,
            drain_deadline: self.deliver_timeout + DRAIN_MARGIN,
        }
    }

    pub(crate) fn postgres(&self) -> Result<PostgresConfig, Error> {
        Ok(PostgresConfig {
            url: self.source_url.0.clone(),
            authority: self.authority()?,
            query: self.required_query()?,
            key: self.key.clone(),
            mark_done: self.mark_done.clone(),
            mark_each: self.mark_commit == MarkCommit::Each,
            on_failed: self.on_failed.clone(),
            function: format!("{}/{}", self.namespace, self.function),
        })
    }

    pub(crate) fn redis(&self) -> Result<RedisConfig, Error> {
        let list = self.list.clone();
        let list = list.ok_or_else(|| {
            Error::Config("a redis trigger needs --list (KIPPER_REDIS_LIST)".to_owned())
        })?;
        Ok(RedisConfig {
            url: self.source_url.0.clone(),
            authority: self.authority()?,
            list,
            end: self.list_end,
            lease: self.lease,
            max_attempts: self.max_attempts,
        })
    }

    pub(crate) fn mysql(&self) -> Result<MysqlConfig, Error> {
        Ok(MysqlConfig {
            url: self.source_url.0.clone(),
            authority: self.authority()?,
            query: self.required_query()?,
            key: self.key.clone(),
            mark_done: self.mark_done.clone(),
            on_failed: self.on_failed.clone(),
            function: format!("{}/{}", self.namespace, self.function),
        })
    }

    fn required_query(&self) -> Result<String, Error> {
        let trigger = self.trigger.as_str();
        let missing = || Error::Config(format!("a {trigger} trigger needs --query (KIPPER_QUERY)"));
        self.query.clone().ok_or_else(missing)
    }

    /// What a minio trigger is configured with.
    ///
    /// # Errors
    /// When something is missing, or cannot be read.
    pub fn minio(&self) -> Result<MinioConfig, Error> {
        if self.bucket.is_none() {
            let missing = "a minio trigger needs --bucket (KIPPER_MINIO_BUCKET)";
            return Err(Error::Config(missing.to_owned()));
        }
        Ok(MinioConfig {
            endpoint: self.endpoint()?,
            state_bucket: self.state_bucket.clone(),
            namespace: self.namespace.clone(),
            function: self.function.clone(),
            lease: self.lease,
        })
    }

    /// The keys are in the URL, or given by themselves.
    fn endpoint(&self) -> Result<Endpoint, Error> {
        let endpoint = Endpoint::from_url(&self.source_url.0);
        let mut endpoint = endpoint.map_err(|error| Error::Config(error.to_string()))?;
        if let Some(key) = &self.source_access_key {
            endpoint.access_key.clone_from(&key.0);
        }
        if let Some(key) = &self.source_secret_key {
            endpoint.secret_key.clone_from(&key.0);
        }
        if endpoint.access_key.is_empty() || endpoint.secret_key.is_empty() {
            let missing = "a minio trigger needs access key and secret key; its URL may have them \
                           as user and password";
            return Err(Error::Config(missing.to_owned()));
        }
        endpoint.authority = self.authority()?;
        Ok(endpoint)
    }

    fn authority(&self) -> Result<Option<String>, Error> {
        let Some(path) = &self.source_ca else { return Ok(None) };
        let read = std::fs::read_to_string(path);
        read.map(Some).map_err(|source| Error::File { path: path.clone(), source })
    }
}
