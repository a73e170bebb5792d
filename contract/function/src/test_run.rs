//! A test run of a cron function: the Job its CronJob would make, made now.
//!
//! Pure. The caller reads the CronJob, draws a number, creates the Job, and follows its pods by
//! the labels; nothing here talks to a cluster. What runs is what the schedule runs, except that
//! it says so ([`names::TEST_RUN`], `KIPPER_TRIGGER=test`), is never repeated, and is cleaned up
//! soon.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::{
        batch::v1::{CronJob, Job, JobSpec},
        core::v1::{Container, EnvVar, PodSpec},
    },
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference},
};

use kipper_trigger::Variable;

use crate::names;

/// Seconds for which the Job and its logs are kept once it ended.
pub const TTL_SECONDS: i32 = 600;
/// Variable that tells the handler what invoked it.
const TRIGGER_VARIABLE: &str = Variable::Trigger.name();
/// Its value in a test run, and in one that `kip dev` is asked for.
pub const TEST: &str = "test";
/// Annotation by which `kubectl create job --from` tells its Jobs from scheduled ones.
const INSTANTIATE: &str = "cronjob.kubernetes.io/instantiate";

/// Why there is nothing to run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TestRunError {
    /// The CronJob was not made for a Function.
    #[error("CronJob {0:?} is not a function's")]
    NotAFunctions(String),
    /// It has no template to run.
    #[error("CronJob {0:?} has no pod template")]
    NoTemplate(String),
}

/// The Job of test run `run` of the function that `cron_job` belongs to. `run` is drawn at random
/// by the caller and becomes part of the name, so that two runs at once are two Jobs.
pub fn job(cron_job: &CronJob, run: u32) -> Result<Job, TestRunError> {
    let meta = &cron_job.metadata;
    let name = meta.name.clone().unwrap_or_default();
    let owner = function_of(cron_job).ok_or_else(|| TestRunError::NotAFunctions(name.clone()))?;
    let template = cron_job.spec.as_ref().map(|spec| &spec.job_template);
    let spec = template.and_then(|template| template.spec.as_ref());
    let spec = spec.ok_or_else(|| TestRunError::NoTemplate(name.clone()))?;
    let template_meta = template.and_then(|template| template.metadata.clone()).unwrap_or_default();
    let mut annotations = template_meta.annotations.unwrap_or_default();
    annotations.insert(INSTANTIATE.to_owned(), "manual".to_owned());
    Ok(Job {
        metadata: ObjectMeta {
            name: Some(names::test_job(&owner.name, run)),
            namespace: meta.namespace.clone(),
            labels: Some(marked(template_meta.labels)),
            annotations: Some(annotations),
            // Whoever starts a test run may create Jobs and need not be allowed to hold up the
            // deletion of Functions, which this field asks for.
            owner_references: Some(vec![OwnerReference { block_owner_deletion: None, ..owner }]),
            ..ObjectMeta::default()
        },
        spec: Some(job_spec(spec, &name)?),
        status: None,
    })
}

/// The Function that controls the CronJob, if this is the CronJob of its schedule.
fn function_of(cron_job: &CronJob) -> Option<OwnerReference> {
    let owners = cron_job.metadata.owner_references.iter().flatten();
    let mut functions = owners.filter(|owner| {
        let group = owner.api_version.split_once('/').map(|(group, _)| group);
        owner.controller == Some(true) && group == Some(names::GROUP) && owner.kind == "Function"
    });
    let owner = functions.next()?;
    let name = cron_job.metadata.name.as_ref()?;
    (*name == names::cron_job(&owner.name)).then(|| owner.clone())
}

fn job_spec(scheduled: &JobSpec, name: &str) -> Result<JobSpec, TestRunError> {
    let mut spec = scheduled.clone();
    spec.backoff_limit = Some(0);
    spec.ttl_seconds_after_finished = Some(TTL_SECONDS);
    let meta = spec.template.metadata.get_or_insert_default();
    meta.labels = Some(marked(meta.labels.take()));
    let pod = spec.template.spec.as_mut();
    set_pod(pod.ok_or_else(|| TestRunError::NoTemplate(name.to_owned()))?);
    Ok(spec)
}

fn set_pod(pod: &mut PodSpec) {
    pod.restart_policy = Some("Never".to_owned());
    pod.containers.iter_mut().for_each(set_trigger);
}

fn set_trigger(container: &mut Container) {
    let env = container.env.get_or_insert_default();
    env.retain(|variable| variable.name != TRIGGER_VARIABLE);
    let (name, value) = (TRIGGER_VARIABLE.to_owned(), Some(TEST.to_owned()));
    env.push(EnvVar { name, value, value_from: None });
}

/// The labels of a scheduled run, its component included, and the one of a test run.
fn marked(labels: Option<BTreeMap<String, String>>) -> BTreeMap<String, String> {
    let mut labels = labels.unwrap_or_default();
    labels.insert(names::COMPONENT.to_owned(), names::BATCH.to_owned());
    labels.insert(names::TEST_RUN.to_owned(), "true".to_owned());
    labels
}
