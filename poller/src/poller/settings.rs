//! What the loop is told.

use std::time::Duration;

/// What is configured.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Handlers that run at once.
    pub concurrency: usize,
    /// Events held at most, in whatever state.
    pub max_held: usize,
    /// Bytes of held bodies at most; one event more may exceed it.
    pub max_held_bytes: usize,
    /// Attempts before an event is dead.
    pub max_attempts: u32,
    /// Pause after a claim that brought nothing.
    pub poll_interval: Duration,
    /// After a signal: how long handlers and marks may take before the process ends without them.
    pub drain_deadline: Duration,
    /// After a signal: how long no call to the source may come to an end, with no handler running any
    /// more, before the process ends without them. What it claimed is free then, or soon.
    pub drain_stall: Duration,
}
