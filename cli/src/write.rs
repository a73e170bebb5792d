//! How Functions are written and waited for: the flags of every command that does, and the line that
//! says what a write did.

use std::time::Duration;

use clap::{Args, ValueEnum};
use kipper_client::functions::{Apply, Outcome};

use crate::duration;

/// How a Function is written.
#[derive(Clone, Copy, Debug, Default, Args)]
pub struct WriteArgs {
    /// Write nothing: `client` contacts no cluster, `server` asks the cluster whether it would accept it
    #[arg(long, value_enum, value_name = "WHERE")]
    pub dry_run: Option<DryRun>,

    /// Take over fields that others set
    #[arg(long)]
    pub force_conflicts: bool,
}

/// Where a dry run ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DryRun {
    /// Before any cluster is contacted
    Client,
    /// At the cluster, which stores nothing
    Server,
}

impl WriteArgs {
    pub(crate) fn apply(self) -> Apply {
        let dry_run = self.dry_run == Some(DryRun::Server);
        Apply { dry_run, force: self.force_conflicts }
    }
}

/// How a Function is waited for.
#[derive(Clone, Copy, Debug, Args)]
pub struct WaitArgs {
    /// Wait until the function is ready, its old pods are gone, and it has answered a request
    #[arg(long)]
    pub wait: bool,

    /// How long to wait
    #[arg(long, value_name = "DURATION", value_parser = duration::parse, default_value = "2m")]
    pub timeout: Duration,
}

/// `function hello created`, `changed` or `unchanged`.
pub(crate) fn outcome(name: &str, outcome: Outcome) -> String {
    let what = match outcome {
        Outcome::Created => "created",
        Outcome::Changed => "changed",
        Outcome::Unchanged => "unchanged",
    };
    format!("function {name} {what}")
}
