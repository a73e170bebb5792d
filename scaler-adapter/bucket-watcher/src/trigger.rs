//! Which buckets are watched for which functions.

use std::sync::Arc;

use kipper_bucket::Endpoint;
use kipper_trigger::BucketSecret;
use tokio::sync::watch;

/// Namespace and name of a function.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct FunctionKey {
    namespace: String,
    name: String,
}

impl FunctionKey {
    pub(crate) fn new(namespace: &str, name: &str) -> Self {
        Self { namespace: namespace.to_owned(), name: name.to_owned() }
    }
}

/// Changes of one bucket, for one function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BucketTrigger {
    /// Namespace of the function.
    pub namespace: String,
    /// Name of the function.
    pub function: String,
    /// Where the bucket and the state bucket are.
    pub endpoint: Endpoint,
    /// The bucket.
    pub bucket: String,
    /// Keys of interest begin with it.
    pub prefix: String,
    /// And end with it.
    pub suffix: String,
    /// Bucket in which events wait.
    pub state_bucket: String,
}

/// All of them, replaced as a whole; `None` until they are known.
pub type Triggers = watch::Receiver<Option<Arc<[BucketTrigger]>>>;

impl From<BucketSecret> for BucketTrigger {
    fn from(secret: BucketSecret) -> Self {
        Self {
            namespace: secret.namespace,
            function: secret.function,
            endpoint: Endpoint {
                url: secret.endpoint,
                access_key: secret.access_key,
                secret_key: secret.secret_key,
                authority: secret.ca,
            },
            bucket: secret.bucket,
            prefix: secret.prefix,
            suffix: secret.suffix,
            state_bucket: secret.state_bucket,
        }
    }
}

impl BucketTrigger {
    /// Whether the function wants to know of this key.
    pub(crate) fn wants(&self, key: &str) -> bool {
        key.starts_with(&self.prefix) && key.ends_with(&self.suffix)
    }

    pub(crate) fn key(&self) -> FunctionKey {
        FunctionKey::new(&self.namespace, &self.function)
    }

    /// `host:port` of the service, as a webhook's path names it.
    pub(crate) fn authority(&self) -> &str {
        let url = self.endpoint.url.split('?').next().unwrap_or_default();
        let url = url.trim_end_matches('/');
        url.split_once("://").map_or(url, |(_, authority)| authority)
    }
}
