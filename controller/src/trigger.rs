//! What an event trigger needs beside the Function: statements that can work, and a Secret by which
//! poller and scaler reach the source.
//!
//! Stands between `gather` and `render`. A trigger that is known to be wrong is never rendered:
//! what was applied for its predecessor stays. The Secret `<fn>-trigger` is made of the Service's
//! own and remembers in annotations what it was made of, so that a pass with nothing to do reads
//! nothing. Values of Secrets appear in no message.

mod bucket;
mod connection;

use std::{collections::BTreeMap, time::Duration};

use k8s_openapi::api::core::v1::Secret;
use kipper_function::{Function, names, service::ServiceKind};
use kipper_trigger::{EventTrigger, Kind, SecretKey, Setting, Values, defaults};
use kube::{
    Resource as _, ResourceExt as _,
    api::{DeleteParams, ObjectMeta, Patch, PatchParams, Preconditions},
};
use tokio::sync::Semaphore;

use crate::{
    bindings,
    cache::{Key, SecretMeta},
    credentials,
    digest::digest,
    namespaces::{Namespaces, SecretView},
    plan::{Blocked, Concern, Event, PlanError},
};

pub(crate) use bucket::retract as retract_bucket;

/// Annotation: digest of what the Secret was made of, and of what it then held.
const PROVISIONED: &str = "kipper.run/provisioned";
/// Annotation: the token of the drain port. It is in the pods too; it keeps nobody out who may read
/// them.
const DRAIN_TOKEN: &str = "kipper.run/drain-token";
/// Annotation: locks that the server holds for all its sessions.
const LOCK_CAPACITY: &str = "kipper.run/lock-capacity";
/// Annotation: digest of what the bucket watcher was told.
const BUCKET: &str = "kipper.run/bucket-trigger";
/// What the values of a Secret are made by: another number, and all are made again.
const REVISION: &str = "3";

/// Locks of a PostgreSQL as it is installed: 64 for each of 100 connections.
const USUAL_LOCK_CAPACITY: u64 = 6400;
/// All pods of a function may have this part of them. Beyond it the server refuses connections of
/// everybody.
const LOCK_SHARE: u64 = 4;
/// Servers asked at a time for their locks.
const MAX_ASKING: usize = 4;
static ASKING: Semaphore = Semaphore::const_new(MAX_ASKING);
const ASK_TIMEOUT: Duration = Duration::from_secs(5);

/// Checks the trigger and makes its Secret; `None` where there is no event trigger.
pub(crate) async fn prepare(
    function: &Function,
    state_bucket: &str,
    namespaces: &Namespaces,
) -> Result<Option<Event>, PlanError> {
    let Some(event) = function.spec.event() else { return Ok(None) };
    let kind = ServiceKind::from(event.kind);
    if let Some(problem) = event.statement_problems().first() {
        let message = format!("{}: {}", problem.key, problem.message);
        return Err(blocked("TriggerInvalid", message).into());
    }
    let me = Key::of(&function.metadata);
    let credentials = source_credentials(kind, event.source(), &me, namespaces).await?;
    let source = Source { function, event, kind, me, credentials, state_bucket };
    let kept = source.keep(namespaces).await?;
    let max_held = held(&event, function.spec.replica_limits().1, kept.lock_capacity)?;
    Ok(Some(Event {
        query: event.query(),
        keys: kept.view.keys.iter().filter_map(|key| SecretKey::parse(key)).collect(),
        digest: kept.view.digest,
        drain_token: kept.drain_token,
        max_held,
    }))
}

/// The Secret of the Service that a trigger takes its events from.
pub(crate) struct SourceSecret {
    pub(crate) kind: ServiceKind,
    pub(crate) service: String,
    pub(crate) secret: Key,
    database: Option<String>,
}

impl SourceSecret {
    /// Of the function's event trigger, if it has one.
    pub(crate) fn of(function: &Function) -> Option<Self> {
        let event = function.spec.event()?;
        let secret = names::service_credentials(event.source());
        Some(Self {
            kind: event.kind.into(),
            service: event.source().to_owned(),
            secret: Key::new(Key::of(&function.metadata).namespace, secret),
            database: event.database().map(str::to_owned),
        })
    }
}

/// What the Secret `<fn>-trigger` has of the source, with hosts as this namespace knows them.
pub(crate) async fn values(
    source: &SourceSecret,
    namespaces: &Namespaces,
) -> Result<Values, PlanError> {
    let SourceSecret { kind, secret, database, .. } = source;
    let held = namespaces.values(secret).await?.unwrap_or_default();
    let values = connection::from_elsewhere(*kind, held, database.as_deref(), &secret.namespace);
    values.map_err(|error| credentials::invalid(Concern::Trigger, secret, error).into())
}

fn blocked(reason: &'static str, message: String) -> Blocked {
    Blocked::new(Concern::Trigger, reason, message)
}

/// Removes what a former event trigger of `function` had.
pub(crate) async fn prune(function: &Function, namespaces: &Namespaces) -> kube::Result<()> {
    if function.spec.event_trigger().is_some() {
        return Ok(());
    }
    let me = Key::of(&function.metadata);
    let key = Key::new(&me.namespace, names::trigger_secret(&me.name));
    let meta = namespaces.cache.secrets.get(&key);
    let Some(meta) = meta.filter(|meta| meta.owner_uid == function.uid()) else { return Ok(()) };
    if meta.annotations.contains_key(BUCKET) {
        bucket::retract(&namespaces.client, &namespaces.account.namespace, &me).await?;
    }
    let uid = Some(meta.uid);
    let preconditions = Some(Preconditions { uid, resource_version: None });
    let params = DeleteParams { preconditions, ..DeleteParams::default() };
    match namespaces.secrets(&key.namespace).delete(&key.name, &params).await {
        Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(()),
        other => other.map(drop),
    }
}

/// How many events one poller may have. Each is a lock of a PostgreSQL's.
fn held(event: &EventTrigger<'_>, replicas: u32, capacity: Option<u64>) -> Result<u32, Blocked> {
    let wanted = event.max_held();
    if event.kind != Kind::Postgres {
        return Ok(wanted.unwrap_or(defaults::MAX_HELD));
    }
    let budget = capacity.unwrap_or(USUAL_LOCK_CAPACITY) / LOCK_SHARE;
    let each = u32::try_from(budget / u64::from(replicas.max(1))).unwrap_or(u32::MAX);
    let held = wanted.unwrap_or_else(|| each.min(defaults::MAX_HELD).max(event.concurrency()));
    match capacity {
        Some(capacity) if held > each => {
            let message = format!(
                "{replicas} replicas with {held} events each would take {} of the server's \
                 {capacity} locks; at most {budget} are allowed: lower maxReplicas, maxHeld or \
                 concurrency, or raise the server's max_locks_per_transaction",
                u64::from(replicas) * u64::from(held),
            );
            Err(blocked("LockBudget", message).retried())
        }
        _ => Ok(held),
    }
}

/// Name and view of the Secret of the Service `name`, which has to be of this kind.
async fn source_credentials(
    kind: ServiceKind,
    name: &str,
    me: &Key,
    namespaces: &Namespaces,
) -> Result<(Key, SecretView), PlanError> {
    let service = Key::new(&me.namespace, name);
    let found = credentials::kind(Concern::Trigger, &service, &namespaces.cache)?;
    if found != kind {
        let message = format!("service {name} has type {found}, but the trigger needs {kind}");
        return Err(blocked("ServiceMismatch", message).into());
    }
    credentials::secret(Concern::Trigger, kind, &service, namespaces).await
}

/// A trigger whose Service was found.
struct Source<'a> {
    function: &'a Function,
    event: EventTrigger<'a>,
    kind: ServiceKind,
    me: Key,
    credentials: (Key, SecretView),
    /// Where events of a bucket wait.
    state_bucket: &'a str,
}

/// The Secret as it is kept.
struct Kept {
    view: SecretView,
    drain_token: String,
    lock_capacity: Option<u64>,
}

impl Source<'_> {
    /// Makes the Secret hold what it has to.
    async fn keep(&self, namespaces: &Namespaces) -> Result<Kept, PlanError> {
        let key = Key::new(&self.me.namespace, names::trigger_secret(&self.me.name));
        let meta = namespaces.cache.secrets.get(&key);
        if meta.as_ref().is_some_and(|meta| meta.owner_uid != self.function.uid()) {
            let message =
                format!("Secret {} already exists and does not belong to this function", key.name);
            return Err(blocked("SecretTaken", message).into());
        }
        let backlog_token = self.backlog_token(namespaces);
        let annotation = |name| meta.as_ref().and_then(|meta| meta.annotations.get(name).cloned());
        if let (Some(meta), Some(view)) = (&meta, namespaces.view(&key).await?)
            && let Some(drain_token) = annotation(DRAIN_TOKEN)
            && annotation(PROVISIONED) == Some(self.state(&view.digest, backlog_token.as_deref()))
            && !self.asks_for_locks(meta)
        {
            let lock_capacity = annotation(LOCK_CAPACITY).and_then(|locks| locks.parse().ok());
            return Ok(Kept { view, drain_token, lock_capacity });
        }
        let credentials = namespaces.values(&self.credentials.0).await?.unwrap_or_default();
        let (database, namespace) = (self.event.database(), &self.me.namespace);
        let values = connection::values(self.kind, &credentials, database, namespace);
        let mut values = values
            .map_err(|error| credentials::invalid(Concern::Trigger, &self.credentials.0, error))?;
        let drain_token = annotation(DRAIN_TOKEN).unwrap_or_else(bindings::new_password);
        values.insert(SecretKey::DrainToken, drain_token.clone());
        let lock_capacity = self.lock_capacity(&credentials).await;
        if self.kind == ServiceKind::Minio {
            self.publish_bucket(&values, namespaces).await?;
        } else if annotation(BUCKET).is_some() {
            let namespace = &namespaces.account.namespace;
            bucket::retract(&namespaces.client, namespace, &self.me).await?;
        }
        let event_token = self.event_token(&key, meta.is_some(), namespaces).await?;
        values.insert(SecretKey::EventToken, event_token);
        if let Some(token) = &backlog_token {
            values.insert(SecretKey::BacklogToken, token.clone());
        }
        let data = values.iter().collect();
        let view = view_of(&data);
        let state = self.state(&view.digest, backlog_token.as_deref());
        self.store(&key, &data, &drain_token, lock_capacity, state, namespaces).await?;
        Ok(Kept { view, drain_token, lock_capacity })
    }

    /// The one that is there, which running pods have, or a new one. Unlike that of the drain port it
    /// stands in the Secret alone.
    async fn event_token(
        &self,
        key: &Key,
        exists: bool,
        namespaces: &Namespaces,
    ) -> kube::Result<String> {
        let held = if exists { namespaces.values(key).await? } else { None };
        let held = held.and_then(|mut held| held.remove(SecretKey::EventToken.name()));
        let token = held.and_then(|token| String::from_utf8(token).ok());
        Ok(token.filter(|token| !token.is_empty()).unwrap_or_else(bindings::new_password))
    }

    /// What its poller reports the backlog with. Events of a bucket nobody needs to report.
    fn backlog_token(&self, namespaces: &Namespaces) -> Option<String> {
        let key = namespaces.backlog_key.as_ref().filter(|_| self.kind != ServiceKind::Minio)?;
        Some(key.token(&self.me.namespace, &self.me.name))
    }

    /// What the Secret is made of, with what it holds.
    fn state(&self, held: &str, backlog_token: Option<&str>) -> String {
        let own = [Setting::Bucket, Setting::Prefix, Setting::Suffix];
        let own = own.map(|setting| self.event.setting(setting).unwrap_or_default());
        let state_bucket = (self.event.kind == Kind::Minio).then_some(self.state_bucket);
        let parts = [REVISION, self.kind.as_str(), &self.credentials.1.digest, held];
        let more = state_bucket.or(self.event.database());
        let parts = parts.iter().chain(&own).chain(&more).chain(&backlog_token);
        digest(parts.map(|part| part.as_bytes()))
    }

    /// Whether the server's locks are unknown still, or were too few when it was asked.
    fn asks_for_locks(&self, meta: &SecretMeta) -> bool {
        let known = meta.annotations.get(LOCK_CAPACITY).and_then(|locks| locks.parse().ok());
        let (_, replicas) = self.function.spec.replica_limits();
        self.kind == ServiceKind::Postgres
            && (known.is_none() || held(&self.event, replicas, known).is_err())
    }

    /// Asks the server how many locks it has; `None` where it does not answer now.
    async fn lock_capacity(&self, credentials: &connection::Credentials) -> Option<u64> {
        if self.kind != ServiceKind::Postgres {
            return None;
        }
        let server = credentials::server(self.kind, credentials, &self.me.namespace).ok()?;
        let _place = ASKING.try_acquire().ok()?;
        let asked = bindings::lock_capacity(&server, ASK_TIMEOUT).await;
        asked
            .inspect_err(|error| tracing::debug!(function = %self.me, %error, "locks are unknown"))
            .ok()
    }

    async fn publish_bucket(&self, values: &Values, namespaces: &Namespaces) -> kube::Result<()> {
        let bucket = bucket::secret(&self.me, &self.event, values, self.state_bucket);
        let namespace = &namespaces.account.namespace;
        bucket::publish(&namespaces.client, namespace, &self.me, &bucket).await
    }

    async fn store(
        &self,
        key: &Key,
        data: &BTreeMap<&str, &str>,
        drain_token: &str,
        lock_capacity: Option<u64>,
        state: String,
        namespaces: &Namespaces,
    ) -> kube::Result<()> {
        let mut annotations = BTreeMap::from([
            (PROVISIONED.to_owned(), state),
            (DRAIN_TOKEN.to_owned(), drain_token.to_owned()),
        ]);
        annotations
            .extend(lock_capacity.map(|locks| (LOCK_CAPACITY.to_owned(), locks.to_string())));
        if self.kind == ServiceKind::Minio {
            annotations.insert(BUCKET.to_owned(), "true".to_owned());
        }
        let secret = Secret {
            metadata: ObjectMeta {
                name: Some(key.name.clone()),
                labels: Some(names::labels(
                    &self.me.name,
                    names::SERVER,
                    self.event.kind.into(),
                    None,
                )),
                annotations: Some(annotations),
                owner_references: self.function.controller_owner_ref(&()).map(|r| vec![r]),
                ..ObjectMeta::default()
            },
            data: Some(connection::data(data.iter().map(|(key, value)| (*key, *value)))),
            ..Secret::default()
        };
        let params = PatchParams::apply(names::FIELD_MANAGER).force();
        let api = namespaces.secrets(&key.namespace);
        let stored = api.patch(&key.name, &params, &Patch::Apply(&secret)).await?;
        namespaces.stored(key, &stored);
        Ok(())
    }
}

/// As [`Namespaces::view`] will see it.
fn view_of(data: &BTreeMap<&str, &str>) -> SecretView {
    let parts = data.iter().flat_map(|(key, value)| [key.as_bytes(), value.as_bytes()]);
    SecretView { keys: data.keys().map(|key| (*key).to_owned()).collect(), digest: digest(parts) }
}

#[cfg(test)]
mod tests;
