//! What a source of Redis items is configured with.

use std::time::Duration;

use kipper_trigger::ListEnd;

/// What is configured.
#[derive(Clone, Debug)]
pub struct RedisConfig {
    /// `redis://user:password@host:port/database`, `rediss://…`, or
    /// `redis-sentinel://…?sentinelServiceName=…`.
    pub url: String,
    /// Certificate authority in PEM.
    pub authority: Option<String>,
    /// Its items are the events.
    pub list: String,
    /// From where they are taken.
    pub end: ListEnd,
    /// How long a claim lives without being renewed.
    pub lease: Duration,
    /// After how many leases that ran out an event is dead.
    pub max_attempts: u32,
}
