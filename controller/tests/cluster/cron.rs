//! Schedules that fire, and test runs of them.

use k8s_openapi::api::{
    batch::v1::{CronJob, Job},
    core::v1::Pod,
};
use kipper_cluster::{
    objects,
    sandbox::{Sandbox, condition_is, run},
    wait::{expect, until},
};
use kipper_function::{
    Function,
    function::RunStatus,
    names::{
        self,
        condition::{LAST_RUN_SUCCEEDED, ON_SCHEDULE, READY},
    },
    test_run,
};
use kube::{
    Api, ResourceExt as _,
    api::{ListParams, LogParams, PostParams},
};
use serde_json::json;

/// Says what invoked it, and stays long enough to be looked at.
const CODE: &str = "module.exports = async () => {
  console.log('invoked by', process.env.KIPPER_TRIGGER, 'as', process.env.KIPPER_MODE)
  await new Promise((resolve) => setTimeout(resolve, 5000))
}";

/// The first pod that `selector` selects and that has come into `phase`.
async fn pod_in(sandbox: &Sandbox, selector: &str, phase: &str) -> Pod {
    let pods: Api<Pod> = Api::namespaced(sandbox.client.clone(), &sandbox.namespace);
    until(&format!("a pod of {selector} {phase}"), || async {
        let found = pods.list(&ListParams::default().labels(selector)).await.unwrap();
        let in_phase = |pod: &&Pod| {
            pod.status.as_ref().and_then(|status| status.phase.as_deref()) == Some(phase)
        };
        found.iter().find(in_phase).cloned().ok_or_else(|| format!("{} pods", found.items.len()))
    })
    .await
}

async fn log(sandbox: &Sandbox, pod: &Pod) -> String {
    let pods: Api<Pod> = Api::namespaced(sandbox.client.clone(), &sandbox.namespace);
    pods.logs(&pod.name_any(), &LogParams::default()).await.unwrap()
}

#[tokio::test]
async fn a_schedule_fires() {
    run("cron", |sandbox| async move {
        let name = sandbox.name("cron");
        let triggers = json!([{ "type": "http" }, { "type": "cron", "schedule": "* * * * *" }]);
        sandbox.apply(&name, json!({ "source": { "code": CODE }, "triggers": triggers })).await;
        sandbox.until_ready(&name).await;
        let batch = format!("app={name},{}={}", names::COMPONENT, names::BATCH);
        let pod = pod_in(&sandbox, &batch, "Running").await;
        let address = pod.status.as_ref().unwrap().pod_ip.clone().unwrap();
        let slices = objects::list(&sandbox.client, "EndpointSlice", &sandbox.namespace, "").await;
        assert!(!slices.is_empty());
        assert!(!json!(slices).to_string().contains(&format!("\"{address}\"")), "{slices:?}");
        let pod = pod_in(&sandbox, &batch, "Succeeded").await;
        assert!(log(&sandbox, &pod).await.contains("invoked by cron as batch"));
        // The schedule is none of the Deployment's business.
        assert!(sandbox.pods(&name).await.is_empty());
    })
    .await;
}

/// Makes a test run as `kip` does; the run's Job.
async fn test_run(sandbox: &Sandbox, name: &str) -> Job {
    let cron: Api<CronJob> = Api::namespaced(sandbox.client.clone(), &sandbox.namespace);
    let cron = cron.get(&names::cron_job(name)).await.unwrap();
    let job = test_run::job(&cron, fastrand::u32(..)).unwrap();
    let jobs: Api<Job> = Api::namespaced(sandbox.client.clone(), &sandbox.namespace);
    jobs.create(&PostParams::default(), &job).await.unwrap()
}

async fn until_job(sandbox: &Sandbox, job: &Job, condition: &str) {
    until(&format!("{condition} of the test run"), || async {
        let job = sandbox.object("Job", &job.name_any()).await.unwrap();
        let conditions = job["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let holds = conditions.iter().any(|c| c["type"] == condition && c["status"] == "True");
        expect(holds, || job["status"].to_string())
    })
    .await;
}

#[tokio::test]
async fn a_test_run_is_a_run_that_says_so() {
    run("testrun", |sandbox| async move {
        let name = sandbox.name("testrun");
        let triggers = json!([{ "type": "cron", "schedule": "0 4 1 1 *" }]);
        sandbox.apply(&name, json!({ "source": { "code": CODE }, "triggers": triggers })).await;
        sandbox.until_ready(&name).await;
        let cron = names::cron_job(&name);
        let before = sandbox.until_object("CronJob", &cron).await;
        let job = test_run(&sandbox, &name).await;
        assert_eq!(job.labels()[names::TEST_RUN], "true");
        assert_eq!(job.spec.as_ref().unwrap().ttl_seconds_after_finished, Some(600));
        until_job(&sandbox, &job, "Complete").await;
        let selector = format!("app={name},{}=true", names::TEST_RUN);
        let pod = pod_in(&sandbox, &selector, "Succeeded").await;
        assert!(log(&sandbox, &pod).await.contains("invoked by test as batch"));
        assert_eq!(sandbox.object("CronJob", &cron).await.unwrap(), before);
        // It belongs to the function and goes with it.
        sandbox.delete(&name).await;
        sandbox.until_gone("Job", &job.name_any()).await;
    })
    .await;
}

#[tokio::test]
async fn a_test_run_that_fails_fails_once() {
    run("testfail", |sandbox| async move {
        let name = sandbox.name("testfail");
        let triggers = json!([{ "type": "cron", "schedule": "0 4 1 1 *" }]);
        let code = "module.exports = async () => { throw new Error('no ledger today') }";
        sandbox.apply(&name, json!({ "source": { "code": code }, "triggers": triggers })).await;
        sandbox.until_ready(&name).await;
        sandbox.until_object("CronJob", &names::cron_job(&name)).await;
        let job = test_run(&sandbox, &name).await;
        until_job(&sandbox, &job, "Failed").await;
        let selector = format!("app={name},{}=true", names::TEST_RUN);
        let pods = objects::list(&sandbox.client, "Pod", &sandbox.namespace, &selector).await;
        assert_eq!(pods.len(), 1);
        let pod = pod_in(&sandbox, &selector, "Failed").await;
        assert!(log(&sandbox, &pod).await.contains("no ledger today"));
    })
    .await;
}

/// A run that never ends holds up later ones, which is told, until it is ended.
#[tokio::test]
async fn skipped_runs_are_told_and_the_run_they_wait_for_is_ended() {
    run("endless", |sandbox| async move {
        let name = sandbox.name("endless");
        let code = "module.exports = () => new Promise(() => setInterval(() => {}, 1000))";
        let cron = json!({ "type": "cron", "schedule": "@every 5s", "deadlineSeconds": 30 });
        sandbox.apply(&name, json!({ "source": { "code": code }, "triggers": [cron] })).await;
        let skipped = |f: &Function| condition_is(f, ON_SCHEDULE, "False", "RunsSkipped");
        sandbox.function_that(&name, "OnSchedule=False", skipped).await;
        sandbox.until_event(&name, "RunsSkipped", "ended after 30 s").await;
        // It is no fault of the function's that would keep it from the next run.
        sandbox.until_ready(&name).await;
        let jobs = || objects::list(&sandbox.client, "Job", &sandbox.namespace, "");
        until("a run that was ended", || async {
            let jobs = jobs().await;
            let ended = jobs.iter().any(|job| {
                let conditions = job["status"]["conditions"].as_array().cloned();
                conditions.iter().flatten().any(|c| c["reason"] == "DeadlineExceeded")
            });
            expect(ended, || format!("{jobs:?}"))
        })
        .await;
    })
    .await;
}

/// What the last run came to is in the status, and a failure is a condition with its last words.
#[tokio::test]
async fn the_last_run_is_told() {
    run("lastrun", |sandbox| async move {
        let name = sandbox.name("lastrun");
        let cron = json!({ "type": "cron", "schedule": "@every 5s" });
        let failing = "module.exports = async () => { throw new Error('no ledger today') }";
        let spec = json!({ "source": { "code": failing }, "triggers": [cron] });
        sandbox.apply(&name, spec).await;
        let failed =
            |f: &Function| condition_is(f, LAST_RUN_SUCCEEDED, "False", "ContainerCrashed");
        let function = sandbox.function_that(&name, "LastRunSucceeded=False", failed).await;
        let run = last_run(&function);
        assert_eq!(run.result.as_deref(), Some("Failed"));
        assert!(run.message.unwrap().contains("no ledger today"));
        assert!(run.start_time.is_some() && run.completion_time.is_some());
        sandbox.until_event(&name, "ContainerCrashed", "no ledger today").await;
        sandbox.until_ready(&name).await;

        let spec = json!({ "source": { "code": "module.exports = () => {}" }, "triggers": [cron] });
        sandbox.apply(&name, spec).await;
        let succeeded = |f: &Function| condition_is(f, LAST_RUN_SUCCEEDED, "True", "Succeeded");
        let function = sandbox.function_that(&name, "LastRunSucceeded=True", succeeded).await;
        assert_eq!(last_run(&function).result.as_deref(), Some("Succeeded"));

        // Suspended, nothing starts any more, and what was last stays known.
        let cron = json!({
            "type": "cron", "schedule": "@every 5s", "suspend": true, "timeZone": "Europe/Berlin",
        });
        let spec = json!({ "source": { "code": "module.exports = () => {}" }, "triggers": [cron] });
        sandbox.apply(&name, spec).await;
        sandbox.until_ready(&name).await;
        let cron_job = sandbox.until_object("CronJob", &names::cron_job(&name)).await;
        let spec = &cron_job["spec"];
        assert_eq!((&spec["suspend"], &spec["timeZone"]), (&json!(true), &json!("Europe/Berlin")));
        let function = sandbox.function_that(&name, "a last run", succeeded).await;
        assert!(function.status.unwrap().schedule.unwrap().last_run.is_some());
    })
    .await;
}

fn last_run(function: &Function) -> RunStatus {
    function.status.clone().unwrap().schedule.unwrap().last_run.unwrap()
}

/// A schedule whose pods can never start is not ready, although there is nothing to serve.
#[tokio::test]
async fn runs_that_cannot_start_leave_the_function_not_ready() {
    run("noimage", |sandbox| async move {
        let name = sandbox.name("noimage");
        let cron = json!({ "type": "cron", "schedule": "@every 5s", "deadlineSeconds": 60 });
        let spec = json!({ "image": "registry.invalid/none:1", "triggers": [cron] });
        sandbox.apply(&name, spec).await;
        let broken = |f: &Function| condition_is(f, READY, "False", "ImagePullFailed");
        let function = sandbox.function_that(&name, "Ready=False", broken).await;
        assert_eq!(function.status.unwrap().phase.as_deref(), Some("Failed"));
    })
    .await;
}
