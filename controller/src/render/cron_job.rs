//! CronJob `<fn>-cron`: the schedule of a cron trigger.
//!
//! A run that fails is not repeated: the handler may have done half its work, and the schedule
//! brings the next one. One run at a time, and each has an end, or it would hold up all later ones.

use k8s_openapi::api::batch::v1::{CronJob, CronJobSpec, JobSpec, JobTemplateSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kipper_function::{function::Trigger, names};

use super::{
    error::RenderError,
    pod,
    subject::{Subject, seconds},
};

/// Of a schedule that names none: not that of whatever machine the CronJob controller is on.
const DEFAULT_TIME_ZONE: &str = "Etc/UTC";
/// Finished runs that are kept, of each outcome.
const HISTORY: i32 = 3;
/// A run that could not start for this long is skipped. With a deadline Kubernetes counts the
/// runs missed within it only; without one, a hundred missed runs would stop the schedule. It must
/// be longer than the ten seconds between two looks of the CronJob controller.
const STARTING_DEADLINE_SECONDS: i64 = 200;

pub(super) fn cron_job(subject: &Subject<'_>, trigger: &Trigger) -> Result<CronJob, RenderError> {
    let schedule = trigger.schedule().ok_or(RenderError::NoSchedule)?;
    let job = JobSpec {
        backoff_limit: Some(0),
        active_deadline_seconds: Some(seconds(subject.spec().cron_deadline())),
        template: pod::batch(subject),
        ..JobSpec::default()
    };
    let labels = Some(subject.labels(names::BATCH));
    Ok(CronJob {
        metadata: subject.meta(names::cron_job(subject.name), names::BATCH),
        spec: Some(CronJobSpec {
            schedule: schedule.to_owned(),
            time_zone: Some(trigger.time_zone().unwrap_or(DEFAULT_TIME_ZONE).to_owned()),
            concurrency_policy: Some("Forbid".to_owned()),
            starting_deadline_seconds: Some(STARTING_DEADLINE_SECONDS),
            successful_jobs_history_limit: Some(HISTORY),
            failed_jobs_history_limit: Some(HISTORY),
            job_template: JobTemplateSpec {
                metadata: Some(ObjectMeta { labels, ..ObjectMeta::default() }),
                spec: Some(job),
            },
            suspend: trigger.suspend.then_some(true),
        }),
        status: None,
    })
}
