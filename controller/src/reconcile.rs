//! One pass over one Function: gather, render, apply, prune, report.
//!
//! Every pass does the whole; what is in place already costs nothing. What fails is tried again
//! with exponential backoff, or when a watch says that it changed.

use std::{sync::Arc, time::Duration};

use dashmap::DashMap;
use k8s_openapi::jiff::Timestamp;
use kipper_function::{
    Function, FunctionStatus,
    function::SecretKeyStatus,
    names::{self, condition::READY},
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

use crate::{
    apply::{self, Applier, ApplyError},
    cache::{Cache, Key},
    gather::{self, Gathered},
    hosts::{Hosts, Reservation},
    metrics::Metrics,
    namespaces::{NamespaceError, Namespaces},
    observe,
    render::{self, Input, Kind, Object, RenderError, Settings},
    status::{Facts, Reason, status},
    trigger,
};

/// Pauses after failures of one function.
const RETRY: Backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(60));

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
    pub(crate) namespaces: Namespaces,
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
        let mut facts = Facts::default();
        let outcome = self.ensure_objects(function, &key, &mut facts).await;
        let outcome = match outcome {
            Err(ReconcileError::Apply(ApplyError::Taken { kind, key })) => {
                facts.taken = Some(format!("{kind} {key} exists and is not this function's"));
                Err(ReconcileError::Unresolved("an object's name is taken".to_owned()))
            }
            Err(ReconcileError::Namespace(error @ NamespaceError::Denied(_))) => {
                facts.broken = Some(Reason::new("NamespaceDenied", error.to_string()));
                Ok(())
            }
            other => other,
        };
        if let Err(error) = &outcome {
            if forbidden(error) {
                self.namespaces.forget(&key.namespace);
            }
            // An API server that does not answer says nothing about the function.
            let known =
                facts.taken.is_some() || facts.bindings.is_some() || facts.trigger.is_some();
            if !known {
                return outcome.map(|()| Action::await_change());
            }
        }
        let again = observe::workload(&self.cache, function, &key, &mut facts);
        self.report(function, &key, &facts).await?;
        outcome?;
        Ok(again.map_or_else(Action::await_change, Action::requeue))
    }

    async fn ensure_objects(
        &self,
        function: &Function,
        key: &Key,
        facts: &mut Facts,
    ) -> Result<(), ReconcileError> {
        self.namespaces.enter(&key.namespace).await?;
        let problems = function.spec.validate();
        if let Some(problem) = problems.first() {
            let message = problem.to_string();
            if problem.path.starts_with("spec.triggers") {
                facts.trigger = Some(Reason::new("TriggerInvalid", message));
            } else {
                facts.broken = Some(Reason::new("Invalid", message));
            }
            return Ok(());
        }
        if function.spec.is_http() {
            facts.reservation = Some(self.hosts.reserve(function).await?);
        } else if let Some(uid) = function.uid() {
            self.hosts.release(key, &uid).await?;
        }
        let gathered = gather::gather(function, &self.namespaces, &self.metrics).await?;
        facts.secret_keys = self.secret_keys(key, &gathered);
        if let Some(problem) = gathered.problems.first() {
            let messages: Vec<_> = gathered.problems.iter().map(|p| p.message.clone()).collect();
            facts.bindings = Some(Reason::new(problem.reason, messages.join("; ")));
            // The workload stays as it is: pods that run keep what they were given.
            return match gathered.problems.iter().find(|p| p.retry) {
                Some(problem) => Err(ReconcileError::Unresolved(problem.message.clone())),
                None => Ok(()),
            };
        }
        let event = match trigger::prepare(function, &self.namespaces).await? {
            Ok(event) => event,
            Err(problem) => {
                facts.trigger = Some(Reason::new(problem.reason, problem.message.clone()));
                // What is applied stays, a pause of the scaler too.
                facts.refused_trigger =
                    function.status.as_ref().and_then(|status| status.refused_trigger.clone());
                return match problem.retry {
                    true => Err(ReconcileError::Unresolved(problem.message)),
                    false => Ok(()),
                };
            }
        };
        let objects = self.render(function, key, &gathered, event, facts);
        let Some(objects) = objects else { return Ok(()) };
        let owner = apply::Function {
            key: key.clone(),
            uid: function.uid().unwrap_or_default(),
            min_replicas: function.spec.replica_limits().0,
        };
        let before = function.status.as_ref().and_then(|status| status.applied_digest.as_deref());
        facts.applied = Some(self.applier.apply_all(&owner, &objects, before).await?);
        self.applier.prune(&owner, &objects).await?;
        trigger::prune(function, &self.namespaces).await?;
        let left =
            gather::prune(function, &gathered.bindings, &self.namespaces, &self.metrics).await?;
        match left.first() {
            Some(problem) => {
                facts.bindings = Some(Reason::new(problem.reason, problem.message.clone()));
                Err(ReconcileError::Unresolved(problem.message.clone()))
            }
            None => Ok(()),
        }
    }

    /// The objects, or a fact that says why there are none.
    fn render(
        &self,
        function: &Function,
        key: &Key,
        gathered: &Gathered,
        event: Option<render::Event>,
        facts: &mut Facts,
    ) -> Option<Vec<Object>> {
        let host = match &facts.reservation {
            Some(Reservation::Reserved(host)) => Some(host.clone()),
            _ => None,
        };
        let none = std::collections::BTreeSet::new();
        let input = Input {
            function,
            host: host.as_deref(),
            bindings: &gathered.bindings,
            secret_keys: gathered.secret.as_ref().map_or(&none, |secret| &secret.keys),
            secret_digest: gathered.secret.as_ref().map(|secret| secret.digest.as_str()),
            event: event.as_ref(),
        };
        let digest = render::trigger_digest(&input, &self.settings);
        self.judge_trigger(function, key, digest, facts);
        let refused = facts.refused_trigger.is_some();
        let event = event.clone().map(|event| render::Event { refused, ..event });
        let input = Input { event: event.as_ref(), ..input };
        let clashes = render::clashes(&input);
        if !clashes.is_empty() {
            let told: Vec<_> = clashes.iter().map(ToString::to_string).collect();
            let told = told.join("; ");
            let ambiguous = clashes.iter().any(render::Clash::is_ambiguous);
            if ambiguous {
                facts.broken = Some(Reason::new("EnvironmentClash", told.clone()));
            }
            let reason = if ambiguous { "Ambiguous" } else { "Precedence" };
            facts.clash = Some(Reason::new(reason, told));
        }
        match render::render(&input, &self.settings) {
            Ok(objects) => Some(objects),
            // Told above, with every other clash.
            Err(RenderError::Ambiguous(_)) => None,
            Err(error) => {
                facts.broken = Some(Reason::new("Invalid", error.to_string()));
                None
            }
        }
    }

    fn secret_keys(&self, key: &Key, gathered: &Gathered) -> Vec<SecretKeyStatus> {
        let Some(secret) = &gathered.secret else { return Vec::new() };
        let meta = self.cache.secrets.get(&Key::new(&key.namespace, names::secrets(&key.name)));
        let rotations = gather::rotations(meta.as_ref());
        let status = |name: &String| SecretKeyStatus {
            name: name.clone(),
            rotated_at: rotations.get(name).cloned(),
        };
        secret.keys.iter().map(status).collect()
    }

    /// Whether the poller refused the trigger, and what is to be known of one that works.
    fn judge_trigger(
        &self,
        function: &Function,
        key: &Key,
        digest: Option<String>,
        facts: &mut Facts,
    ) {
        let Some(digest) = digest else { return };
        if let Some(message) = observe::refusal(&self.cache, function, key, &digest) {
            facts.trigger = Some(Reason::new(observe::REFUSED, message));
            facts.refused_trigger = Some(digest);
        } else if function.spec.event().is_some_and(|event| event.leaves_no_mark()) {
            let message = "without markDone at most one replica runs, and a row that stays as it is \
                           comes again when that replica is another one";
            facts.trigger_notice = Some(Reason::new("NoMarkDone", message));
        }
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
        self.announce(function, previous, &wanted).await;
        Ok(())
    }

    /// An Event when readiness changes its reason. It is a courtesy: a failure is only logged.
    async fn announce(
        &self,
        function: &Function,
        previous: Option<&FunctionStatus>,
        wanted: &FunctionStatus,
    ) {
        let Some(ready) = wanted.condition(READY) else { return };
        let former = previous.and_then(|status| status.condition(READY));
        let same = |c: &k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition| {
            c.reason == ready.reason && (c.message == ready.message || ready.status == "True")
        };
        if former.is_some_and(same) || (former.is_none() && ready.status == "True") {
            return;
        }
        let type_ = if ready.status == "True" { EventType::Normal } else { EventType::Warning };
        let mut note = ready.message.clone();
        if let Some((end, _)) = note.char_indices().nth(1000) {
            note.truncate(end);
        }
        let event = Event {
            type_,
            reason: ready.reason.clone(),
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
        let why = match left {
            Ok(problems) => problems.first().map(|problem| problem.message.clone()),
            Err(error) => Some(error.to_string()),
        };
        let Some(message) = why else { return Ok(()) };
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
) -> serde_json::Result<serde_json::Value> {
    let mut new = serde_json::to_value(wanted)?;
    let former = previous.map(serde_json::to_value).transpose()?;
    if let (Some(new), Some(former)) =
        (new.as_object_mut(), former.as_ref().and_then(serde_json::Value::as_object))
    {
        for field in former.keys() {
            new.entry(field.clone()).or_insert(serde_json::Value::Null);
        }
    }
    Ok(new)
}
