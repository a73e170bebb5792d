//! `kip function test`: a cron function's run, now; its exit code is the Job's.

use clap::Args as ClapArgs;
use kipper_client::test_run::{self, TestRuns, Verdict};

use super::report;
use crate::{
    failure::Report, interrupt, output, session::Session, settings::ScopeArgs, visible::visible,
};

/// Run a cron function once, now, and follow its logs.
#[derive(Clone, Debug, ClapArgs)]
pub struct Args {
    /// Name of the function
    pub name: String,

    /// Start it without following its logs
    #[arg(long)]
    pub no_follow: bool,
}

pub(super) async fn run(args: &Args, scope: &ScopeArgs) -> anyhow::Result<()> {
    let session = Session::open(scope).await?;
    let function = session.functions.get(&args.name).await?;
    test_run::has_schedule(&function)?;
    // What runs is what the function says now.
    report::observed(&session, &function).await?;
    let runs = TestRuns::new(&session.connection);
    let job = runs.start(&function).await?;
    if args.no_follow {
        return output::line(format!("test run {job} started"));
    }
    output::note(format!("test run {job}"));
    let mut printed = Ok(());
    let following = runs.follow(&job, |line| {
        if printed.is_ok() {
            printed = output::line(visible(&line.text));
        }
    });
    let goes_on = format!(
        "the test run continues in the cluster; `kubectl delete job {job} -n {}` stops it",
        session.namespace()
    );
    let verdict = interrupt::detached(following, &goes_on).await??;
    printed?;
    match verdict {
        Verdict::Complete => {
            output::note(format!("test run {job} succeeded"));
            Ok(())
        }
        Verdict::Failed(why) => Err(Report(format!("test run {job} failed: {why}")).into()),
        Verdict::CannotStart { stage, goes_on: false } => {
            Err(Report(format!("test run {job} cannot start, and was deleted: {stage}")).into())
        }
        Verdict::CannotStart { stage, goes_on: true } => {
            output::note(goes_on);
            Err(Report(format!("test run {job} cannot start: {stage}")).into())
        }
    }
}
