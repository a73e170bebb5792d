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
        BINDINGS_RESOLVED, ENVIRONMENT_CLASH, EVENTS_DELIVERED, HOST_RESERVED, LAST_RUN_SUCCEEDED,
        NAME_TAKEN, ON_SCHEDULE, READY, SCALER_READY, TRIGGER_VALID,
    },
};

use crate::{
    cache::{Deliveries, Exit, Failure, Scaler, Workload},
    plan::{Applied, Blocked, Concern, Outcome, Pass, Reason, Reservation},
};

/// Longest message of a condition, in characters.
const MAX_MESSAGE: usize = 2000;

/// Reason of a trigger that was not tried yet.
const CHECKING: &str = "CheckingTrigger";
const UNTRIED: &str = "the trigger is being checked against its source";

/// With hundreds of new functions at once this takes minutes. The settings are those of KEDA's operator.
const SCALER_PENDING: &str = "KEDA has not taken up the function's ScaledObject yet; until it does, \
                              requests start one pod without it. With many functions, KEDA's \
                              --kube-api-qps, --kube-api-burst and \
                              KEDA_SCALEDOBJECT_CTRL_MAX_RECONCILES make it faster";

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
    let mut message = why.message;
    if let Some((end, _)) = message.char_indices().nth(MAX_MESSAGE) {
        message.truncate(end);
    }
    Condition {
        type_: type_.to_owned(),
        status: status.to_owned(),
        reason: why.reason.to_owned(),
        message,
        observed_generation: generation,
        last_transition_time: since.unwrap_or(Time(now)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn function(previous: Option<FunctionStatus>, generation: i64) -> Function {
        let mut function = Function::new("f", kipper_function::FunctionSpec::default());
        function.metadata.generation = Some(generation);
        function.status = previous;
        function
    }

    fn served(desired: i32, ready: i32) -> Facts {
        Facts {
            reservation: Some(Reservation::Reserved("fn-f.test".into())),
            serves: ready > 0,
            workload: Some(Workload { desired, ready, updated: ready, ..Workload::default() }),
            ..Facts::default()
        }
    }

    #[track_caller]
    fn check(facts: &Facts, phase: &str, ready: &str) -> FunctionStatus {
        let status = status(&function(None, 1), facts, Timestamp::UNIX_EPOCH);
        assert_eq!(status.phase.as_deref(), Some(phase));
        assert_eq!(status.condition(READY).map(|c| c.reason.as_str()), Some(ready));
        status
    }

    #[test]
    fn phases() {
        check(&served(0, 0), "Idle", "Reconciled");
        check(&served(1, 0), "Scaling", "Reconciled");
        check(&served(2, 2), "Running", "Reconciled");
        let failure = Failure { reason: "ImagePullFailed", message: "no such image".into() };
        check(
            &Facts { failure: Some(failure.clone()), ..served(1, 0) },
            "Failed",
            "ImagePullFailed",
        );
        // A rollout that fails while old pods serve is no outage.
        check(&Facts { failure: Some(failure), ..served(1, 1) }, "Running", "ImagePullFailed");
        let clash = Some(Reason::new("Precedence", "A is set twice"));
        let clashing = check(&Facts { clash, ..served(0, 0) }, "Idle", "Reconciled");
        assert!(clashing.condition(ENVIRONMENT_CLASH).is_some());
        let trigger = Some(Reason::new("ServiceNotFound", ""));
        check(&Facts { trigger, ..Facts::default() }, "Failed", "ServiceNotFound");
        let trigger_notice = Some(Reason::new("NoMarkDone", "one replica"));
        let noticed = check(&Facts { trigger_notice, ..served(0, 0) }, "Idle", "Reconciled");
        let valid = noticed.condition(TRIGGER_VALID).map(|c| (&*c.status, &*c.reason));
        assert_eq!(valid, Some(("True", "NoMarkDone")));
    }

    #[test]
    fn what_keda_says_is_told() {
        let told = |scaler: Option<Scaler>| {
            let status = check(&Facts { scaler, ..served(0, 0) }, "Idle", "Reconciled");
            let condition = status.condition(SCALER_READY);
            condition.map(|c| (c.status.clone(), c.reason.clone(), c.message.clone()))
        };
        assert_eq!(told(None), None);
        let (status, reason, message) = told(Some(Scaler::Pending)).unwrap_or_default();
        assert_eq!((&*status, &*reason), ("False", "Pending"));
        assert!(message.contains("--kube-api-qps"), "{message}");
        let failing = told(Some(Scaler::Failing("no such host".into()))).unwrap_or_default();
        assert_eq!(failing.2, "KEDA: no such host");
        assert_eq!(told(Some(Scaler::Ready)).unwrap_or_default().0, "True");
    }

    #[test]
    fn skipped_runs_are_told_and_leave_the_function_ready() {
        let skipped = Some(Punctuality::Skipped("the run of 10:00".into()));
        let status = check(&Facts { schedule: skipped, ..Facts::default() }, "Idle", "Reconciled");
        let told = status.condition(ON_SCHEDULE).map(|c| (&*c.status, &*c.reason, &*c.message));
        assert_eq!(told, Some(("False", "RunsSkipped", "the run of 10:00")));
        let on_time = Facts { schedule: Some(Punctuality::OnTime), ..Facts::default() };
        assert!(check(&on_time, "Idle", "Reconciled").is_true(ON_SCHEDULE));
        assert_eq!(check(&served(0, 0), "Idle", "Reconciled").condition(ON_SCHEDULE), None);
    }

    #[test]
    fn a_failed_run_is_told_and_leaves_the_function_ready() {
        let told = |result: RunResult, reason: Option<&str>| {
            let last_run = Some(RunStatus {
                job: "f-cron-1".to_owned(),
                result: Some(result.as_str().to_owned()),
                reason: reason.map(str::to_owned),
                message: reason.map(|_| "why".to_owned()),
                ..RunStatus::default()
            });
            let runs = Some(ScheduleStatus { last_run, ..ScheduleStatus::default() });
            let facts = Facts { runs: runs.clone(), ..Facts::default() };
            let status = check(&facts, "Idle", "Reconciled");
            assert_eq!(status.schedule, runs);
            let condition = status.condition(LAST_RUN_SUCCEEDED);
            condition.map(|c| format!("{} {}: {}", c.status, c.reason, c.message))
        };
        let told_well = told(RunResult::Succeeded, None);
        assert_eq!(told_well.as_deref(), Some("True Succeeded: "));
        for (reason, expected) in [
            ("OutOfMemory", "False OutOfMemory: why"),
            ("DeadlineExceeded", "False DeadlineExceeded: why"),
            ("OfALaterVersion", "False RunFailed: why"),
        ] {
            assert_eq!(told(RunResult::Failed, Some(reason)).as_deref(), Some(expected));
        }
        let none = Facts { runs: Some(ScheduleStatus::default()), ..Facts::default() };
        assert_eq!(check(&none, "Idle", "Reconciled").condition(LAST_RUN_SUCCEEDED), None);
    }

    #[test]
    fn runs_that_cannot_start_stay_a_failure_until_one_did() {
        let failure = Failure { reason: "ImagePullFailed", message: "no such image".into() };
        let runs = Facts { runs: Some(ScheduleStatus::default()), ..Facts::default() };
        let failing = Facts { failure: Some(failure), ..runs.clone() };
        let failed = check(&failing, "Failed", "ImagePullFailed");
        let later = |facts: &Facts| {
            let status = status(&function(Some(failed.clone()), 1), facts, Timestamp::UNIX_EPOCH);
            status.condition(READY).map(|c| c.reason.clone()).unwrap_or_default()
        };
        assert_eq!(later(&runs), "ImagePullFailed");
        assert_eq!(later(&Facts { has_run: true, ..runs }), "Reconciled");
    }

    #[test]
    fn a_block_is_told_by_the_condition_it_concerns() {
        let refused = FunctionStatus {
            refused_trigger: Some("digest".to_owned()),
            ..FunctionStatus::default()
        };
        let function = function(Some(refused), 1);
        for (concern, type_, expected, kept) in [
            (Concern::Function, READY, "Why", None),
            (Concern::Bindings, BINDINGS_RESOLVED, "Why", None),
            (Concern::Trigger, TRIGGER_VALID, "Why", Some("digest")),
            (Concern::Environment, ENVIRONMENT_CLASH, "Ambiguous", None),
            (Concern::Name, NAME_TAKEN, "NameTaken", None),
        ] {
            let pass = Pass::blocked(Blocked::new(concern, "Why", "because"));
            let facts = Facts::new(&function, pass, Applied::default(), Seen::default());
            let status = status(&function, &facts, Timestamp::UNIX_EPOCH);
            let told = status.condition(type_).map(|c| (c.reason.as_str(), c.message.as_str()));
            assert_eq!(told, Some((expected, "because")), "{concern:?}");
            assert_eq!(status.refused_trigger.as_deref(), kept, "{concern:?}");
            assert_eq!(status.applied_digest, None);
        }
    }

    #[test]
    fn the_owner_of_a_host_is_named() {
        let (host, owner) = ("fn-f.test".to_owned(), "Function b/f".to_owned());
        let facts = Facts { reservation: Some(Reservation::Taken { host, owner }), ..served(0, 0) };
        let status = check(&facts, "Failed", "HostTaken");
        let reserved = status.condition(HOST_RESERVED).map(|c| c.message.clone());
        assert_eq!(reserved.as_deref(), Some("fn-f.test belongs to Function b/f"));
        assert_eq!(status.endpoint, None);
    }

    #[test]
    fn a_failure_outlives_its_pods_until_a_change_or_success() {
        let failure = Some(Failure { reason: "ContainerCrashed", message: "exit code 1".into() });
        let now = Timestamp::UNIX_EPOCH;
        let failed = status(&function(None, 1), &Facts { failure, ..served(1, 0) }, now);
        let later = |generation, facts: &Facts| {
            let status = status(&function(Some(failed.clone()), generation), facts, now);
            status.condition(READY).map(|c| c.reason.clone()).unwrap_or_default()
        };
        assert_eq!(later(1, &served(0, 0)), "ContainerCrashed");
        assert_eq!(later(1, &served(1, 1)), "Reconciled");
        assert_eq!(later(2, &served(0, 0)), "Reconciled");
    }

    #[test]
    fn what_did_not_change_keeps_its_time() {
        let first = status(&function(None, 1), &served(0, 0), Timestamp::UNIX_EPOCH);
        let now = Timestamp::from_second(60).unwrap_or(Timestamp::UNIX_EPOCH);
        let second = status(&function(Some(first.clone()), 1), &served(0, 0), now);
        assert_eq!(first, second);
        let third = status(
            &function(Some(first), 1),
            &Facts { broken: Some(Reason::new("Invalid", "")), ..served(0, 0) },
            now,
        );
        assert_eq!(third.condition(READY).map(|c| c.last_transition_time.0), Some(now));
    }

    #[test]
    fn a_trigger_that_was_not_tried_is_neither_valid_nor_invalid() {
        let status = check(&Facts { is_untried: true, ..served(0, 0) }, "Idle", CHECKING);
        let told = |type_| status.condition(type_).map(|c| (&*c.status, &*c.reason));
        assert_eq!(told(READY), Some(("Unknown", CHECKING)));
        assert_eq!(told(TRIGGER_VALID), Some(("Unknown", CHECKING)));
        let trigger = Some(Reason::new("SourceUnavailable", "away"));
        let away = Facts { is_untried: true, trigger, ..served(0, 0) };
        check(&away, "Failed", "SourceUnavailable");
    }

    #[test]
    fn the_deepest_cause_stays_until_a_pod_is_ready() {
        let failure = |reason| Some(Failure { reason, message: format!("{reason} it is") });
        let now = Timestamp::UNIX_EPOCH;
        let later = Timestamp::from_second(60).unwrap_or(now);
        let next = |previous: &FunctionStatus, reason: Option<&'static str>, ready: i32| {
            let facts = Facts { failure: reason.and_then(failure), ..served(1, ready) };
            status(&function(Some(previous.clone()), 1), &facts, later)
        };
        let reason = |status: &FunctionStatus| status.condition(READY).map(|c| c.reason.clone());
        let first = Facts { failure: failure("ContainerCrashed"), ..served(1, 0) };
        let crashed = status(&function(None, 1), &first, now);
        assert_eq!(crashed.failing_since, Some(Time(now)));
        // Started again, it runs, is silent for long, and crashes once more.
        let running = next(&crashed, None, 0);
        assert_eq!(reason(&running).as_deref(), Some("ContainerCrashed"));
        assert_eq!(running.failing_since, None);
        let silent = next(&crashed, Some("NotListening"), 0);
        assert_eq!(reason(&silent).as_deref(), Some("ContainerCrashed"));
        assert_eq!(silent.failing_since, Some(Time(now)));
        let killed = next(&silent, Some("OutOfMemory"), 0);
        assert_eq!(reason(&killed).as_deref(), Some("OutOfMemory"));
        let ready = next(&killed, None, 1);
        assert_eq!(reason(&ready).as_deref(), Some("Reconciled"));
        // What nothing deeper is known of.
        let silent = next(&ready, Some("NotListening"), 0);
        assert_eq!(reason(&silent).as_deref(), Some("NotListening"));
    }

    #[test]
    fn the_last_exit_outlives_the_pod_and_not_the_version() {
        let exit = Exit {
            at: Timestamp::UNIX_EPOCH,
            reason: "OOMKilled".to_owned(),
            code: 137,
            restarts: 2,
        };
        let now = Timestamp::UNIX_EPOCH;
        let first = Facts { exit: Some(exit), ..served(1, 1) };
        let told = status(&function(None, 1), &first, now);
        assert_eq!(told.last_exit.as_ref().map(|exit| exit.exit_code), Some(137));
        let gone = status(&function(Some(told.clone()), 1), &served(0, 0), now);
        assert_eq!(gone.last_exit, told.last_exit);
        let other = status(&function(Some(told), 2), &served(0, 0), now);
        assert_eq!(other.last_exit, None);
    }
}
