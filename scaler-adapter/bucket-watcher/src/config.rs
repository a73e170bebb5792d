//! Flags, environment and defaults of the watcher; they are part of the scaler-adapter's.

use std::{convert::Infallible, fmt, hint, net::SocketAddr, sync::Arc, time::Duration};

use clap::Args;
use humantime::parse_duration;

/// What MinIO calls its webhook target with the id `KIPPER`.
const DEFAULT_NOTIFICATION_ARN: &str = "arn:minio:sqs::KIPPER:webhook";
const DEFAULT_LIST_INTERVAL: &str = "5s";
const DEFAULT_BACKSTOP_INTERVAL: &str = "60s";
/// Half of the memory that the adapter has by default.
const DEFAULT_MAX_HELD_BYTES: usize = 256 << 20;

/// The bucket watcher; off when no namespace is given and the process has no triggers of its own.
#[derive(Clone, Debug, Args)]
pub struct BucketArgs {
    /// Namespace of this adapter, with the Secrets of bucket triggers and the watcher's Lease;
    /// without it no bucket is watched
    #[arg(long, env = "KIPPER_SCALER_ADAPTER_BUCKET_NAMESPACE")]
    pub bucket_namespace: Option<String>,

    /// Address that receives notifications of buckets; without it buckets are watched by lists only
    #[arg(long, env = "KIPPER_SCALER_ADAPTER_BUCKET_LISTEN", requires = "bucket_token")]
    pub bucket_listen: Option<SocketAddr>,

    /// Key from which each namespace's bearer token of notifications is derived. A notification with
    /// the key itself is not believed: buckets are listed instead
    #[arg(
        long,
        env = "KIPPER_SCALER_ADAPTER_BUCKET_TOKEN",
        hide_env_values = true,
        value_parser = |token: &str| Ok::<_, Infallible>(WebhookToken::from(token))
    )]
    pub bucket_token: Option<WebhookToken>,

    /// Address at which other adapters reach this one's webhook port, to forward notifications to
    /// the one that watches
    #[arg(long, env = "KIPPER_SCALER_ADAPTER_BUCKET_ADVERTISE")]
    pub bucket_advertise: Option<SocketAddr>,

    /// Target by which services send notifications to this adapter
    #[arg(long, env = "KIPPER_SCALER_ADAPTER_BUCKET_NOTIFICATION_ARN", default_value = DEFAULT_NOTIFICATION_ARN)]
    pub bucket_notification_arn: String,

    /// Pause between two lists of a bucket without notifications
    #[arg(long, env = "KIPPER_SCALER_ADAPTER_BUCKET_LIST_INTERVAL", default_value = DEFAULT_LIST_INTERVAL, value_parser = parse_duration)]
    pub bucket_list_interval: Duration,

    /// Pause between two lists of a bucket with notifications
    #[arg(long, env = "KIPPER_SCALER_ADAPTER_BUCKET_BACKSTOP_INTERVAL", default_value = DEFAULT_BACKSTOP_INTERVAL, value_parser = parse_duration)]
    pub bucket_backstop_interval: Duration,

    /// Bytes held in memory for all buckets. One namespace has half of it at most, and one function a
    /// quarter
    #[arg(long, env = "KIPPER_SCALER_ADAPTER_BUCKET_MAX_HELD_BYTES", default_value_t = DEFAULT_MAX_HELD_BYTES)]
    pub bucket_max_held_bytes: usize,
}

impl Default for BucketArgs {
    fn default() -> Self {
        Self {
            bucket_namespace: None,
            bucket_listen: None,
            bucket_token: None,
            bucket_advertise: None,
            bucket_notification_arn: DEFAULT_NOTIFICATION_ARN.to_owned(),
            bucket_list_interval: Duration::from_secs(5),
            bucket_backstop_interval: Duration::from_secs(60),
            bucket_max_held_bytes: DEFAULT_MAX_HELD_BYTES,
        }
    }
}

/// The secret that a service's notifications must carry.
#[derive(Clone, PartialEq, Eq)]
pub struct WebhookToken(Arc<str>);

impl From<&str> for WebhookToken {
    fn from(token: &str) -> Self {
        Self(token.into())
    }
}

impl fmt::Debug for WebhookToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl WebhookToken {
    /// The key of the tokens that are derived.
    pub(crate) fn key(&self) -> &[u8] {
        self.0.as_bytes()
    }

    /// Whether this is the token. The comparison takes a time that depends on the length only.
    pub(crate) fn is(&self, given: &[u8]) -> bool {
        let token = self.0.as_bytes();
        let pairs = token.iter().zip(given);
        // Without the barrier the fold could be turned into one that stops early.
        token.len() == given.len()
            && pairs.fold(0, |differ, (a, b)| hint::black_box(differ | (a ^ b))) == 0
    }
}
