//! What Deployment, CronJob and pods show of a Function, read from the cache.
//!
//! A poller that ended because its trigger cannot work is believed: the trigger is invalid until it
//! is another one, or until a poller with the same trigger reaches its source. That outlives the
//! pods, in the Function's status.

use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use kipper_function::{
    Function, code,
    function::effective::Workload,
    names::{
        self,
        condition::{READY, TRIGGER_VALID},
    },
};

use crate::{
    cache::{Cache, Failure, Key, Pod, Scaler},
    check::Verdict,
    plan::{Kind, Reason},
    runs::{self, Start},
    status::{Punctuality, Seen},
};

/// Reason of a trigger that its poller refuses.
pub(crate) const REFUSED: &str = "TriggerRefused";
/// Reason of a source that is away, or answers that it cannot do what is needed.
pub(crate) const SOURCE_UNAVAILABLE: &str = "SourceUnavailable";

/// A run that is due starts within this time, whatever the CronJob controller has to do.
const START_MARGIN: Duration = Duration::from_secs(15);

/// What Deployment, CronJob and pods show. `template` is the digest of the one that pods are made of
/// now: those of another one are on their way out, whatever they say.
pub(crate) fn workload(
    cache: &Cache,
    function: &Function,
    key: &Key,
    now: Timestamp,
    template: Option<&str>,
) -> Seen {
    let deployment = cache.objects.get(&(Kind::Deployment, key.clone()));
    let mut pods = pods(cache, key);
    pods.retain(|pod| template.is_none() || pod.template.as_deref() == template);
    let (schedule, next) = schedule(cache, function, key, now).unzip();
    let mut seen = Seen {
        workload: deployment.and_then(|observed| observed.workload),
        scaler: scaler(cache, key),
        schedule,
        runs: runs::status(cache, function, key),
        failure: failure(&pods, function),
        deliveries: cache.deliveries.get(key),
        burst_unavailable: cache.burst_unavailable(),
        serves: pods.iter().any(|pod| pod.ready),
        exit: pods.iter().filter_map(|pod| pod.exit.clone()).max_by_key(|exit| exit.at),
        has_run: false,
        again: next.flatten(),
    };
    match runs::start(cache, function, key) {
        Start::Impossible(failure) => seen.failure = Some(failure),
        Start::Done => seen.has_run = true,
        Start::Unknown => {}
    }
    let limit = function.spec.cold_start_timeout();
    for (since, failure) in pods.iter().filter_map(|pod| silent(pod, function, limit)) {
        let silent = now.duration_since(since).unsigned_abs();
        if silent < limit {
            let again = limit - silent + Duration::from_secs(1);
            seen.again = Some(seen.again.map_or(again, |sooner| sooner.min(again)));
        } else if seen.failure.is_none() {
            seen.failure = Some(failure);
        }
    }
    seen
}

/// Whether runs start when they are due, and when to look again. A run that starts moves
/// `lastScheduleTime` on; one that is skipped, because another one goes on, does not.
fn schedule(
    cache: &Cache,
    function: &Function,
    key: &Key,
    now: Timestamp,
) -> Option<(Punctuality, Option<Duration>)> {
    let trigger = function.spec.cron_trigger()?;
    let cron_job = Key::new(&key.namespace, names::cron_job(&key.name));
    let runs = cache.objects.get(&(Kind::CronJob, cron_job))?.runs?;
    let next = function.spec.schedule().filter(|_| !trigger.suspend);
    let (true, Some(last), Some(next)) = (runs.active, runs.last, next) else {
        return Some((Punctuality::OnTime, None));
    };
    let Some(due) = next.next(last) else { return Some((Punctuality::OnTime, None)) };
    let started_by = due + START_MARGIN;
    match Duration::try_from(started_by.duration_since(now)) {
        Ok(left) if !left.is_zero() => Some((Punctuality::OnTime, Some(left))),
        _ => {
            let deadline = function.spec.cron_deadline().as_secs();
            let message = format!(
                "the run of {last} goes on, and runs that come due meanwhile are skipped; a run is \
                 ended after {deadline} s (deadlineSeconds of the trigger)"
            );
            Some((Punctuality::Skipped(message), None))
        }
    }
}

/// What the newest pod with a fault says. A pod that was evicted stays as an object for long: it
/// counts until a newer one is ready, or the function was ready after it.
fn failure(pods: &[Pod], function: &Function) -> Option<Failure> {
    let status = function.status.as_ref();
    let ready = status.and_then(|status| status.condition(READY)).filter(|c| c.status == "True");
    let ready_since = ready.map(|ready| ready.last_transition_time.0);
    let mut newer_is_ready = false;
    for pod in pods {
        let is_over = pod.evicted_at.is_some_and(|evicted| {
            newer_is_ready || ready_since.is_some_and(|since| since > evicted)
        });
        if let Some(failure) = pod.failure.as_ref().filter(|_| !is_over) {
            return Some(failure.clone());
        }
        newer_is_ready |= pod.ready;
    }
    None
}

/// Why a poller refused the trigger with this digest, or would refuse it, if none has taken it since.
/// What the pods say that exist counts before what a check found, and that before what is remembered.
pub(crate) fn refusal(
    cache: &Cache,
    function: &Function,
    key: &Key,
    digest: &str,
    verdict: Option<&Verdict>,
) -> Option<String> {
    let pods = pods(cache, key);
    let pollers = pods.iter().filter_map(|pod| pod.poller.as_ref());
    let pollers: Vec<_> = pollers.filter(|poller| poller.digest == digest).collect();
    // Beside requests a poller is called ready as soon as it runs, which says nothing.
    if !function.spec.is_http() && pollers.iter().any(|poller| poller.ready) {
        return None;
    }
    let refused = pollers.iter().find_map(|poller| poller.refused.clone());
    refused.or_else(|| match verdict {
        Some(Verdict::Refused(why)) => Some(why.clone()),
        Some(Verdict::Works) => None,
        Some(Verdict::Failing(_) | Verdict::Unreachable(_)) | None => {
            let status = function.status.as_ref()?;
            let kept = status.refused_trigger.as_deref() == Some(digest);
            let condition = status.condition(TRIGGER_VALID).filter(|c| c.reason == REFUSED);
            kept.then(|| condition.map(|c| c.message.clone()).unwrap_or_default())
        }
    })
}

/// KEDA says that its scaler of the function does not work.
pub(crate) fn scaler_fails(cache: &Cache, key: &Key) -> bool {
    matches!(scaler(cache, key), Some(Scaler::Failing(_)))
}

fn scaler(cache: &Cache, key: &Key) -> Option<Scaler> {
    cache.objects.get(&(Kind::ScaledObject, key.clone()))?.scaler
}

/// Why the source of a trigger, which nothing is known to be wrong with, does not do what is needed. A
/// server that KEDA reaches and the controller does not is reached by the function as well.
pub(crate) fn source(
    cache: &Cache,
    function: &Function,
    key: &Key,
    verdict: Option<&Verdict>,
) -> Option<Reason> {
    let why = match verdict {
        Some(Verdict::Failing(why)) => why.clone(),
        Some(Verdict::Unreachable(why)) if scaler(cache, key) != Some(Scaler::Ready) => why.clone(),
        Some(_) => return None,
        None => {
            let former = function.status.as_ref()?.condition(TRIGGER_VALID)?;
            (former.reason == SOURCE_UNAVAILABLE).then(|| former.message.clone())?
        }
    };
    Some(Reason::new(SOURCE_UNAVAILABLE, why))
}

/// Whether nothing has been said of the trigger of this generation.
pub(crate) fn is_untried(function: &Function, verdict: Option<&Verdict>) -> bool {
    let status = function.status.as_ref();
    let former = status.and_then(|status| status.condition(TRIGGER_VALID));
    let is_told = former.is_some_and(|former| {
        former.observed_generation == function.metadata.generation && former.status != "Unknown"
    });
    verdict.is_none() && !is_told
}

/// Serving pods, the newest first: its fault is the newest, and those of a former version say what
/// was repaired.
fn pods(cache: &Cache, key: &Key) -> Vec<Pod> {
    let pods = cache.pods.filter(|_, pod| pod.server && pod.function == *key);
    let mut pods: Vec<_> = pods.into_iter().map(|(_, pod)| pod).collect();
    pods.sort_by_key(|pod| std::cmp::Reverse(pod.created));
    pods
}

/// Since when a pod that does not fail does not get ready either, and what that is if it goes on.
fn silent(pod: &Pod, function: &Function, limit: Duration) -> Option<(Timestamp, Failure)> {
    if pod.failure.is_some() {
        return None;
    }
    let seconds = limit.as_secs();
    if let Some(since) = pod.silent_since {
        let port = function.spec.port();
        let installs = match function.spec.workload() {
            Some(Workload::Inline(runtime, source)) => !code::packages(runtime, source).is_empty(),
            Some(Workload::Image(_)) | None => false,
        };
        let hint = if installs {
            "; installing its packages counts, and timeouts.coldStartSeconds \
             (--cold-start-timeout) gives it longer"
        } else {
            ""
        };
        let message = format!(
            "the container runs but does not answer on port {port}, for {seconds} s so far{hint}"
        );
        return Some((since, Failure { reason: "NotListening", message }));
    }
    if let Some(since) = pod.creating_since {
        let message = format!(
            "the container has not been started for {seconds} s, the download of its image \
             included; the Events of the pod say why"
        );
        return Some((since, Failure { reason: "ContainerCreating", message }));
    }
    let since = pod.poller.as_ref()?.waiting_since?;
    let message =
        format!("the poller has been waiting for its source for {seconds} s; see its log");
    Some((since, Failure { reason: SOURCE_UNAVAILABLE, message }))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
