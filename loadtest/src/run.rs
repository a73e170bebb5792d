//! One run: its size, its directory, its limits.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context as _;
use kipper_measure::limits::{Limits, Outcome};
use tempfile::TempDir;

/// The pass limits of every scenario.
const LIMITS: &str = include_str!("../limits.json");
/// What the scenarios call themselves to the API server, so that the audit log tells them from others.
pub(crate) const USER_AGENT: &str = "kipper-loadtest";
/// How often something is looked at that does not tell by itself.
pub(crate) const POLL: Duration = Duration::from_millis(5);
/// No wait of a scenario is longer; only a hang reaches it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// Options of every scenario.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct RunArgs {
    /// Fewer repetitions, for continuous integration
    #[arg(long, global = true)]
    pub quick: bool,
    /// File of pass limits [default: the built-in limits.json]
    #[arg(long, global = true, value_name = "FILE")]
    pub limits: Option<PathBuf>,
    /// The kipper-loadtest binary to start processes from [default: this one]
    #[arg(long, global = true, hide = true)]
    pub binary: Option<PathBuf>,
}

impl RunArgs {
    /// The binary to start processes from.
    pub(crate) fn binary(&self) -> Result<PathBuf, anyhow::Error> {
        match &self.binary {
            Some(binary) => Ok(binary.clone()),
            None => std::env::current_exe().context("find this binary"),
        }
    }

    /// The same options for another process of this binary.
    pub(crate) fn to_args(&self) -> Vec<OsString> {
        let mut args = Vec::new();
        if self.quick {
            args.push("--quick".into());
        }
        for (name, path) in [("--limits", &self.limits), ("--binary", &self.binary)] {
            if let Some(path) = path {
                args.extend([name.into(), path.into()]);
            }
        }
        args
    }
}

/// What scenarios work with. Dropping it removes the directory.
pub struct Run {
    quick: bool,
    dir: TempDir,
    binary: PathBuf,
    started: usize,
    /// Where results go.
    pub outcome: Outcome,
}

impl Run {
    /// # Errors
    /// When there is no temporary directory, or the limits are unusable.
    pub fn new(args: &RunArgs) -> Result<Self, anyhow::Error> {
        Ok(Self {
            quick: args.quick,
            dir: tempfile::Builder::new().prefix("kipper-loadtest-").tempdir()?,
            binary: args.binary()?,
            started: 0,
            outcome: Outcome::new(Limits::load(args.limits.as_deref(), LIMITS)?),
        })
    }

    /// One of two sizes.
    pub(crate) fn size<T>(&self, full: T, quick: T) -> T {
        if self.quick { quick } else { full }
    }

    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The binary processes are started from.
    pub(crate) fn binary(&self) -> &Path {
        &self.binary
    }

    /// A name for a process or file that no other one of this run has.
    pub(crate) fn unique(&mut self, name: &str) -> String {
        self.started += 1;
        format!("{name}-{}", self.started)
    }
}
