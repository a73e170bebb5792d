//! A schedule run once, now.
//!
//! The Job is made of what the CronJob would run, so it is the deployed code with its environment,
//! bindings and volumes. It cleans itself up.

use std::{collections::BTreeMap, time::Duration};

use futures_util::StreamExt as _;
use k8s_openapi::api::{
    batch::v1::{CronJob, Job},
    core::v1::Pod,
};
use kipper_function::{Function, names, start, test_run};
use kipper_kubernetes::{ObjectName, Settings, Values, follow};
use kube::{Api, ResourceExt as _, api::DeleteParams};
use tokio::sync::watch;

use crate::{
    ApiError, Connection,
    error::is_lasting,
    logs::{Line, Logs, Query},
    params,
    wait::Stage,
};

/// Label by which the pods of a Job are known.
const JOB_NAME: &str = "batch.kubernetes.io/job-name";
/// How far back the lines of a run may lie: longer than any run.
const SINCE: Duration = Duration::from_secs(7 * 24 * 3600);
/// How long the last lines may be on their way once the run ended.
const LAST_LINES: Duration = Duration::from_secs(10);
/// Job numbers drawn before it is given up.
const MAX_TRIES: u32 = 3;

/// Why there is no test run.
#[derive(Debug, thiserror::Error)]
pub enum TestRunError {
    /// The cluster said no.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// It is no cron function.
    #[error("function {function} has no schedule: only cron functions have test runs")]
    NotCron {
        /// The function.
        function: String,
        /// The service it takes events from instead, if it does.
        events: Option<String>,
    },
    /// The controller has not made its CronJob.
    #[error("function {0} has no CronJob yet")]
    NoSchedule(String),
    /// The CronJob is not as the controller makes it.
    #[error(transparent)]
    CronJob(#[from] test_run::TestRunError),
    /// The Job went away.
    #[error("the test run {0} was deleted")]
    Deleted(String),
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It succeeded.
    Complete,
    /// It failed; the Job's words, with the exit code where there is one.
    Failed(String),
    /// Its pod cannot start. The Job was taken back, so that it does not run later on, unless the user
    /// may not do that.
    CannotStart {
        /// Why.
        stage: Stage,
        /// Whether Kubernetes goes on trying.
        goes_on: bool,
    },
}

/// Test runs of one namespace.
#[derive(Clone)]
pub struct TestRuns {
    cron_jobs: Api<CronJob>,
    jobs: Api<Job>,
    watched: Api<Job>,
    pods: Api<Pod>,
    logs: Logs,
    namespace: String,
}

impl TestRuns {
    /// Those of the connection's namespace.
    pub fn new(connection: &Connection) -> Self {
        let (client, namespace) = (connection.client.clone(), connection.namespace.clone());
        Self {
            cron_jobs: Api::namespaced(client.clone(), &namespace),
            jobs: Api::namespaced(client, &namespace),
            watched: Api::namespaced(connection.streams.clone(), &namespace),
            pods: Api::namespaced(connection.streams.clone(), &namespace),
            logs: Logs::new(connection),
            namespace,
        }
    }

    fn error(&self, what: &str) -> impl Fn(kube::Error) -> ApiError {
        let (what, namespace) = (what.to_owned(), self.namespace.clone());
        move |error| ApiError::read(error, &what, &namespace)
    }

    /// Starts a run of a function's schedule; the name of its Job.
    ///
    /// # Errors
    /// When the function has no schedule, or the cluster says no.
    pub async fn start(&self, function: &Function) -> Result<String, TestRunError> {
        has_schedule(function)?;
        let function = function.name_any();
        let cron_job = names::cron_job(&function);
        let found = self.cron_jobs.get_opt(&cron_job).await;
        let found = found.map_err(self.error(&format!("cronjob {cron_job}")))?;
        let found = found.ok_or(TestRunError::NoSchedule(function))?;
        create(&self.jobs, &self.namespace, || Ok(test_run::job(&found, fastrand::u32(..))?)).await
    }

    /// Hands over the lines of a run until it ends, or cannot start, and says how it did.
    ///
    /// # Errors
    /// When the run or its pods cannot be watched.
    pub async fn follow(&self, job: &str, take: impl FnMut(Line)) -> Result<Verdict, TestRunError> {
        let query = Query { selector: format!("{JOB_NAME}={job}"), ..Query::function("", SINCE) };
        let following = self.logs.follow(query.clone());
        // With two watches it is large.
        let ended = Box::pin(async {
            tokio::select! {
                ended = self.ended(job) => ended,
                stage = self.hopeless(&query) => Ok(Verdict::CannotStart { stage, goes_on: true }),
            }
        });
        let ended = following.until(ended, LAST_LINES, take).await??;
        Ok(match ended {
            Verdict::Failed(why) => {
                let code = self.logs.pods(&query).await?.iter().find_map(exit_code);
                let reported = code.map(|code| format!("exit code {code}"));
                Verdict::Failed(reported.unwrap_or(why))
            }
            Verdict::CannotStart { stage, .. } => {
                let deleted = self.jobs.delete(job, &DeleteParams::background()).await;
                Verdict::CannotStart { stage, goes_on: deleted.is_err() }
            }
            Verdict::Complete => Verdict::Complete,
        })
    }

    /// Ends once a pod of the run cannot start, and says why. It may never end, so it is for waiting
    /// beside something else.
    async fn hopeless(&self, query: &Query) -> Stage {
        let (found, mut seen) = watch::channel(None);
        let publish = move |stages: &BTreeMap<ObjectName, Stage>| {
            found.send_replace(stages.values().next().cloned());
        };
        let settings = Settings::labels(query.selector.as_str());
        let mirror = Values::new(cannot_start, publish);
        let pods = Box::pin(follow(self.pods.clone(), settings, mirror));
        tokio::select! {
            // It is only dropped with the watch.
            Ok(stage) = seen.wait_for(Option::is_some) => {
                if let Some(stage) = stage.clone() { return stage }
            }
            _ = pods => {}
        }
        std::future::pending().await
    }

    async fn ended(&self, job: &str) -> Result<Verdict, TestRunError> {
        let states = kipper_kubernetes::states(self.watched.clone(), job, is_lasting);
        let mut states = Box::pin(states);
        while let Some(state) = states.next().await {
            let Some(found) = state.map_err(self.error(&format!("job {job}")))? else { break };
            if let Some(verdict) = verdict(&found) {
                return Ok(verdict);
            }
        }
        Err(TestRunError::Deleted(job.to_owned()))
    }
}

/// Whether a function has test runs.
///
/// # Errors
/// [`TestRunError::NotCron`] where it has none.
pub fn has_schedule(function: &Function) -> Result<(), TestRunError> {
    if function.spec.cron_trigger().is_some() {
        return Ok(());
    }
    let events = function.spec.event().map(|event| event.source().to_owned());
    Err(TestRunError::NotCron { function: function.name_any(), events })
}

/// Creates a Job whose name has a number that is drawn; its name.
pub(crate) async fn create<E: From<ApiError>>(
    jobs: &Api<Job>,
    namespace: &str,
    draw: impl Fn() -> Result<Job, E>,
) -> Result<String, E> {
    let mut tries = 0;
    loop {
        let job = draw()?;
        let name = job.name_any();
        tries += 1;
        let created = jobs.create(&params::post(), &job).await;
        match created.map_err(|error| ApiError::read(error, &format!("job {name}"), namespace)) {
            Ok(_) => return Ok(name),
            // Another one drew the same number.
            Err(ApiError::Exists { .. }) if tries < MAX_TRIES => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// How a Job ended; `None` while it runs.
fn verdict(job: &Job) -> Option<Verdict> {
    let conditions = job.status.as_ref()?.conditions.as_ref()?;
    let ended = conditions
        .iter()
        .find(|c| c.status == "True" && ["Complete", "Failed"].contains(&c.type_.as_str()))?;
    if ended.type_ == "Complete" {
        return Some(Verdict::Complete);
    }
    let message = ended.message.clone().or_else(|| ended.reason.clone());
    Some(Verdict::Failed(message.unwrap_or_else(|| "it failed".to_owned())))
}

/// Why a pod has not started and will not, by the rule by which functions are waited for.
fn cannot_start(pod: &Pod) -> Option<Stage> {
    let status = pod.status.as_ref()?;
    let all = status.init_container_statuses.iter().chain(&status.container_statuses).flatten();
    let mut waiting = all.filter_map(|container| container.state.as_ref()?.waiting.as_ref());
    waiting.find_map(|waiting| {
        let message = waiting.message.clone().unwrap_or_default();
        let reason = start::fault(waiting.reason.as_deref()?, &message)?.to_owned();
        let stage = Stage::NotReady { reason, message };
        stage.is_final().then_some(stage)
    })
}

/// With what the function's container of a pod ended, or the only one that there is.
fn exit_code(pod: &Pod) -> Option<i32> {
    let containers = pod.status.as_ref()?.container_statuses.as_ref()?;
    let function = containers.iter().find(|container| container.name == names::CONTAINER);
    let container = function.or(containers.first())?;
    Some(container.state.as_ref()?.terminated.as_ref()?.exit_code)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    #[test]
    fn a_run_ends_with_its_job() {
        let verdict = |conditions: serde_json::Value| {
            let job = json!({ "metadata": {}, "status": { "conditions": conditions } });
            verdict(&serde_json::from_value(job).unwrap())
        };
        assert_eq!(verdict(json!([])), None);
        let met = json!({ "type": "SuccessCriteriaMet", "status": "True" });
        assert_eq!(verdict(json!([met])), None);
        let complete = json!({ "type": "Complete", "status": "True" });
        assert_eq!(verdict(json!([met, complete])), Some(Verdict::Complete));
        let failed = json!({ "type": "Failed", "status": "True", "message": "too often" });
        assert_eq!(verdict(json!([failed])), Some(Verdict::Failed("too often".to_owned())));
    }

    #[test]
    fn a_run_is_given_up_where_a_function_would_be() {
        let check = |init: &str, own: &str, expected: Option<&str>| {
            let container = |reason: &str| {
                let state = match reason {
                    "" => json!({ "running": {} }),
                    reason => json!({ "waiting": { "reason": reason, "message": "m" } }),
                };
                json!({
                    "name": "c", "ready": false, "restartCount": 0, "image": "", "imageID": "",
                    "state": state,
                })
            };
            let pod: Pod = serde_json::from_value(json!({
                "metadata": {},
                "status": {
                    "initContainerStatuses": [container(init)],
                    "containerStatuses": [container(own)],
                },
            }))
            .unwrap();
            let found = cannot_start(&pod).map(|stage| stage.to_string());
            assert_eq!(found.as_deref(), expected, "{init} {own}");
        };
        check("", "ErrImagePull", Some("ImagePullFailed: m"));
        check("ImagePullBackOff", "PodInitializing", Some("ImagePullFailed: m"));
        check("", "CreateContainerConfigError", Some("ContainerNotStarted: m"));
        check("PodInitializing", "ContainerCreating", None);
        check("", "", None);
    }

    #[test]
    fn who_has_no_test_run_says_where_its_work_comes_from() {
        let events = |triggers: serde_json::Value| {
            let spec = serde_json::from_value(json!({ "triggers": triggers })).unwrap();
            match has_schedule(&Function::new("f", spec)) {
                Err(TestRunError::NotCron { events, .. }) => Some(events),
                _ => None,
            }
        };
        assert_eq!(events(json!([])), Some(None));
        assert_eq!(events(json!([{ "type": "http" }])), Some(None));
        let redis = json!({ "type": "redis", "config": { "source": "jobs" } });
        assert_eq!(events(json!([redis])), Some(Some("jobs".to_owned())));
        assert_eq!(events(json!([{ "type": "http" }, { "type": "cron" }])), None);
    }

    #[test]
    fn the_exit_code_is_the_functions() {
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {},
            "status": { "containerStatuses": [{
                "name": "function", "ready": false, "restartCount": 0, "image": "", "imageID": "",
                "state": { "terminated": { "exitCode": 3 } },
            }] },
        }))
        .unwrap();
        assert_eq!(exit_code(&pod), Some(3));
    }
}
