//! What a source of bucket events is configured with.

use std::time::Duration;

use kipper_bucket::Endpoint;

/// What is configured.
#[derive(Clone, Debug)]
pub struct MinioConfig {
    /// The service.
    pub endpoint: Endpoint,
    /// Where the events are.
    pub state_bucket: String,
    /// Namespace of the function.
    pub namespace: String,
    /// Name of the function.
    pub function: String,
    /// How long a claim lives without renewal.
    pub lease: Duration,
}
