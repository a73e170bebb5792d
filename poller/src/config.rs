//! What a poller is configured with: flags, environment, defaults.
//!
//! What a trigger may say, its bounds and defaults, and the names of the variables are
//! `kipper_trigger`'s.

use std::{collections::HashMap, fmt, net::SocketAddr, path::PathBuf, time::Duration};

use clap::{
    CommandFactory as _, FromArgMatches as _, Parser, ValueEnum,
    builder::{PossibleValuesParser, Resettable, TypedValueParser as _},
};
use humantime::parse_duration;
use kipper_bucket::Endpoint;
use kipper_process::telemetry::LogArgs;
use kipper_trigger::{DEFAULT_HEALTH_PATH, DEFAULT_STATE_BUCKET, Kind, ListEnd, Setting, Variable};

use crate::{
    drain::DrainToken,
    error::Error,
    identity::Identity,
    poller::Settings,
    rescuer::EXTEND_INTERVAL,
    source::{
        minio::MinioConfig, mysql::MysqlConfig, postgres::PostgresConfig, redis::RedisConfig,
    },
    target::{EventToken, HealthPath, TargetUrl},
};

const DEFAULT_TARGET_URL: &str = "http://127.0.0.1:8080/event";
const DEFAULT_MAX_HELD_BYTES: usize = 16 << 20;
/// Renewals that may fail before a lease runs out.
const _: () = assert!(EXTEND_INTERVAL.as_secs() * 2 <= MIN_LEASE.as_secs());
const MIN_LEASE: Duration = match Setting::Lease.durations() {
    Some(bounds) => *bounds.start(),
    None => Duration::ZERO,
};
/// What the pod's grace period has beyond the longest delivery, less what the rest of its end takes.
const DRAIN_MARGIN: Duration = Duration::from_secs(20);
/// A source that does nothing for so long does not mark or release anything in this pod's life.
const DRAIN_STALL: Duration = Duration::from_secs(30);
const DEFAULT_DRAIN_DELAY: &str = "0s";
const DEFAULT_ADMIN_LISTEN: &str = "0.0.0.0:9990";
const DEFAULT_DRAIN_LISTEN: &str = "0.0.0.0:9991";

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
    /// Kind of the source of events
    #[arg(long, env = Variable::Trigger.name(), value_parser = kinds())]
    pub trigger: Kind,

    /// Namespace of the function
    #[arg(long, env = Variable::Namespace.name(), default_value = "default")]
    pub namespace: String,

    /// Name of the function; pods of one function never handle one event at the same time
    #[arg(long, env = Variable::Function.name())]
    pub function: String,

    /// URL that events are posted to
    #[arg(long, env = Variable::TargetUrl.name(), default_value = DEFAULT_TARGET_URL)]
    pub target_url: TargetUrl,

    /// Path that the function answers once it is ready
    #[arg(long, env = Variable::HealthPath.name(), default_value = DEFAULT_HEALTH_PATH)]
    pub health_path: HealthPath,

    /// URL of the source, including user and password
    #[arg(long, env = Variable::SourceUrl.name(), hide_env_values = true)]
    pub source_url: Secret,

    /// Certificate authority of the source (PEM); enables TLS, verified against it alone
    #[arg(long, env = Variable::SourceCa.name(), value_name = "FILE")]
    pub source_ca: Option<PathBuf>,

    /// Access key of the S3 service
    #[arg(long, env = Variable::SourceAccessKey.name(), hide_env_values = true)]
    pub source_access_key: Option<Secret>,

    /// Secret key of the S3 service
    #[arg(long, env = Variable::SourceSecretKey.name(), hide_env_values = true)]
    pub source_secret_key: Option<Secret>,

    /// Bucket whose changes are the events
    #[arg(long, env = Variable::Bucket.name())]
    pub bucket: Option<String>,

    /// Bucket in which the bucket watcher stores them
    #[arg(long, env = Variable::StateBucket.name(), default_value = DEFAULT_STATE_BUCKET)]
    pub state_bucket: String,

    /// Query whose rows are the events
    #[arg(long, env = Variable::Query.name())]
    pub query: Option<String>,

    /// Statement run after a row is handled; {{column}} is the row's value
    #[arg(long, env = Variable::MarkDone.name())]
    pub mark_done: Option<String>,

    /// Transactions of marks: one for all that are due, or one for each, 8 at a time
    #[arg(long, env = Variable::MarkCommit.name(), value_enum, default_value_t)]
    pub mark_commit: MarkCommit,

    /// Statement run after a row's last attempt; {{_error}} and {{_attempts}} are available too
    #[arg(long, env = Variable::OnFailed.name())]
    pub on_failed: Option<String>,

    /// Columns that identify a row [default: the primary key]
    #[arg(long, env = Variable::KeyColumns.name(), value_delimiter = ',')]
    pub key: Vec<String>,

    /// List whose items are the events
    #[arg(long, env = Variable::List.name())]
    pub list: Option<String>,

    /// End of the list from which items are taken
    #[arg(long, env = Variable::ListEnd.name(), default_value_t, value_parser = list_ends())]
    pub list_end: ListEnd,

    /// How long a claim lasts without being renewed
    #[arg(long, env = Variable::Lease.name(), default_value = Setting::Lease.default(), value_parser = |text: &str| Setting::Lease.duration(text))]
    pub lease: Duration,

    /// Pause after a poll that found no events
    #[arg(long, env = Variable::PollInterval.name(), default_value = Setting::PollInterval.default(), value_parser = |text: &str| Setting::PollInterval.duration(text))]
    pub poll_interval: Duration,

    /// Events handled concurrently
    #[arg(long, env = Variable::Concurrency.name(), default_value = Setting::Concurrency.default(), value_parser = |text: &str| count(Setting::Concurrency, text))]
    pub concurrency: usize,

    /// Maximum number of events claimed but not yet marked
    #[arg(long, env = Variable::MaxHeld.name(), default_value = Setting::MaxHeld.default(), value_parser = |text: &str| count(Setting::MaxHeld, text))]
    pub max_held: usize,

    /// Maximum total size of their bodies, in bytes
    #[arg(long, env = Variable::MaxHeldBytes.name(), default_value_t = DEFAULT_MAX_HELD_BYTES)]
    pub max_held_bytes: usize,

    /// Delivery attempts before an event is dead
    #[arg(long, env = Variable::MaxAttempts.name(), default_value = Setting::MaxAttempts.default(), value_parser = |text: &str| Setting::MaxAttempts.number(text))]
    pub max_attempts: u32,

    /// Maximum duration of one delivery
    #[arg(long, env = Variable::DeliverTimeout.name(), default_value = Setting::DeliverTimeout.default(), value_parser = |text: &str| Setting::DeliverTimeout.duration(text))]
    pub deliver_timeout: Duration,

    /// Listen address of /livez, /readyz and /metrics
    #[arg(long, env = Variable::AdminListen.name(), default_value = DEFAULT_ADMIN_LISTEN)]
    pub admin_listen: SocketAddr,

    /// Listen address of /drain; not served without a token
    #[arg(long, env = Variable::DrainListen.name(), default_value = DEFAULT_DRAIN_LISTEN)]
    pub drain_listen: SocketAddr,

    /// Minimum duration of a call of /drain
    #[arg(long, env = Variable::DrainDelay.name(), default_value = DEFAULT_DRAIN_DELAY, value_parser = parse_duration)]
    pub drain_delay: Duration,

    /// Token that a request for /drain must carry in the header kipper-drain-token
    #[arg(long, env = Variable::DrainToken.name(), hide_env_values = true)]
    pub drain_token: Option<DrainToken>,

    /// Token that every event carries in the header kipper-event-token, by which the function's
    /// runtime knows this poller
    #[arg(long, env = Variable::EventToken.name(), hide_env_values = true)]
    pub event_token: Option<EventToken>,

    /// Host and port of the scaler-adapters, which are told how many events wait while this poller cannot
    /// keep up with them
    #[arg(long, env = Variable::BacklogAddress.name(), value_name = "HOST:PORT")]
    pub backlog_address: Option<String>,

    /// Token that reports to the scaler-adapters carry
    #[arg(long, env = Variable::BacklogToken.name(), hide_env_values = true)]
    pub backlog_token: Option<Secret>,

    /// The certificate authority itself (PEM), for who checks a trigger without its files.
    #[arg(skip)]
    pub source_authority: Option<String>,

    /// The log; only `main` reads it.
    #[command(flatten)]
    pub log: LogArgs,
}

pub(crate) fn kinds() -> impl clap::builder::TypedValueParser<Value = Kind> {
    PossibleValuesParser::new(Kind::ALL.map(Kind::as_str))
        .try_map(|word| Kind::parse(&word).ok_or("is not a kind of source"))
}

fn list_ends() -> impl clap::builder::TypedValueParser<Value = ListEnd> {
    PossibleValuesParser::new(ListEnd::ALL.map(ListEnd::as_str))
        .try_map(|word| ListEnd::parse(&word).ok_or("is not an end of a list"))
}

fn count(setting: Setting, text: &str) -> Result<usize, String> {
    usize::try_from(setting.number(text)?).map_err(|error| error.to_string())
}

impl Config {
    /// Reads the configuration from these variables alone: neither flags nor the environment of
    /// this process count.
    ///
    /// # Errors
    /// As a poller that is started with them says it.
    pub fn from_variables(
        variables: impl IntoIterator<Item = (Variable, String)>,
    ) -> Result<Self, Error> {
        let command = Self::command();
        let flags: HashMap<_, _> = command
            .get_arguments()
            .filter_map(|arg| Some((arg.get_env()?.to_str()?, arg.get_long()?)))
            .collect();
        let given = variables.into_iter().filter_map(|(variable, value)| {
            let flag = flags.get(variable.name())?;
            Some(format!("--{flag}={value}"))
        });
        let given: Vec<_> = [command.get_name().to_owned()].into_iter().chain(given).collect();
        let command = command.clone().mut_args(|arg| arg.env(Resettable::Reset));
        let matches = command.try_get_matches_from(given);
        let config = matches.and_then(|matches| Self::from_arg_matches(&matches));
        config.map_err(|error| {
            let text = error.to_string();
            let line = text.lines().next().unwrap_or_default();
            Error::Config(line.strip_prefix("error: ").unwrap_or(line).to_owned())
        })
    }

    /// What clap cannot know.
    pub(crate) fn check(&self) -> Result<(), Error> {
        if self.max_held < self.concurrency {
            return Err(Error::Config("max-held must be at least concurrency".to_owned()));
        }
        Ok(())
    }

    pub(crate) fn identity(&self) -> Identity {
        Identity::new(&self.namespace, &self.function, self.trigger.as_str())
    }

    pub(crate) fn settings(&self) -> Settings {
        Settings {
            concurrency: self.concurrency,
            max_held: self.max_held,
            max_held_bytes: self.max_held_bytes,
            max_attempts: self.max_attempts,
            poll_interval: self.poll_interval,
            drain_deadline: self.deliver_timeout + DRAIN_MARGIN,
            drain_stall: DRAIN_STALL,
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
            Error::Config(format!("a redis trigger needs --list ({})", Variable::List.name()))
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
        let variable = Variable::Query.name();
        let missing = || Error::Config(format!("a {trigger} trigger needs --query ({variable})"));
        self.query.clone().ok_or_else(missing)
    }

    /// What a minio trigger is configured with.
    ///
    /// # Errors
    /// When something is missing, or cannot be read.
    pub fn minio(&self) -> Result<MinioConfig, Error> {
        if self.bucket.is_none() {
            let variable = Variable::Bucket.name();
            return Err(Error::Config(format!("a minio trigger needs --bucket ({variable})")));
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
        if let Some(pem) = &self.source_authority {
            return Ok(Some(pem.clone()));
        }
        let Some(path) = &self.source_ca else { return Ok(None) };
        let read = std::fs::read_to_string(path);
        read.map(Some).map_err(|source| Error::File { path: path.clone(), source })
    }
}
