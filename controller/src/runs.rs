//! The runs of a schedule: Jobs of a function's CronJob as rows, and what they come to in the status.
//! Pure.
//!
//! A CronJob keeps a few finished Jobs. What the last one said is kept in the Function's status, so
//! that it outlives Job and pod; nothing is written because time passes.

use k8s_openapi::{api::batch::v1::Job, apimachinery::pkg::apis::meta::v1::Time, jiff::Timestamp};
use kipper_function::{
    Function,
    function::{RunResult, RunStatus, ScheduleStatus},
    names,
};

use crate::{
    cache::{Cache, Failure, Key, Outcome, Pod, Run},
    plan::{Kind, MAX_MESSAGE, clipped},
};

/// Why a run failed whose pod says nothing.
const RUN_FAILED: &str = "RunFailed";
/// Reason that Kubernetes gives to a Job that took too long.
const DEADLINE_EXCEEDED: &str = "DeadlineExceeded";
/// Faults with which the container of a pod never starts.
const NEVER_STARTED: [&str; 3] = ["ImagePullFailed", "ContainerNotStarted", "Unschedulable"];

/// The row of a Job; `None` for one that is no run of a function's schedule.
pub(crate) fn reduce(job: &Job) -> Option<Run> {
    let meta = &job.metadata;
    let labels = meta.labels.as_ref()?;
    let function = labels.get(names::APP)?;
    if labels.contains_key(names::TEST_RUN) {
        return None;
    }
    let cron_job = names::cron_job(function);
    let mut owners = meta.owner_references.iter().flatten();
    owners.find(|owner| {
        owner.controller == Some(true) && owner.kind == "CronJob" && owner.name == cron_job
    })?;
    let status = job.status.as_ref();
    let conditions = status.and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    let is = |type_: &str| conditions.iter().find(|c| c.type_ == type_ && c.status == "True");
    let ended = match (is("Complete"), is("Failed")) {
        (Some(complete), _) => Some((Outcome::Succeeded, complete)),
        (None, Some(failed)) => {
            let reason = failed.reason.as_deref().unwrap_or_default();
            let deadline = job.spec.as_ref().and_then(|spec| spec.active_deadline_seconds);
            let failure = match deadline {
                Some(seconds) if reason == DEADLINE_EXCEEDED => Outcome::TooLate(seconds),
                _ => Outcome::Failed(failed.message.clone().unwrap_or_default()),
            };
            Some((failure, failed))
        }
        (None, None) => None,
    };
    let created = meta.creation_timestamp.as_ref().map(|time| time.0);
    // A Job that failed has no completion time.
    let completed = status.and_then(|status| status.completion_time.as_ref()).map(|time| time.0);
    Some(Run {
        function: Key::new(meta.namespace.clone()?, function.clone()),
        started: status.and_then(|s| s.start_time.as_ref()).map(|time| time.0).or(created),
        ended: ended.map(|(outcome, condition)| {
            let at = condition.last_transition_time.as_ref().map(|time| time.0);
            (outcome, completed.or(at))
        }),
    })
}

/// What is known of the runs of a function's schedule; `None` where it has no CronJob.
pub(crate) fn status(cache: &Cache, function: &Function, key: &Key) -> Option<ScheduleStatus> {
    function.spec.cron_trigger()?;
    let cron_job = Key::new(&key.namespace, names::cron_job(&key.name));
    let due = cache.objects.get(&(Kind::CronJob, cron_job))?.runs?.last;
    let former = function.status.as_ref().and_then(|status| status.schedule.clone());
    let former = former.unwrap_or_default();
    let mut runs = cache.runs.filter(|_, run| run.function == *key);
    runs.sort_by_key(|(_, run)| run.started);
    let active = runs.iter().rev().find(|(_, run)| run.ended.is_none());
    let last = runs.iter().rev().find_map(|(job, run)| Some((job, run, run.ended.as_ref()?)));
    let last = last.map(|(job, run, (outcome, at))| {
        let told = former.last_run.as_ref().filter(|told| told.job == job.name);
        ended(job, run, outcome, *at, fault(cache, job), told)
    });
    let started = |run: &RunStatus| run.start_time.as_ref().map(|time| time.0);
    let last_run = match (last, former.last_run) {
        (Some(last), Some(told)) if started(&told) > started(&last) => Some(told),
        (last, told) => last.or(told),
    };
    Some(ScheduleStatus {
        last_schedule_time: due.map(Time).or(former.last_schedule_time),
        active_run: active.map(|(job, run)| RunStatus {
            job: job.name.clone(),
            start_time: run.started.map(Time),
            ..RunStatus::default()
        }),
        last_run,
    })
}

/// A run that ended. What its pod said is kept from `told` where the pod is gone.
fn ended(
    job: &Key,
    run: &Run,
    outcome: &Outcome,
    at: Option<Timestamp>,
    fault: Option<Failure>,
    told: Option<&RunStatus>,
) -> RunStatus {
    let why = match outcome {
        Outcome::Succeeded => None,
        Outcome::TooLate(seconds) => Some((
            DEADLINE_EXCEEDED.to_owned(),
            format!("stopped after {seconds} s (deadlineSeconds of the trigger, --deadline)"),
        )),
        Outcome::Failed(message) => {
            let kept = told.and_then(|told| told.reason.clone().zip(told.message.clone()));
            let said = fault.map(|fault| (fault.reason.to_owned(), fault.message));
            said.or(kept).or_else(|| Some((RUN_FAILED.to_owned(), message.clone())))
        }
    };
    let result = if why.is_none() { RunResult::Succeeded } else { RunResult::Failed };
    let (reason, message) = why.unzip();
    RunStatus {
        job: job.name.clone(),
        start_time: run.started.map(Time),
        completion_time: at.map(Time),
        result: Some(result.as_str().to_owned()),
        reason,
        message: message.map(|message| clipped(message, MAX_MESSAGE)),
    }
}

/// Why the pod of a Job failed.
fn fault(cache: &Cache, job: &Key) -> Option<Failure> {
    let of_job = |key: &Key, pod: &Pod| {
        key.namespace == job.namespace && pod.job.as_deref() == Some(job.name.as_str())
    };
    cache.pods.filter(of_job).into_iter().find_map(|(_, pod)| pod.failure)
}

/// How the newest pod of a function's runs, test runs included, starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Start {
    /// There is none, or nothing can be said yet.
    Unknown,
    /// Its container ran.
    Done,
    /// It never will.
    Impossible(Failure),
}

/// How runs start, where nothing else than runs is there to start.
pub(crate) fn start(cache: &Cache, function: &Function, key: &Key) -> Start {
    if function.spec.is_served() {
        return Start::Unknown;
    }
    let pods = cache.pods.filter(|_, pod| !pod.server && pod.function == *key);
    let Some((_, pod)) = pods.into_iter().max_by_key(|(_, pod)| pod.created) else {
        return Start::Unknown;
    };
    match pod.failure {
        Some(failure) if NEVER_STARTED.contains(&failure.reason) => Start::Impossible(failure),
        _ if pod.has_run => Start::Done,
        _ => Start::Unknown,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use kipper_function::FunctionStatus;
    use serde_json::{Value, json};

    use super::*;
    use crate::{cache::Observed, pods};

    const SHOP: &str = "shop";

    fn labels() -> Value {
        json!({ names::RESOURCE_TYPE: names::FUNCTION, names::APP: "f", names::COMPONENT: names::BATCH })
    }

    /// A Job of the schedule that started in this minute.
    fn job(name: &str, minute: u32, condition: Value) -> Job {
        let conditions = if condition.is_null() { json!([]) } else { json!([condition]) };
        let start = format!("2026-01-01T10:{minute:02}:00Z");
        serde_json::from_value(json!({
            "metadata": {
                "name": name, "namespace": SHOP, "labels": labels(),
                "ownerReferences": [{
                    "apiVersion": "batch/v1", "kind": "CronJob", "name": "f-cron", "uid": "u",
                    "controller": true,
                }],
            },
            "spec": { "template": {}, "activeDeadlineSeconds": 30 },
            "status": { "startTime": start, "conditions": conditions },
        }))
        .unwrap()
    }

    fn complete() -> Value {
        json!({ "type": "Complete", "status": "True", "lastTransitionTime": "2026-01-01T10:50:00Z" })
    }

    fn failed(reason: &str) -> Value {
        json!({
            "type": "Failed", "status": "True", "reason": reason, "message": "of Kubernetes",
            "lastTransitionTime": "2026-01-01T10:51:00Z",
        })
    }

    /// A pod of that Job.
    fn pod(job: &str, state: Value) -> Pod {
        let mut labels = labels();
        labels["batch.kubernetes.io/job-name"] = json!(job);
        let pod = json!({
            "metadata": { "name": format!("{job}-x"), "namespace": SHOP, "labels": labels },
            "status": { "containerStatuses": [{
                "name": "function", "image": "", "imageID": "", "restartCount": 0, "ready": false,
                "state": state,
            }] },
        });
        pods::reduce(&serde_json::from_value(pod).unwrap()).unwrap()
    }

    fn crashed() -> Value {
        json!({ "terminated": { "exitCode": 1, "message": "no ledger today" } })
    }

    fn function(told: Option<ScheduleStatus>) -> Function {
        let triggers = json!([{ "type": "cron", "schedule": "* * * * *" }]);
        let spec = json!({ "image": "x", "triggers": triggers });
        let mut function = Function::new("f", serde_json::from_value(spec).unwrap());
        function.status = Some(FunctionStatus { schedule: told, ..FunctionStatus::default() });
        function
    }

    fn cache(jobs: &[Job], pods: &[Pod]) -> Cache {
        let cache = Cache::new();
        let cron_job = json!({
            "apiVersion": "batch/v1", "kind": "CronJob", "metadata": {},
            "status": { "lastScheduleTime": "2026-01-01T10:03:00Z" },
        });
        let observed = Observed::new(Kind::CronJob, &serde_json::from_value(cron_job).unwrap());
        cache.objects.put((Kind::CronJob, Key::new(SHOP, "f-cron")), observed);
        for job in jobs {
            cache.runs.put(Key::of(&job.metadata), reduce(job).unwrap());
        }
        for pod in pods {
            let name = format!("{}-x", pod.job.clone().unwrap_or_default());
            cache.pods.put(Key::new(SHOP, name), pod.clone());
        }
        cache
    }

    fn told(cache: &Cache, before: Option<ScheduleStatus>) -> ScheduleStatus {
        status(cache, &function(before), &Key::new(SHOP, "f")).unwrap()
    }

    /// The last run as `job result reason: message`.
    #[track_caller]
    fn check(jobs: &[Job], pods: &[Pod], expected: &str) {
        let run = told(&cache(jobs, pods), None).last_run.unwrap();
        let [result, reason, message] =
            [run.result, run.reason, run.message].map(Option::unwrap_or_default);
        assert_eq!(format!("{} {result} {reason}: {message}", run.job), expected);
    }

    #[test]
    fn the_last_run_is_the_last_that_ended() {
        let jobs = [
            job("f-1", 1, failed("BackoffLimitExceeded")),
            job("f-2", 2, complete()),
            job("f-3", 3, Value::Null),
        ];
        check(&jobs, &[], "f-2 Succeeded : ");
        let status = told(&cache(&jobs, &[]), None);
        let active = status.active_run.unwrap();
        assert_eq!((active.job.as_str(), active.result), ("f-3", None));
        let times = [status.last_schedule_time, active.start_time];
        let at = "2026-01-01T10:03:00Z".parse().unwrap();
        assert_eq!(times, [Some(Time(at)), Some(Time(at))]);
        assert_eq!(told(&cache(&[], &[]), None).last_run, None);
    }

    #[test]
    fn a_failure_is_told_in_the_words_of_its_pod() {
        let jobs = [job("f-1", 1, failed("BackoffLimitExceeded"))];
        check(&jobs, &[], "f-1 Failed RunFailed: of Kubernetes");
        let own = pod("f-1", crashed());
        let expected = "f-1 Failed ContainerCrashed: exit code 1: no ledger today";
        check(&jobs, std::slice::from_ref(&own), expected);
        check(&jobs, &[pod("f-0", crashed())], "f-1 Failed RunFailed: of Kubernetes");
        let late = [job("f-1", 1, failed("DeadlineExceeded"))];
        let expected = "f-1 Failed DeadlineExceeded: stopped after 30 s (deadlineSeconds of the trigger, \
                        --deadline)";
        check(&late, &[], expected);

        // Pod and Job go; what they said stays until another run has ended.
        let first = told(&cache(&jobs, &[own]), None);
        assert_eq!(told(&cache(&jobs, &[]), Some(first.clone())), first);
        let gone = told(&cache(&[], &[]), Some(first.clone()));
        assert_eq!(gone.last_run, first.last_run);
        let older = told(&cache(&[job("f-0", 0, complete())], &[]), Some(first.clone()));
        assert_eq!(older.last_run, first.last_run);
        let newer = told(&cache(&[job("f-2", 2, complete())], &[]), Some(first));
        assert_eq!(newer.last_run.map(|run| run.job), Some("f-2".to_owned()));
    }

    #[test]
    fn only_jobs_of_the_schedule_are_runs() {
        let own = job("f-1", 1, complete());
        assert!(reduce(&own).is_some());
        let mut test = own.clone();
        let labels = test.metadata.labels.as_mut().unwrap();
        labels.insert(names::TEST_RUN.to_owned(), "true".to_owned());
        assert_eq!(reduce(&test), None);
        for change in [("kind", "Function"), ("name", "g-cron")] {
            let mut other = serde_json::to_value(&own).unwrap();
            other["metadata"]["ownerReferences"][0][change.0] = json!(change.1);
            assert_eq!(reduce(&serde_json::from_value(other).unwrap()), None);
        }
    }

    #[test]
    fn a_run_whose_container_cannot_start_is_told_from_one_that_failed() {
        let key = Key::new(SHOP, "f");
        let start = |state: Value| start(&cache(&[], &[pod("f-1", state)]), &function(None), &key);
        let pull = json!({ "waiting": { "reason": "ErrImagePull", "message": "no such image" } });
        assert!(matches!(start(pull), Start::Impossible(f) if f.reason == "ImagePullFailed"));
        assert_eq!(start(json!({ "waiting": { "reason": "ContainerCreating" } })), Start::Unknown);
        assert_eq!(start(crashed()), Start::Done);
        assert_eq!(start(json!({ "running": {} })), Start::Done);
        assert_eq!(super::start(&cache(&[], &[]), &function(None), &key), Start::Unknown);
    }
}
