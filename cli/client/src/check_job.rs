//! The Job of a check: one container in the place of a function's pods, which tries something once.

use k8s_openapi::{
    api::{
        batch::v1::{Job, JobSpec},
        core::v1::{Container, PodSpec, PodTemplateSpec, Volume},
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kipper_function::{names, test_run::TTL_SECONDS};

/// A check that takes longer has failed: a connection is given up much sooner, an image that is pulled
/// may take its time.
const DEADLINE_SECONDS: i64 = 120;

/// A check of a function with these pods; its name has a number that is drawn. `None` where the template
/// is none of pods.
pub(crate) fn job(
    function: &str,
    template: &PodTemplateSpec,
    container: Container,
    volumes: Vec<Volume>,
) -> Option<Job> {
    let pod = template.spec.as_ref()?;
    // As far as network policies go it is a pod of the function; neither a Service nor the controller
    // takes it for one.
    let mut labels = template.metadata.as_ref()?.labels.clone().unwrap_or_default();
    labels.remove(names::RESOURCE_TYPE);
    labels.insert(names::COMPONENT.to_owned(), names::BATCH.to_owned());
    labels.insert(names::TEST_RUN.to_owned(), "true".to_owned());
    let meta = ObjectMeta { labels: Some(labels.clone()), ..ObjectMeta::default() };
    let spec = PodSpec {
        containers: vec![container],
        init_containers: None,
        volumes: (!volumes.is_empty()).then_some(volumes),
        restart_policy: Some("Never".to_owned()),
        topology_spread_constraints: None,
        ..pod.clone()
    };
    Some(Job {
        metadata: ObjectMeta {
            name: Some(names::test_job(function, fastrand::u32(..))),
            labels: Some(labels),
            ..ObjectMeta::default()
        },
        spec: Some(JobSpec {
            backoff_limit: Some(0),
            active_deadline_seconds: Some(DEADLINE_SECONDS),
            ttl_seconds_after_finished: Some(TTL_SECONDS),
            template: PodTemplateSpec { metadata: Some(meta), spec: Some(spec) },
            ..JobSpec::default()
        }),
        status: None,
    })
}
