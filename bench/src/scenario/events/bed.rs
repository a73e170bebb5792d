//! What every part works with.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context as _;
use kipper_measure::figures::{Figure, Goal, median};
use tempfile::TempDir;

use crate::{budget::Budget, peer::Backend};

/// How much is measured.
pub(super) struct Size {
    pub(super) rounds: usize,
    pub(super) events: usize,
    pub(super) consumed: usize,
    pub(super) samples: usize,
}

/// What every part works with. Dropping it stops the handler and removes the directory.
pub(super) struct Bed {
    pub(super) budget: Budget,
    pub(super) handler: Backend,
    pub(super) poller: PathBuf,
    pub(super) size: Size,
    dir: TempDir,
}

impl Bed {
    /// `poller` is its binary, if it is not the one beside this binary.
    pub(super) fn start(
        size: Size,
        poller: Option<PathBuf>,
        max_time: Duration,
    ) -> Result<Self, anyhow::Error> {
        let budget = Budget::with_signals(max_time)?;
        let dir = tempfile::Builder::new().prefix("kipper-bench-").tempdir()?;
        let bench = std::env::current_exe().context("find this binary")?;
        let handler = Backend::start(&bench, dir.path(), &budget)?;
        let poller = poller.unwrap_or_else(|| bench.with_file_name("kipper-poll"));
        Ok(Self { budget, handler, poller, size, dir })
    }

    pub(super) fn dir(&self) -> &Path {
        self.dir.path()
    }
}

/// A figure from the median of its samples.
pub(super) fn figure(name: &str, samples: &[f64], unit: &str, goal: Goal) -> Option<Figure> {
    let measured = median(samples.iter().copied())?;
    Some(Figure { name: name.to_owned(), measured, unit: unit.to_owned(), goal })
}
