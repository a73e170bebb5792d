//! What a scenario is to whoever runs it.

use std::{pin::Pin, time::Duration};

use kipper_cluster::Cluster;

use crate::run::Run;

/// Bounds are multiples of it.
pub(super) const MINUTE: Duration = Duration::from_secs(60);

/// A scenario while it runs.
pub(super) type Running<'a> = Pin<Box<dyn Future<Output = Result<(), anyhow::Error>> + 'a>>;

/// One scenario.
#[derive(Clone, Copy)]
pub(super) struct Scenario {
    /// As on the command line, and in the names of its figures.
    pub(super) name: &'static str,
    /// One line of help.
    pub(super) about: &'static str,
    /// It breaks nothing but its own functions and measures no time, so others may run beside it.
    pub(super) shares: bool,
    /// It has failed when it takes longer.
    pub(super) max_time: Duration,
    /// Starts it.
    pub(super) start: for<'a> fn(&'a mut Run, &'a Cluster) -> Running<'a>,
}
