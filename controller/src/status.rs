//! The status of a Function, from what a reconcile found. Pure.
//!
//! A failure that pods showed stays until a pod is ready or the function changed: scaled to zero,
//! a function whose image does not exist is still broken.

use std::time::Duration;

use k8s_openapi::{
    apimachinery::pkg::apis::meta::v1::{Condition, Time},
    jiff::Timestamp,
};
use kipper_function::{
    Function, FunctionStatus,
    function::{ExitStatus, Phase, RunResult, RunStatus, ScheduleStatus, SecretKeyStatus},
    names::condition::{
        BINDINGS_RESOLVED, BURST_UNAVAILABLE, ENVIRONMENT_CLASH, EVENTS_DELIVERED, HOST_RESERVED,
        LAST_RUN_SUCCEEDED, NAME_TAKEN, ON_SCHEDULE, READY, SCALER_READY, TRIGGER_VALID,
    },
};

use crate::{
    cache::{Deliveries, Exit, Failure, Scaler, Workload},
    plan::{Applied, Blocked, Concern, MAX_MESSAGE, Outcome, Pass, Reason, Reservation, clipped},
};

/// Reason of a trigger that was not tried yet.
const CHECKING: &str = "CheckingTrigger";
const UNTRIED: &str = "the trigger is being checked against its source";

/// With hundreds of new functions at once this takes minutes. The settings are those of KEDA's operator.
const SCALER_PENDING: &str = "KEDA has not taken up the function's ScaledObject yet; until it does, \
                              requests start one pod without it. With many functions, KEDA's \
                              --kube-api-qps, --kube-api-burst and \
                              KEDA_SCALEDOBJECT_CTRL_MAX_RECONCILES make it faster";

/// What is missing is told by the adapter's log, in the words of the API server.
const BURST_REFUSED: &str = "a scaler-adapter may not scale functions ahead of the HPA, so a sudden load \
                             waits for it, some 15 seconds: the right to patch deployments/scale or the \
                             admission policy kipper-scaler-adapter-scale is missing; its log says what";

/// What a reconcile found.
#[derive(Clone, Debug, Default)]
pub(crate) struct Facts {
    /// Of a function with an http trigger.
    pub(crate) reservation: Option<Reservation>,
    /// Why bindings are not resolved; `None` if all are, or there are none.
    pub(crate) bindings: Option<Reason>,
    /// Why the trigger cannot work.
    pub(crate) trigger: Option<Reason>,
    /// The trigger was not tried against its source yet.
    pub(crate) is_untried: bool,
    /// What is to be known of a trigger that works.
    pub(crate) trigger_notice: Option<Reason>,
    /// Digest of the trigger, if its poller refused it.
    pub(crate) refused_trigger: Option<String>,
    /// An object that is somebody else's.
    pub(crate) taken: Option<String>,
    /// Environment variables that are given by more than one.
    pub(crate) clash: Option<Reason>,
    /// Why nothing was applied or the workload is not as it should be.
    pub(crate) broken: Option<Reason>,
    /// Why the pods do not serve.
    pub(crate) failure: Option<Failure>,
    /// A pod of the present version is ready.
    pub(crate) serves: bool,
    /// How one of them ended last.
    pub(crate) exit: Option<Exit>,
    /// How its events fare, while a poller runs.
    pub(crate) deliveries: Option<Deliveries>,
    /// Whether nobody scales it ahead of the HPA, although somebody should; `None`: as before.
    pub(crate) burst_unavailable: Option<bool>,
    pub(crate) workload: Option<Workload>,
    /// What KEDA says, if there is a ScaledObject.
    pub(crate) scaler: Option<Scaler>,
    /// How the runs of its schedule start, if there is a CronJob.
    pub(crate) schedule: Option<Punctuality>,
    /// The runs of its schedule, if there is a CronJob.
    pub(crate) runs: Option<ScheduleStatus>,
    /// A run of its schedule got as far as its container.
    pub(crate) has_run: bool,
    pub(crate) secret_keys: Vec<SecretKeyStatus>,
    /// Digest of the objects, if all are as rendered.
    pub(crate) applied: Option<String>,
}

/// How the runs of a schedule start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Punctuality {
    OnTime,
    /// Not while another one goes on; which one.
    Skipped(String),
}

/// What Deployment, CronJob and pods show.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    pub(crate) workload: Option<Workload>,
    pub(crate) scaler: Option<Scaler>,
    pub(crate) schedule: Option<Punctuality>,
    pub(crate) runs: Option<ScheduleStatus>,
    /// Why the pods do not serve.
    pub(crate) failure: Option<Failure>,
    /// A pod of the present version is ready.
    pub(crate) serves: bool,
    /// How one of them ended last.
    pub(crate) exit: Option<Exit>,
    /// How its events fare, while a poller runs.
    pub(crate) deliveries: Option<Deliveries>,
    /// Whether a scaler-adapter may not scale ahead of the HPA, if that is known yet.
    pub(crate) burst_unavailable: Option<bool>,
    /// A run of a function that has only those got as far as its container.
    pub(crate) has_run: bool,
    /// Nothing will tell when it is time to look again; then it is.
    pub(crate) again: Option<Duration>,
}

impl Facts {
    /// What a pass, what was applied and what the pods show come to.
    pub(crate) fn new(function: &Function, pass: Pass, applied: Applied, seen: Seen) -> Self {
        let mut facts = Self {
            reservation: pass.reservation,
            secret_keys: pass.secret_keys,
            applied: applied.digest,
            workload: seen.workload,
            scaler: seen.scaler,
            schedule: seen.schedule,
            runs: seen.runs,
            has_run: seen.has_run,
            failure: seen.failure,
            serves: seen.serves,
            exit: seen.exit,
            deliveries: seen.deliveries,
            burst_unavailable: if wants_burst(function) {
                seen.burst_unavailable
            } else {
                Some(false)
            },
            ..Self::default()
        };
        let blocked = match pass.outcome {
            Outcome::Blocked(blocked) => Some(blocked),
            Outcome::Apply(plan) => {
                facts.clash = plan.clash;
                facts.trigger_notice = plan.notice;
                facts.is_untried = plan.is_untried;
                facts.trigger = plan.source;
                if let Some(refusal) = plan.refusal {
                    facts.trigger = Some(refusal.reason);
                    facts.refused_trigger = Some(refusal.digest);
                }
                applied.blocked
            }
        };
        let Some(Blocked { concern, reason, .. }) = blocked else { return facts };
        match concern {
            Concern::Function => facts.broken = Some(reason),
            Concern::Bindings => facts.bindings = Some(reason),
            Concern::Trigger => {
                facts.trigger = Some(reason);
                // What is applied stays, a pause of the scaler too.
                let status = function.status.as_ref();
                facts.refused_trigger = status.and_then(|status| status.refused_trigger.clone());
            }
            Concern::Environment => {
                facts.clash = Some(Reason::new("Ambiguous", reason.message.clone()));
                facts.broken = Some(reason);
            }
            Concern::Name => facts.taken = Some(reason.message),
        }
        facts
    }
}

/// The status that says so. `previous` keeps the times of what did not change.
pub(crate) fn status(function: &Function, facts: &Facts, now: Timestamp) -> FunctionStatus {
    let previous = function.status.clone().unwrap_or_default();
    let generation = function.metadata.generation;
    let workload = facts.workload.unwrap_or_default();
    let failure = kept_failure(&previous, generation, facts);
    let ready = ready(facts, failure.as_ref());
    let mut conditions = Vec::new();
    let mut put = |type_: &str, status: &str, why: Reason| {
        conditions.push(condition(&previous, type_, status, why, generation, now));
    };
    let fine = |reason: &'static str| Reason::new(reason, "");
    match &ready {
        Some(why) => put(READY, "False", why.clone()),
        None if facts.is_untried => put(READY, "Unknown", Reason::new(CHECKING, UNTRIED)),
        None => put(READY, "True", fine("Reconciled")),
    }
    match (&facts.trigger, &facts.trigger_notice) {
        (Some(why), _) => put(TRIGGER_VALID, "False", why.clone()),
        (None, _) if facts.is_untried => {
            put(TRIGGER_VALID, "Unknown", Reason::new(CHECKING, UNTRIED));
        }
        (None, Some(notice)) => put(TRIGGER_VALID, "True", notice.clone()),
        (None, None) => put(TRIGGER_VALID, "True", fine("Valid")),
    }
    let mut add = |type_: &str, status: bool, why: Reason| {
        put(type_, if status { "True" } else { "False" }, why);
    };
    match &facts.reservation {
        Some(Reservation::Reserved(host)) => {
            add(HOST_RESERVED, true, Reason::new("Reserved", host.clone()));
        }
        Some(Reservation::Taken { host, owner }) => {
            let message = format!("{host} belongs to {owner}");
            add(HOST_RESERVED, false, Reason::new("HostTaken", message));
        }
        Some(Reservation::Invalid(why)) => {
            add(HOST_RESERVED, false, Reason::new("HostInvalid", why.clone()));
        }
        None => {}
    }
    match &facts.bindings {
        Some(why) => add(BINDINGS_RESOLVED, false, why.clone()),
        None => add(BINDINGS_RESOLVED, true, fine("Resolved")),
    }
    match &facts.scaler {
        Some(Scaler::Ready) => add(SCALER_READY, true, fine("Ready")),
        Some(Scaler::Pending) => {
            add(SCALER_READY, false, Reason::new("Pending", SCALER_PENDING));
        }
        Some(Scaler::Failing(why)) => {
            add(SCALER_READY, false, Reason::new("Failing", format!("KEDA: {why}")));
        }
        None => {}
    }
    match &facts.schedule {
        Some(Punctuality::OnTime) => add(ON_SCHEDULE, true, fine("OnTime")),
        Some(Punctuality::Skipped(why)) => {
            add(ON_SCHEDULE, false, Reason::new("RunsSkipped", why.clone()));
        }
        None => {}
    }
    let last_run = facts.runs.as_ref().and_then(|runs| runs.last_run.as_ref());
    if let Some((succeeded, why)) = last_run.map(verdict) {
        add(LAST_RUN_SUCCEEDED, succeeded, why);
    }
    if let Some(deliveries) = facts.deliveries {
        let fine = deliveries.failing == 0 && !deliveries.down;
        add(EVENTS_DELIVERED, fine, delivered(function, deliveries));
    }
    let was_unavailable = || previous.condition(BURST_UNAVAILABLE).is_some();
    if facts.burst_unavailable.unwrap_or_else(was_unavailable) {
        add(BURST_UNAVAILABLE, true, Reason::new("NotAllowed", BURST_REFUSED));
    }
    if let Some(taken) = &facts.taken {
        add(NAME_TAKEN, true, Reason::new("NameTaken", taken.clone()));
    }
    if let Some(clash) = &facts.clash {
        add(ENVIRONMENT_CLASH, true, clash.clone());
    }
    let endpoint = match &facts.reservation {
        Some(Reservation::Reserved(host)) => Some(format!("https://{host}")),
        _ => None,
    };
    FunctionStatus {
        phase: Some(phase(workload, ready.is_some()).as_str().to_owned()),
        replicas: Some(workload.ready),
        endpoint,
        observed_generation: generation,
        conditions,
        secret_keys: facts.secret_keys.clone(),
        applied_digest: facts.applied.clone(),
        refused_trigger: facts.refused_trigger.clone(),
        failing_since: facts.failure.as_ref().map(|_| {
            let former = previous.failing_since.clone();
            former.filter(|_| previous.observed_generation == generation).unwrap_or(Time(now))
        }),
        last_exit: last_exit(&previous, generation, facts.exit.as_ref()),
        schedule: facts.runs.clone(),
    }
}

/// Whether KEDA scales it from one to many, and it is to be done ahead of the HPA.
fn wants_burst(function: &Function) -> bool {
    function.spec.is_served() && function.spec.burst_max_replicas() > 1
}

/// How events fare, and what can be done about those that fail.
fn delivered(function: &Function, deliveries: Deliveries) -> Reason {
    let Deliveries { failing, dead, down } = deliveries;
    let given_up = match dead {
        0 => String::new(),
        1 => "1 event was given up since its pod started".to_owned(),
        dead => format!("{dead} events were given up since their pods started"),
    };
    if down {
        let message = "every delivery fails, so events are tried a few at a time until one \
                       succeeds; the function's log says why";
        return Reason::new("EventsFailing", message);
    }
    if failing == 0 {
        return Reason::new("Delivered", given_up);
    }
    let what = match failing {
        1 => "1 event failed and is".to_owned(),
        failing => format!("{failing} events failed and are"),
    };
    let forever = function.spec.event().is_some_and(|event| !event.has_dead_letters());
    let way_out = if forever {
        "; until the trigger has onFailed, that goes on for as long as they match"
    } else {
        ""
    };
    let given_up = if dead == 0 { given_up } else { format!("; {given_up}") };
    let message = format!("{what} tried again; the function's log says why{way_out}{given_up}");
    Reason::new("EventsFailing", message)
}

/// Whether a run that ended did so well, and why not.
fn verdict(run: &RunStatus) -> (bool, Reason) {
    if run.result.as_deref() == Some(RunResult::Succeeded.as_str()) {
        return (true, Reason::new("Succeeded", ""));
    }
    let reason = run.reason.as_deref().unwrap_or_default();
    let known = RUN_REASONS.into_iter().chain(POD_REASONS).find(|known| *known == reason);
    (false, Reason::new(known.unwrap_or("RunFailed"), run.message.clone().unwrap_or_default()))
}

/// Reasons of failed runs beside those that pods give.
const RUN_REASONS: [&str; 2] = ["DeadlineExceeded", "RunFailed"];

fn phase(workload: Workload, broken: bool) -> Phase {
    if broken && workload.ready == 0 {
        Phase::Failed
    } else if workload.desired == 0 {
        Phase::Idle
    } else if workload.ready < workload.desired {
        Phase::Scaling
    } else {
        Phase::Running
    }
}

/// Why the function is not ready; the first thing somebody would have to repair.
fn ready(facts: &Facts, failure: Option<&Reason>) -> Option<Reason> {
    let host = match &facts.reservation {
        Some(Reservation::Taken { host, owner }) => {
            Some(Reason::new("HostTaken", format!("{host} belongs to {owner}")))
        }
        Some(Reservation::Invalid(why)) => Some(Reason::new("HostInvalid", why.clone())),
        _ => None,
    };
    let taken = || facts.taken.as_ref().map(|t| Reason::new("NameTaken", t.clone()));
    facts
        .trigger
        .clone()
        .or_else(taken)
        .or_else(|| facts.bindings.clone())
        .or_else(|| facts.broken.clone())
        .or(host)
        .or_else(|| failure.cloned())
}

/// Reasons that pods give, which outlive the pods. What is wrong with a source is asked of it.
const POD_REASONS: [&str; 7] = [
    "Evicted",
    "ImagePullFailed",
    "ContainerCrashed",
    "ContainerNotStarted",
    "OutOfMemory",
    "NotListening",
    "Unschedulable",
];

/// How a pod of this version ended last; that outlives the pods.
fn last_exit(
    previous: &FunctionStatus,
    generation: Option<i64>,
    exit: Option<&Exit>,
) -> Option<ExitStatus> {
    let former = previous.last_exit.clone().filter(|_| previous.observed_generation == generation);
    exit.map_or(former, |exit| {
        Some(ExitStatus {
            time: Time(exit.at),
            reason: exit.reason.clone(),
            exit_code: exit.code,
            restarts: exit.restarts,
        })
    })
}

/// What a pod may say while another reason, which it or one before it gave, still holds: a container
/// that crashed is started again, and then runs for a while.
const SHALLOW: [&str; 2] = ["NotListening", "SourceUnavailable"];

/// What the pods say, or said last.
fn kept_failure(
    previous: &FunctionStatus,
    generation: Option<i64>,
    facts: &Facts,
) -> Option<Reason> {
    let present = facts.failure.as_ref();
    let present = present.map(|failure| Reason::new(failure.reason, failure.message.clone()));
    let is_deep = |reason: &&Reason| !SHALLOW.contains(&reason.reason);
    if present.as_ref().is_some_and(|present| is_deep(&present)) {
        return present;
    }
    let former = || {
        let is_over = match facts.workload {
            Some(_) => facts.serves,
            // There is nothing but runs.
            None => facts.runs.is_none() || facts.has_run,
        };
        if is_over || previous.observed_generation != generation {
            return None;
        }
        let former = previous.condition(READY).filter(|c| c.status == "False")?;
        let reason = POD_REASONS.iter().find(|reason| **reason == former.reason)?;
        Some(Reason::new(reason, former.message.clone()))
    };
    match former() {
        Some(former) if present.is_none() || is_deep(&&former) => Some(former),
        _ => present,
    }
}

fn condition(
    previous: &FunctionStatus,
    type_: &str,
    status: &str,
    why: Reason,
    generation: Option<i64>,
    now: Timestamp,
) -> Condition {
    let former = previous.condition(type_);
    let since = former.filter(|c| c.status == status).map(|c| c.last_transition_time.clone());
    Condition {
        type_: type_.to_owned(),
        status: status.to_owned(),
        reason: why.reason.to_owned(),
        message: clipped(why.message, MAX_MESSAGE),
        observed_generation: generation,
        last_transition_time: since.unwrap_or(Time(now)),
    }
}

#[cfg(test)]
mod tests;
