//! Scenarios beside each other, each in a process of its own, so that what one prints stays together.

use std::process::{ExitStatus, Stdio};

use anyhow::Context as _;
use futures_util::{StreamExt as _, stream};
use kipper_measure::child::die_with_parent;
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::Command;
use tokio_util::sync::CancellationToken;

use super::scenario::Scenario;
use crate::run::RunArgs;

/// Scenarios at a time: their pods share the machine's cores.
const AT_A_TIME: usize = 4;

/// Runs scenarios and prints what each printed once it has ended. Returns the names of those that
/// failed.
pub(super) async fn run(
    args: &RunArgs,
    scenarios: &[&Scenario],
    interrupted: &CancellationToken,
) -> Vec<String> {
    let ended = stream::iter(scenarios)
        .map(async |scenario| (scenario.name, one(args, scenario.name, interrupted).await))
        .buffer_unordered(AT_A_TIME);
    let failed = ended.filter_map(async |(name, ended)| match ended {
        Ok(status) if status.success() => None,
        Ok(_) => Some(name.to_owned()),
        Err(error) => {
            println!("ERROR {name}: {error:#}");
            Some(name.to_owned())
        }
    });
    failed.collect().await
}

/// Interrupted, it gets the time it needs to put everything back.
async fn one(
    args: &RunArgs,
    name: &str,
    interrupted: &CancellationToken,
) -> Result<ExitStatus, anyhow::Error> {
    anyhow::ensure!(!interrupted.is_cancelled(), "interrupted");
    let mut command = std::process::Command::new(args.binary()?);
    command.args(args.to_args()).args(["cluster", name]);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    die_with_parent(&mut command);
    let mut command = Command::from(command);
    // Ctrl-C in a terminal reaches this process alone, which then stops the others.
    let child = command.process_group(0).spawn().with_context(|| format!("start {name}"))?;
    let pid = child.id().and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?));
    let mut output = std::pin::pin!(child.wait_with_output());
    let output = tokio::select! {
        output = &mut output => output,
        () = interrupted.cancelled() => {
            pid.map(|pid| kill_process(pid, Signal::TERM)).transpose()?;
            output.await
        }
    };
    let output = output?;
    print!("{}", String::from_utf8_lossy(&output.stdout));
    eprint!("{}", String::from_utf8_lossy(&output.stderr));
    Ok(output.status)
}
