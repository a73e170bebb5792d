//! What is reported of a function, and where it is read.

use std::time::Duration;

use crate::source::FunctionId;

/// What the reporter reads; implemented by the data plane's counters.
pub trait CountsFeed: Send + Sync + 'static {
    /// Resolves when at least one function changed since the last `take_changed`.
    fn changed(&self) -> impl Future<Output = ()> + Send;
    /// Resolves when a function began to wait for a wake from zero since the last `take_changed`.
    fn urgent(&self) -> impl Future<Output = ()> + Send;
    /// Functions changed since the last call (each once), with their present counts.
    fn take_changed(&self) -> Vec<Counts>;
    /// Every function that is not idle, or had a request within the last hour.
    fn snapshot(&self) -> Vec<Counts>;
}

/// What one function has accepted and open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counts {
    /// The function.
    pub id: FunctionId,
    /// Requests accepted since the process started.
    pub total: u64,
    /// What `total` was when this function was last among the changed ones.
    pub base: u64,
    /// Forwarded and not finished.
    pub in_flight: u32,
    /// In the hold queue.
    pub held: u32,
    /// Those of `held` that wait while the function has no ready endpoint.
    pub waiting: u32,
    /// Since the last request was accepted.
    pub idle: Duration,
}
