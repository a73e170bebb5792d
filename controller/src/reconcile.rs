//! One pass over one Function: gather, render, apply, prune, report.
//!
//! Every pass does the whole; what is in place already costs nothing. What fails is tried again
//! with exponential backoff, or when a watch says that it changed.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use dashmap::DashMap;
use k8s_openapi::jiff::Timestamp;
use kipper_function::{
    Function, FunctionStatus,
    function::SecretKeyStatus,
    names::{
        self,
        condition::{EVENTS_DELIVERED, LAST_RUN_SUCCEEDED, ON_SCHEDULE, READY},
    },
};
use kipper_process::backoff::Backoff;
use kube::{
    Api, Client, Resource as _, ResourceExt as _,
    api::{Patch, PatchParams},
    runtime::{
        controller::Action,
        events::{Event, EventType, Recorder},
        finalizer::{self, finalizer},
    },
};
use serde_json::Value;

use crate::{
    apply::{self, Applier, ApplyError},
    cache::{Cache, Key},
    check::{self, Checks, Judged},
    gather, history,
    hosts::Hosts,
    metrics::Metrics,
    namespaces::{NamespaceError, Namespaces, SecretView},
    observe,
    plan::{
        Applied, Blocked, Concern, Kind, Outcome, Pass, Plan, PlanError, Reason, Refusal,
        Reservation, clipped,
    },
    render::{Clash, Draft, Input, RenderError, Settings},
    status::{Facts, status},
    trigger::{self, SourceSecret},
};

/// Pauses after failures of one function.
const RETRY: Backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(60));

/// Longest note of an Event, in characters.
const MAX_NOTE: usize = 1000;

/// Why a pass ended early.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReconcileError {
    #[error("API server")]
    Api(#[from] kube::Error),
    #[error("status")]
    Status(#[from] serde_json::Error),
    #[error(transparent)]
    Apply(#[from] ApplyError),
    #[error(transparent)]
    Namespace(#[from] NamespaceError),
    #[error("{0}")]
    Unresolved(String),
    #[error("finalizer")]
    Finalizer(#[source] Box<finalizer::Error<ReconcileError>>),
}

/// What every pass works with.
pub(crate) struct Context {
    pub(crate) client: Client,
    pub(crate) cache: Arc<Cache>,
    pub(crate) hosts: Hosts,
    pub(crate) namespaces: Arc<Namespaces>,
    pub(crate) checks: Arc<Checks>,
    pub(crate) applier: Applier,
    pub(crate) settings: Settings,
    pub(crate) recorder: Recorder,
    pub(crate) metrics: Arc<Metrics>,
    /// Failures in a row, by function; rows go with a success or the function.
    pub(crate) failures: DashMap<Key, Backoff>,
}

/// One pass.
pub(crate) async fn reconcile(
    function: Arc<Function>,
    ctx: Arc<Context>,
) -> Result<Action, ReconcileError> {
    let key = Key::of(&function.metadata);
    let timer = ctx.metrics.duration.start_timer();
    let api: Api<Function> = Api::namespaced(ctx.client.clone(), &key.namespace);
    let done = finalizer(&api, names::FINALIZER, function, |event| async {
        match event {
            finalizer::Event::Apply(function) => ctx.ensure(&function).await,
            finalizer::Event::Cleanup(function) => ctx.clean_up(&function).await,
        }
    })
    .await;
    timer.observe_duration();
    match done {
        Ok(action) => {
            ctx.metrics.reconciles.with_label_values(&["ok"]).inc();
            ctx.failures.remove(&key);
            Ok(action)
        }
        // Somebody else took the finalizer away, or the namespace went.
        Err(finalizer::Error::RemoveFinalizer(kube::Error::Api(status))) if status.code == 404 => {
            ctx.metrics.reconciles.with_label_values(&["ok"]).inc();
            Ok(Action::await_change())
        }
        Err(error) => {
            ctx.metrics.reconciles.with_label_values(&["error"]).inc();
            Err(match error {
                finalizer::Error::ApplyFailed(e) | finalizer::Error::CleanupFailed(e) => e,
                other => ReconcileError::Finalizer(Box::new(other)),
            })
        }
    }
}

/// When to try again.
pub(crate) fn retry(function: Arc<Function>, error: &ReconcileError, ctx: Arc<Context>) -> Action {
    let key = Key::of(&function.metadata);
    let delay = ctx.failures.entry(key.clone()).or_insert(RETRY).pause();
    let mut cause = std::error::Error::source(error);
    let mut text = error.to_string();
    while let Some(source) = cause {
        text = format!("{text}: {source}");
        cause = source.source();
    }
    tracing::warn!(function = %key, error = text, ?delay, "reconcile failed");
    Action::requeue(delay)
}

impl Context {
    /// Makes the cluster look as the function says.
    async fn ensure(&self, function: &Function) -> Result<Action, ReconcileError> {
        let key = Key::of(&function.metadata);
        let pass = self.prepare(function, &key).await;
        let pass = pass.inspect_err(|error| self.forget_if_forbidden(&key, error))?;
        let (applied, failed) = match &pass.outcome {
            Outcome::Blocked(_) => (Applied::default(), None),
            Outcome::Apply(plan) => match self.apply(function, &key, plan).await {
                Ok(applied) => (applied, None),
                Err(error) => {
                    self.forget_if_forbidden(&key, &error);
                    // An API server that does not answer says nothing about the function; what
                    // its poller says is told all the same.
                    if plan.refusal.is_none() {
                        return Err(error);
                    }
                    (Applied::default(), Some(error))
                }
            },
        };
        let blocked = match &pass.outcome {
            Outcome::Blocked(blocked) => Some(blocked),
            Outcome::Apply(_) => applied.blocked.as_ref(),
        };
        let retried = blocked.filter(|blocked| blocked.retry);
        let retried = retried.map(|it| ReconcileError::Unresolved(it.reason.message.clone()));
        let (template, again) = match &pass.outcome {
            Outcome::Blocked(_) => (None, None),
            Outcome::Apply(plan) => (plan.template(), plan.again),
        };
        let seen = observe::workload(&self.cache, function, &key, Timestamp::now(), template);
        let again = [again, seen.again].into_iter().flatten().min();
        self.report(function, &key, &Facts::new(function, pass, applied, seen)).await?;
        match failed.or(retried) {
            Some(error) => Err(error),
            None => Ok(again.map_or_else(Action::await_change, Action::requeue)),
        }
    }

    fn forget_if_forbidden(&self, key: &Key, error: &ReconcileError) {
        if forbidden(error) {
            self.namespaces.forget(&key.namespace);
        }
    }

    /// Everything up to the moment where something is applied, or nothing is.
    async fn prepare(&self, function: &Function, key: &Key) -> Result<Pass, ReconcileError> {
        match self.namespaces.enter(&key.namespace).await {
            Err(error @ NamespaceError::Denied(_)) => {
                let message = error.to_string();
                let denied = Blocked::new(Concern::Function, "NamespaceDenied", message);
                return Ok(Pass::blocked(denied));
            }
            other => other?,
        }
        if let Some(problem) = function.spec.validate().first() {
            let (concern, reason) = if problem.path.starts_with("spec.triggers") {
                (Concern::Trigger, "TriggerInvalid")
            } else {
                (Concern::Function, "Invalid")
            };
            return Ok(Pass::blocked(Blocked::new(concern, reason, problem.to_string())));
        }
        let mut reservation = None;
        if function.spec.is_http() {
            reservation = Some(self.hosts.reserve(function).await?);
        } else if let Some(uid) = function.uid() {
            self.hosts.release(key, &uid).await?;
        }
        let secret = Key::new(&key.namespace, names::secrets(&key.name));
        let secret = self.namespaces.view(&secret).await?;
        let secret_keys = self.secret_keys(key, secret.as_ref());
        let plan = self.plan(function, key, reservation.as_ref(), secret.as_ref()).await;
        let outcome = match plan {
            Ok(plan) => Outcome::Apply(Box::new(plan)),
            Err(PlanError::Blocked(blocked)) => Outcome::Blocked(blocked),
            Err(PlanError::Api(error)) => return Err(error.into()),
        };
        Ok(Pass { reservation, secret_keys, outcome })
    }

    /// What is to be applied: bindings and trigger in place, and the objects rendered.
    async fn plan(
        &self,
        function: &Function,
        key: &Key,
        reservation: Option<&Reservation>,
        secret: Option<&SecretView>,
    ) -> Result<Plan, PlanError> {
        let bindings = gather::bindings(function, &self.namespaces, &self.metrics).await?;
        let state_bucket = &self.settings.state_bucket;
        let event = trigger::prepare(function, state_bucket, &self.namespaces).await?;
        let none = BTreeSet::new();
        let input = Input {
            function,
            host: match reservation {
                Some(Reservation::Reserved(host)) => Some(host),
                _ => None,
            },
            bindings: &bindings,
            secret_keys: secret.map_or(&none, |secret| &secret.keys),
            secret_digest: secret.map(|secret| secret.digest.as_str()),
            event: event.as_ref(),
        };
        let invalid =
            |error: RenderError| Blocked::new(Concern::Function, "Invalid", error.to_string());
        let draft = Draft::new(&input, &self.settings).map_err(invalid)?;
        let clashes: Vec<_> = draft.clashes().iter().map(ToString::to_string).collect();
        let clashes = clashes.join("; ");
        if draft.clashes().iter().any(Clash::is_ambiguous) {
            let ambiguous = Blocked::new(Concern::Environment, "EnvironmentClash", clashes);
            return Err(ambiguous.into());
        }
        let Judged { verdict, again } = self.judge(function, key, &draft);
        let (cache, verdict) = (&self.cache, verdict.as_ref());
        let (refusal, source, is_untried) = match draft.trigger_digest() {
            Some(digest) => {
                let refused = observe::refusal(cache, function, key, digest, verdict);
                let refusal = refused.map(|message| Refusal {
                    digest: digest.to_owned(),
                    reason: Reason::new(observe::REFUSED, message),
                });
                let source = observe::source(cache, function, key, verdict);
                (refusal, source, observe::is_untried(function, verdict))
            }
            None => (None, None, false),
        };
        let notice = refusal.is_none().then(|| notice(function)).flatten();
        let stamp = |name: &str| history::stamp(&self.cache, function, key, name);
        // Applied after what it is a revision of.
        let revision = draft.revision(stamp).map_err(invalid)?;
        let mut objects = draft.objects(refusal.is_some()).map_err(invalid)?;
        objects.push(revision);
        let clash = (!clashes.is_empty()).then(|| Reason::new("Precedence", clashes));
        Ok(Plan { objects, bindings, refusal, source, is_untried, again, notice, clash })
    }

    /// What is known of the event trigger, tried against its source.
    fn judge(&self, function: &Function, key: &Key, draft: &Draft<'_>) -> Judged {
        let (Some(digest), Some(source)) = (draft.trigger_digest(), SourceSecret::of(function))
        else {
            self.checks.forget(key);
            return Judged { verdict: None, again: None };
        };
        self.checks.judge(check::Subject {
            function: key.clone(),
            digest: digest.to_owned(),
            variables: draft.poller_environment(),
            source,
            scaler_fails: observe::scaler_fails(&self.cache, key),
        })
    }

    /// Carries a plan out, and removes what it does not have any more.
    async fn apply(
        &self,
        function: &Function,
        key: &Key,
        plan: &Plan,
    ) -> Result<Applied, ReconcileError> {
        let owner = apply::Function {
            key: key.clone(),
            uid: function.uid().unwrap_or_default(),
            min_replicas: function.spec.replica_limits().0,
        };
        let before = function.status.as_ref().and_then(|status| status.applied_digest.as_deref());
        let digest = match self.applier.apply_all(&owner, &plan.objects, before).await {
            Err(error @ ApplyError::Taken { .. }) => {
                let taken = Blocked::new(Concern::Name, "NameTaken", error.to_string());
                return Ok(Applied { digest: None, blocked: Some(taken.retried()) });
            }
            other => Some(other?),
        };
        let kept = history::kept(&self.cache, function, key);
        self.applier.prune(&owner, &plan.objects, &kept).await?;
        trigger::prune(function, &self.namespaces).await?;
        let bindings = &plan.bindings;
        match gather::prune(function, bindings, &self.namespaces, &self.metrics).await {
            Ok(()) => Ok(Applied { digest, blocked: None }),
            Err(PlanError::Blocked(blocked)) => Ok(Applied { digest, blocked: Some(blocked) }),
            Err(PlanError::Api(error)) => Err(error.into()),
        }
    }

    fn secret_keys(&self, key: &Key, secret: Option<&SecretView>) -> Vec<SecretKeyStatus> {
        let Some(secret) = secret else { return Vec::new() };
        let meta = self.cache.secrets.get(&Key::new(&key.namespace, names::secrets(&key.name)));
        let rotations = gather::rotations(meta.as_ref());
        let status = |name: &String| SecretKeyStatus {
            name: name.clone(),
            rotated_at: rotations.get(name).cloned(),
        };
        secret.keys.iter().map(status).collect()
    }

    /// Writes the status and an Event, where they differ from what is there.
    async fn report(
        &self,
        function: &Function,
        key: &Key,
        facts: &Facts,
    ) -> Result<(), ReconcileError> {
        let wanted = status(function, facts, Timestamp::now());
        let previous = function.status.as_ref();
        if previous == Some(&wanted) {
            return Ok(());
        }
        let api: Api<Function> = Api::namespaced(self.client.clone(), &key.namespace);
        let patch = serde_json::json!({ "status": replaced(previous, &wanted)? });
        let patched =
            api.patch_status(&key.name, &PatchParams::default(), &Patch::Merge(&patch)).await;
        match patched {
            // Deleted meanwhile.
            Err(kube::Error::Api(status)) if status.code == 404 => return Ok(()),
            other => drop(other?),
        }
        for type_ in [READY, ON_SCHEDULE, LAST_RUN_SUCCEEDED, EVENTS_DELIVERED] {
            self.announce(function, previous, &wanted, type_).await;
        }
        self.announce_exit(function, previous, &wanted).await;
        Ok(())
    }

    /// An Event when a container ended although nothing is wrong with the function otherwise: what is
    /// wrong has an Event already.
    async fn announce_exit(
        &self,
        function: &Function,
        previous: Option<&FunctionStatus>,
        wanted: &FunctionStatus,
    ) {
        let Some(exit) = &wanted.last_exit else { return };
        let former = previous.and_then(|status| status.last_exit.as_ref());
        if former == Some(exit) || !wanted.is_true(READY) {
            return;
        }
        let restarts = exit.restarts;
        let note = match exit.reason.as_str() {
            "OOMKilled" => format!(
                "a container exceeded its memory limit of {}; restarts: {restarts}",
                function.spec.memory_limit()
            ),
            _ => {
                format!("a container ended with exit code {}; restarts: {restarts}", exit.exit_code)
            }
        };
        let reason = if exit.reason == "OOMKilled" { "OutOfMemory" } else { "ContainerExited" };
        self.publish(function, EventType::Warning, reason, note).await;
    }

    /// An Event when a condition changes its reason.
    async fn announce(
        &self,
        function: &Function,
        previous: Option<&FunctionStatus>,
        wanted: &FunctionStatus,
        type_: &str,
    ) {
        let Some(ready) = wanted.condition(type_) else { return };
        let former = previous.and_then(|status| status.condition(type_));
        let former = former.filter(|c| c.status != "Unknown");
        let same = |c: &k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition| {
            c.reason == ready.reason && (c.message == ready.message || ready.status == "True")
        };
        let is_news = ready.status == "False" || (ready.status == "True" && former.is_some());
        if former.is_some_and(same) || !is_news {
            return;
        }
        let type_ = if ready.status == "True" { EventType::Normal } else { EventType::Warning };
        let note = clipped(ready.message.clone(), MAX_NOTE);
        self.publish(function, type_, &ready.reason, note).await;
    }

    /// A failure is only logged: an Event is a courtesy.
    async fn publish(&self, function: &Function, type_: EventType, reason: &str, note: String) {
        let event = Event {
            type_,
            reason: reason.to_owned(),
            note: Some(note),
            action: "Reconcile".to_owned(),
            secondary: None,
        };
        if let Err(error) = self.recorder.publish(&event, &function.object_ref(&())).await {
            tracing::warn!(function = %function.name_any(), %error, "event not published");
        }
    }

    /// Removes what no owner reference can: publication, host, bucket Secret, databases, rights.
    async fn clean_up(&self, function: &Function) -> Result<Action, ReconcileError> {
        let key = Key::of(&function.metadata);
        let uid = function.uid().unwrap_or_default();
        let published = self.cache.objects.filter(|(kind, _), observed| {
            *kind == Kind::Ingress
                && observed.owner.as_ref().is_some_and(|owner| owner.function == key)
        });
        for ((kind, ingress), observed) in published {
            self.applier.delete(kind, &ingress, &observed.uid).await?;
        }
        self.hosts.release(&key, &uid).await?;
        let own = &self.namespaces.account.namespace;
        trigger::retract_bucket(&self.client, own, &key).await?;
        self.drop_databases(function, &key).await?;
        self.namespaces.leave(function).await?;
        self.applier.forget(&key);
        self.checks.forget(&key);
        self.failures.remove(&key);
        Ok(Action::await_change())
    }

    /// Drops databases whose bindings said so. A namespace that is going away takes credentials
    /// and rights with it; a database that cannot be reached then stays, and an Event says so.
    async fn drop_databases(&self, function: &Function, key: &Key) -> Result<(), ReconcileError> {
        let wanted = function.spec.service_bindings.iter().any(|b| b.deletes_database());
        if !wanted {
            return Ok(());
        }
        let left = match self.namespaces.enter(&key.namespace).await {
            Ok(()) => gather::prune(function, &[], &self.namespaces, &self.metrics).await,
            Err(error) => {
                tracing::warn!(function = %key, %error, "databases of a deleted function stay");
                return Ok(());
            }
        };
        let Err(error) = left else { return Ok(()) };
        let message = error.to_string();
        let deleted = function.metadata.deletion_timestamp.as_ref().map(|time| time.0);
        let since = deleted.map(|at| Timestamp::now().duration_since(at).unsigned_abs());
        if since.is_some_and(|since| since > MAX_DROP_TIME) {
            tracing::warn!(function = %key, message, "giving up: databases of a deleted function stay");
            return Ok(());
        }
        Err(ReconcileError::Unresolved(message))
    }
}

/// A deletion waits this long for its databases to be dropped, and then goes on without.
const MAX_DROP_TIME: Duration = Duration::from_secs(120);

/// What is to be known of a trigger that works.
fn notice(function: &Function) -> Option<Reason> {
    let message = "without markDone at most one replica runs, and rows that still match are \
                   delivered again after it is replaced";
    let unmarked = function.spec.event().is_some_and(|event| event.leaves_no_mark());
    unmarked.then(|| Reason::new("NoMarkDone", message))
}

fn forbidden(error: &ReconcileError) -> bool {
    let api = match error {
        ReconcileError::Api(error) => error,
        ReconcileError::Apply(ApplyError::Api { source, .. }) => source,
        ReconcileError::Namespace(NamespaceError::NotSynced(_)) => return true,
        _ => return false,
    };
    matches!(api, kube::Error::Api(status) if status.code == 403)
}

/// A merge patch that replaces the whole status: what is no longer there is null.
fn replaced(
    previous: Option<&FunctionStatus>,
    wanted: &FunctionStatus,
) -> serde_json::Result<Value> {
    let mut new = serde_json::to_value(wanted)?;
    if let Some(former) = previous.map(serde_json::to_value).transpose()? {
        retract(&former, &mut new);
    }
    Ok(new)
}

/// Adds null for each field of `former` that `new` does not have, in objects within objects as well:
/// the recursion is as deep as the types are.
fn retract(former: &Value, new: &mut Value) {
    let (Some(former), Some(new)) = (former.as_object(), new.as_object_mut()) else { return };
    for (field, value) in former {
        match new.get_mut(field) {
            Some(new) => retract(value, new),
            None => drop(new.insert(field.clone(), Value::Null)),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_status_is_replaced_with_all_that_is_in_it() {
        let status = |json: Value| -> FunctionStatus { serde_json::from_value(json).unwrap() };
        let previous = status(json!({
            "phase": "Idle", "endpoint": "https://fn-f.test",
            "schedule": { "activeRun": { "job": "f-1" }, "lastRun": { "job": "f-0", "reason": "R" } },
        }));
        let wanted =
            status(json!({ "phase": "Idle", "schedule": { "lastRun": { "job": "f-1" } } }));
        assert_eq!(
            replaced(Some(&previous), &wanted).unwrap(),
            json!({
                "phase": "Idle", "endpoint": null,
                "schedule": { "activeRun": null, "lastRun": { "job": "f-1", "reason": null } },
            })
        );
        let first = replaced(None, &wanted).unwrap();
        assert_eq!(first, serde_json::to_value(&wanted).unwrap());
    }
}
