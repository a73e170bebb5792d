//! A schedule run once, now.
//!
//! The Job is made of what the CronJob would run, so it is the deployed code with its environment,
//! bindings and volumes. It cleans itself up.

use std::time::Duration;

use futures_util::StreamExt as _;
use k8s_openapi::api::{
    batch::v1::{CronJob, Job},
    core::v1::Pod,
};
use kipper_function::{names, test_run};
use kube::{Api, ResourceExt as _};

use crate::{
    ApiError, Connection,
    error::is_lasting,
    logs::{Line, Logs, Query},
    params,
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
    /// The function has no CronJob.
    #[error("function {0} has no schedule to run: its CronJob does not exist")]
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
}

/// Test runs of one namespace.
#[derive(Clone)]
pub struct TestRuns {
    cron_jobs: Api<CronJob>,
    jobs: Api<Job>,
    watched: Api<Job>,
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
    pub async fn start(&self, function: &str) -> Result<String, TestRunError> {
        let cron_job = names::cron_job(function);
        let found = self.cron_jobs.get_opt(&cron_job).await;
        let found = found.map_err(self.error(&format!("cronjob {cron_job}")))?;
        let found = found.ok_or_else(|| TestRunError::NoSchedule(function.to_owned()))?;
        create(&self.jobs, &self.namespace, || Ok(test_run::job(&found, fastrand::u32(..))?)).await
    }

    /// Hands over the lines of a run until it ends, and says how it did.
    ///
    /// # Errors
    /// When the run or its pods cannot be watched.
    pub async fn follow(&self, job: &str, take: impl FnMut(Line)) -> Result<Verdict, TestRunError> {
        let query = Query { selector: format!("{JOB_NAME}={job}"), ..Query::function("", SINCE) };
        let following = self.logs.follow(query.clone());
        let ended = following.until(self.ended(job), LAST_LINES, take).await??;
        Ok(match ended {
            Verdict::Complete => Verdict::Complete,
            Verdict::Failed(why) => {
                let code = self.logs.pods(&query).await?.iter().find_map(exit_code);
                let reported = code.map(|code| format!("exit code {code}"));
                Verdict::Failed(reported.unwrap_or(why))
            }
        })
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
