//! Cron triggers: a run of the handler at every firing, one at a time.
//!
//! As a CronJob with `concurrencyPolicy: Forbid`: a firing that finds the last run still going is
//! skipped, and a run has an end, so that no run holds up all later ones. A run may also be asked for,
//! as `kip function test` does; it waits for the one that goes on. Time is the wall clock, looked at
//! again every little while, because it may be set and this machine may sleep.

use std::{
    pin::pin,
    time::{Duration, Instant},
};

use kipper_function::{Timestamp, cron::Schedule, function::TriggerKind, test_run};
use tokio::sync::{mpsc, watch};

use super::{
    super::{child::describe, console::Voice},
    launch::{Launch, Mode},
    process::{Event, Exit, Starter, Stop},
};

/// Longest time without a look at the clock.
const LOOK_INTERVAL: Duration = Duration::from_secs(10);
/// Runs that are asked for and wait for the one that goes on.
pub(crate) const ASKED: usize = 1;
/// Reports of the one process; they wait at the bound.
const EVENTS: usize = 4;

/// Runs at every firing, and whenever it is asked to, until dropped. Without a schedule, which is a
/// suspended one, nothing fires. `launch` is what the next run starts.
pub(crate) async fn run(
    schedule: Option<Schedule>,
    mut asked: mpsc::Receiver<()>,
    launch: watch::Receiver<Launch>,
    starter: Starter,
) {
    let voice = starter.context.voice.clone();
    let next = |after: Timestamp| schedule.as_ref().and_then(|schedule| schedule.next(after));
    let mut after = Timestamp::now();
    let mut id = 0;
    loop {
        let firing = next(after);
        let trigger = tokio::select! {
            () = sleep_until(firing) => TriggerKind::Cron.as_str(),
            Some(()) = asked.recv() => test_run::TEST,
        };
        id += 1;
        let launch = launch.borrow().clone();
        run_once(&starter, &launch, trigger, id, &voice).await;
        let Some(firing) = firing.filter(|_| trigger != test_run::TEST) else { continue };
        // From the firing, not from now: what came due meanwhile is skipped and said so.
        after = firing;
        let now = Timestamp::now();
        if next(after).is_some_and(|next| next <= now) {
            voice.say("run skipped: the previous one was still running");
            after = now;
        }
    }
}

/// Until a firing; never over where there is none.
async fn sleep_until(firing: Option<Timestamp>) {
    let Some(firing) = firing else { return std::future::pending().await };
    loop {
        let left = Duration::try_from(firing.duration_since(Timestamp::now())).unwrap_or_default();
        if left.is_zero() {
            return;
        }
        tokio::time::sleep(left.min(LOOK_INTERVAL)).await;
    }
}

async fn run_once(
    starter: &Starter,
    launch: &Launch,
    trigger: &'static str,
    id: u64,
    voice: &Voice,
) {
    let began = Instant::now();
    voice.journal.run_began(format!("run-{id}"));
    let failure = attempt(starter, launch, trigger, id, voice).await;
    let took = began.elapsed().as_millis();
    match &failure {
        None => voice.say(format!("run finished in {took} ms (exit code 0)")),
        Some(why) => voice.warn(format!("run failed after {took} ms ({why})")),
    }
    voice.journal.run_ended(failure);
}

/// Runs it once; why that failed, if it did.
async fn attempt(
    starter: &Starter,
    launch: &Launch,
    trigger: &'static str,
    id: u64,
    voice: &Voice,
) -> Option<String> {
    let (events, mut reports) = mpsc::channel(EVENTS);
    let started = starter.start(launch, Mode::Batch(trigger), id, false, events);
    // Dropped with this future: whoever ends the trigger ends its run.
    let stop: Stop = match started {
        Ok(stop) => stop,
        Err(error) => return Some(format!("it did not start: {error}")),
    };
    let mut deadline = pin!(tokio::time::sleep(launch.run_deadline));
    let mut is_over = false;
    loop {
        let event = tokio::select! {
            event = reports.recv() => event,
            () = &mut deadline, if !is_over => {
                is_over = true;
                let limit = humantime::format_duration(launch.run_deadline);
                voice.warn(format!("run stopped: it took longer than {limit} (deadlineSeconds)"));
                stop.send_replace(Some(Duration::ZERO));
                continue;
            }
        };
        // A process reports its end before it lets go.
        let Some(event) = event else { return Some("unknown status".to_owned()) };
        if let Event::Exited(Exit { status, .. }) = event {
            let is_well = status.is_some_and(|status| status.success());
            return (!is_well).then(|| describe(status));
        }
    }
}
