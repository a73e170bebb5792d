//! Flags, environment and defaults of the watcher; they are part of the scaler-adapter's.

use std::{convert::Infallible, fmt, hint, net::SocketAddr, sync::Arc, time::Duration};

use clap::Args;
use humantime::parse_duration;

/// What MinIO calls its webhook target with the id `KIPPER`.
const DEFAULT_NOTIFICATION_ARN: &str = "arn:minio:sqs::KIPPER:webhook";
const DEFAULT_LIST_INTERVAL: &str = "5s";
const DEFAULT_BACKSTOP_INTERVAL: &str = "60s";

/// The bucket watcher; off when no namespace is given and the process has no triggers of its own.
#[derive(Clone, Debug, Args)]
pub struct BucketArgs {
    /// Namespace of this adapter, where the Secrets of bucket triggers and the watcher's Lease are;
    /// without it no bucket is watched
    #[arg(long, env = "KIPPER_SCALER_ADAPTER_BUCKET_NAMESPACE")]
    pub bucket_namespace: Option<String>,

    /// Where notifications of buckets are taken; without it they are watched by lists alone
    #[arg(long, env = "KIPPER_SCALER_ADAPTER_BUCKET_LISTEN", requires = "bucket_token")]
    pub bucket_listen: Option<SocketAddr>,

    /// Bearer token that notifications must bring
    #[arg(
        long,
        env = "KIPPER_SCALER_ADAPTER_BUCKET_TOKEN",
        hide_env_values = true,
        value_parser = |token: &str| Ok::<_, Infallible>(WebhookToken::from(token))
    )]
    pub bucket_token: Option<WebhookToken>,

    /// Where other adapters reach this one's webhook port; they hand notifications on to the one
    /// that watches
    #[arg(long, env = "KIPPER_SCALER_ADAPTER_BUCKET_ADVERTISE")]
    pub bucket_advertise: Option<SocketAddr>,

    /// Target that services have for notifications to this adapter
    #[arg(long, env = "KIPPER_SCALER_ADAPTER_BUCKET_NOTIFICATION_ARN", default_value = DEFAULT_NOTIFICATION_ARN)]
    pub bucket_notification_arn: String,

    /// Pause between two lists of a bucket that does not tell of its changes
    #[arg(long, env = "KIPPER_SCALER_ADAPTER_BUCKET_LIST_INTERVAL", default_value = DEFAULT_LIST_INTERVAL, value_parser = parse_duration)]
    pub bucket_list_interval: Duration,

    /// Pause between two lists of a bucket that does
    #[arg(long, env = "KIPPER_SCALER_ADAPTER_BUCKET_BACKSTOP_INTERVAL", default_value = DEFAULT_BACKSTOP_INTERVAL, value_parser = parse_duration)]
    pub bucket_backstop_interval: Duration,
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
    /// For a request to another watcher.
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }

    /// Whether this is the token. The comparison takes a time that depends on the length alone.
    pub(crate) fn is(&self, given: &[u8]) -> bool {
        let token = self.0.as_bytes();
        let pairs = token.iter().zip(given);
        // Without the barrier the fold could be turned into one that stops early.
        token.len() == given.len()
            && pairs.fold(0, |differ, (a, b)| hint::black_box(differ | (a ^ b))) == 0
    }
}
