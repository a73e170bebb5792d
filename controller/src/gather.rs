//! What a Function's workload needs from others: its Secret and its bindings, whose databases are
//! created here.
//!
//! A database's credentials are stored before the database is made, so that no password is ever
//! lost; an annotation says for what the Secret was provisioned last. A problem is reported and
//! leaves the workload as it is.

use std::{collections::BTreeMap, time::Duration};

use k8s_openapi::{ByteString, api::core::v1::Secret};
use kipper_function::{
    Function, names,
    service::{
        ServiceKind,
        credentials::{HOST, NAME, PASSWORD, PORT, USERNAME},
    },
};
use kube::{
    Resource as _, ResourceExt as _,
    api::{DeleteParams, ObjectMeta, Patch, PatchParams, Preconditions},
};

use tokio::sync::Semaphore;

use crate::{
    bindings::{self, Grant, Server},
    cache::{Key, SecretMeta},
    credentials,
    digest::digest,
    metrics::Metrics,
    namespaces::{Namespaces, SecretView},
    plan::{Binding, Blocked, Concern, PlanError, Reason},
};

/// Annotation: digest of the server, names and policy a binding's Secret was provisioned for.
const PROVISIONED: &str = "kipper.run/provisioned";
/// Annotation: the Service of a binding's Secret.
const SERVICE: &str = "kipper.run/service";
/// Annotation: database of a binding's Secret.
const DATABASE: &str = "kipper.run/database";
/// Annotation: its user.
const USER: &str = "kipper.run/database-user";
/// Annotation: `Delete` where the database goes with its binding.
const DELETION_POLICY: &str = "kipper.run/deletion-policy";
/// Databases provisioned at a time: fewer than the workers, so that servers that do not answer hold
/// up only functions that need them. Beyond it a binding waits for its next try.
const MAX_PROVISIONING: usize = 6;
static PROVISIONING: Semaphore = Semaphore::const_new(MAX_PROVISIONING);
/// One statement or connection of a provisioning may take this long.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Provisions and reads the bindings of `function`, in their order.
pub(crate) async fn bindings(
    function: &Function,
    namespaces: &Namespaces,
    metrics: &Metrics,
) -> Result<Vec<Binding>, PlanError> {
    let me = Key::of(&function.metadata);
    let (mut bindings, mut problems) = (Vec::new(), Vec::new());
    for wanted in &function.spec.service_bindings {
        match resolve(function, &me, wanted, namespaces, metrics).await {
            Ok(binding) => bindings.push(binding),
            Err(PlanError::Blocked(problem)) => problems.push(problem),
            Err(error) => return Err(error),
        }
    }
    match problems.first() {
        None => Ok(bindings),
        Some(first) => {
            let messages: Vec<_> = problems.iter().map(|it| it.reason.message.as_str()).collect();
            let reason = Reason::new(first.reason.reason, messages.join("; "));
            let retry = problems.iter().any(|problem| problem.retry);
            Err(Blocked { concern: Concern::Bindings, reason, retry }.into())
        }
    }
}

fn blocked(reason: &'static str, message: String) -> Blocked {
    Blocked::new(Concern::Bindings, reason, message)
}

async fn resolve(
    function: &Function,
    me: &Key,
    wanted: &kipper_function::function::ServiceBinding,
    namespaces: &Namespaces,
    metrics: &Metrics,
) -> Result<Binding, PlanError> {
    let service = Key::new(&me.namespace, &wanted.name);
    let kind = credentials::kind(Concern::Bindings, &service, &namespaces.cache)?;
    let found = credentials::secret(Concern::Bindings, kind, &service, namespaces).await?;
    let (credentials, view) = found;
    let prefix = wanted.prefix.clone().filter(|prefix| !prefix.is_empty());
    let prefix = prefix.unwrap_or_else(|| kind.default_prefix().to_owned());
    if !kind.is_database() {
        // The pod takes the values as they are.
        kind.check_keys(&[], |key| view.keys.contains(key))
            .map_err(|missing| credentials::invalid(Concern::Bindings, &credentials, missing))?;
        let (secret, digest) = (credentials.name, view.digest);
        return Ok(Binding { kind, prefix, secret, digest });
    }
    let database = Database { function, me, wanted, kind, credentials, view };
    let (secret, digest) = database.provision(namespaces, metrics).await?;
    Ok(Binding { kind, prefix, secret, digest })
}

/// Whether the Secret of a binding says that this database was provisioned for it.
fn provisioned(meta: &SecretMeta, database: &str) -> bool {
    meta.annotations.contains_key(PROVISIONED)
        && meta.annotations.get(DATABASE).is_some_and(|name| name == database)
}

/// One database binding.
struct Database<'a> {
    function: &'a Function,
    me: &'a Key,
    wanted: &'a kipper_function::function::ServiceBinding,
    kind: ServiceKind,
    credentials: Key,
    view: SecretView,
}

impl Database<'_> {
    /// Name and digest of the Secret with the function's own credentials.
    async fn provision(
        &self,
        namespaces: &Namespaces,
        metrics: &Metrics,
    ) -> Result<(String, String), PlanError> {
        let key =
            Key::new(&self.me.namespace, names::binding_secret(&self.me.name, &self.wanted.name));
        let meta = namespaces.cache.secrets.get(&key);
        if meta.as_ref().is_some_and(|m| m.owner_uid != self.function.uid()) {
            let message =
                format!("Secret {} already exists and does not belong to this function", key.name);
            return Err(blocked("SecretTaken", message).into());
        }
        let (database, user) = self.names(meta.as_ref(), namespaces).await?;
        let state = self.state(&database, &user);
        let is_current = |m: &SecretMeta| m.annotations.get(PROVISIONED) == Some(&state);
        if meta.as_ref().is_some_and(is_current)
            && let Some(view) = namespaces.view(&key).await?
        {
            return Ok((key.name, view.digest));
        }
        let Ok(_place) = PROVISIONING.try_acquire() else {
            let message = "waiting until other databases are provisioned".to_owned();
            return Err(blocked("DatabaseWaiting", message).retried().into());
        };
        let values = namespaces.values(&self.credentials).await?.unwrap_or_default();
        let server = credentials::server(self.kind, &values, &self.me.namespace)
            .map_err(|error| credentials::invalid(Concern::Bindings, &self.credentials, error))?;
        if let Some(database) = self.wanted.database() {
            self.require(database, meta.as_ref(), &server).await?;
        }
        let kept = namespaces.values(&key).await?;
        let kept = kept.and_then(|mut values| values.remove(PASSWORD));
        let password = kept.and_then(|bytes| String::from_utf8(bytes).ok());
        let password = password.unwrap_or_else(bindings::new_password);
        let owner = self.me.to_string();
        let adopt = self.wanted.database().is_some();
        let grant = Grant { database, user, password, owner, adopt };
        self.store(&key, &values, &grant, None, namespaces).await?;
        if let Err(error) = bindings::ensure(self.kind, &server, &grant, TIMEOUT).await {
            metrics.bindings.with_label_values(&["failed"]).inc();
            let message = format!("database {} of {}: {error}", grant.database, self.wanted.name);
            return Err(blocked("DatabaseFailed", message).retried().into());
        }
        metrics.bindings.with_label_values(&["created"]).inc();
        self.store(&key, &values, &grant, Some(&state), namespaces).await?;
        // The watch brings the new version; until then the view is made from what was stored.
        let not_seen = || {
            blocked(
                "DatabaseNotSeen",
                format!("waiting for Secret {}, which was just written", key.name),
            )
            .retried()
        };
        let view = namespaces.view(&key).await?.ok_or_else(not_seen)?;
        Ok((key.name, view.digest))
    }

    /// Makes sure that a database the binding names is there, or may be created: a misspelt name would
    /// create another one. One that was provisioned for this binding before is what it was. Looked
    /// for before anything is written, so that what runs keeps the credentials it has.
    async fn require(
        &self,
        database: &str,
        meta: Option<&SecretMeta>,
        server: &Server,
    ) -> Result<(), Blocked> {
        if self.wanted.create_database || meta.is_some_and(|meta| provisioned(meta, database)) {
            return Ok(());
        }
        let service = &self.wanted.name;
        match bindings::exists(self.kind, server, database, TIMEOUT).await {
            Ok(true) => Ok(()),
            Ok(false) => {
                let message = format!(
                    "database {database} does not exist on service {service}: correct the name, \
                     create it there, or have it created with `kip function bind {} {service} \
                     --database {database} --create-database` (createDatabase: true)",
                    self.me.name
                );
                Err(blocked("DatabaseNotFound", message).retried())
            }
            Err(error) => {
                let message = format!("database {database} of {service}: {error}");
                Err(blocked("DatabaseFailed", message).retried())
            }
        }
    }

    /// Names of database and user: as provisioned before, unless the binding says otherwise.
    async fn names(
        &self,
        meta: Option<&SecretMeta>,
        namespaces: &Namespaces,
    ) -> kube::Result<(String, String)> {
        let annotation = |name| meta.and_then(|m| m.annotations.get(name).cloned());
        let chosen = self.wanted.database().map(str::to_owned);
        if let (Some(user), Some(database)) =
            (annotation(USER), chosen.clone().or_else(|| annotation(DATABASE)))
        {
            return Ok((database, user));
        }
        let environment = namespaces.environment(&self.me.namespace).await?;
        let (service, function) = (&self.wanted.name, &self.me.name);
        let own = || names::database(self.kind, service, function, &environment);
        let user = names::database_user(self.kind, service, function, &environment);
        Ok((chosen.unwrap_or_else(own), user))
    }

    fn deletes(&self) -> bool {
        self.wanted.deletes_database()
    }

    fn state(&self, database: &str, user: &str) -> String {
        let policy = if self.deletes() { "Delete" } else { "Retain" };
        digest([&self.view.digest, database, user, policy].map(str::as_bytes))
    }

    /// Writes the Secret; without `state` it says that provisioning has begun.
    async fn store(
        &self,
        key: &Key,
        server: &BTreeMap<String, Vec<u8>>,
        grant: &Grant,
        state: Option<&str>,
        namespaces: &Namespaces,
    ) -> kube::Result<()> {
        let mut annotations = BTreeMap::from([
            (SERVICE.to_owned(), self.wanted.name.clone()),
            (DATABASE.to_owned(), grant.database.clone()),
            (USER.to_owned(), grant.user.clone()),
        ]);
        if self.deletes() {
            annotations.insert(DELETION_POLICY.to_owned(), "Delete".to_owned());
        }
        annotations.extend(state.map(|state| (PROVISIONED.to_owned(), state.to_owned())));
        let mut data: BTreeMap<String, ByteString> = server
            .iter()
            .filter(|(name, _)| [HOST, PORT].contains(&name.as_str()))
            .map(|(name, value)| (name.clone(), ByteString(value.clone())))
            .collect();
        for (name, value) in
            [(USERNAME, &grant.user), (PASSWORD, &grant.password), (NAME, &grant.database)]
        {
            data.insert(name.to_owned(), ByteString(value.clone().into_bytes()));
        }
        let function = self.function;
        let trigger = function.spec.main_trigger();
        let secret = Secret {
            metadata: ObjectMeta {
                name: Some(key.name.clone()),
                labels: Some(names::labels(&self.me.name, names::SERVER, trigger, None)),
                annotations: Some(annotations),
                owner_references: function.controller_owner_ref(&()).map(|r| vec![r]),
                ..ObjectMeta::default()
            },
            data: Some(data),
            ..Secret::default()
        };
        let params = PatchParams::apply(names::FIELD_MANAGER).force();
        let api = namespaces.secrets(&key.namespace);
        let stored = api.patch(&key.name, &params, &Patch::Apply(&secret)).await?;
        namespaces.stored(key, &stored);
        Ok(())
    }
}

/// Drops what the bindings of `function` had that are not in `kept` any more: the Secret always,
/// database and user where the binding said so. Blocked by the first database that could not be
/// dropped, after all others were.
pub(crate) async fn prune(
    function: &Function,
    kept: &[Binding],
    namespaces: &Namespaces,
    metrics: &Metrics,
) -> Result<(), PlanError> {
    let me = Key::of(&function.metadata);
    let uid = function.uid();
    let stale = namespaces.cache.secrets.filter(|key, meta| {
        key.namespace == me.namespace
            && uid.is_some()
            && meta.owner_uid == uid
            && meta.annotations.contains_key(SERVICE)
            && !kept.iter().any(|binding| binding.secret == key.name)
    });
    let mut problem = None;
    for (key, meta) in stale {
        if meta.annotations.get(DELETION_POLICY).is_some_and(|policy| policy == "Delete") {
            match drop_database(&me, &key, &meta, namespaces).await {
                Ok(()) => metrics.bindings.with_label_values(&["dropped"]).inc(),
                Err(PlanError::Blocked(blocked)) => {
                    problem.get_or_insert(blocked);
                    continue;
                }
                Err(error) => return Err(error),
            }
        }
        let params = DeleteParams {
            preconditions: Some(Preconditions {
                uid: Some(meta.uid.clone()),
                resource_version: None,
            }),
            ..DeleteParams::default()
        };
        match namespaces.secrets(&key.namespace).delete(&key.name, &params).await {
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => {}
            other => drop(other?),
        }
    }
    problem.map_or(Ok(()), |blocked| Err(blocked.into()))
}

async fn drop_database(
    function: &Key,
    key: &Key,
    meta: &SecretMeta,
    namespaces: &Namespaces,
) -> Result<(), PlanError> {
    let annotation = |name| meta.annotations.get(name).cloned().unwrap_or_default();
    let (service, database, user) = (annotation(SERVICE), annotation(DATABASE), annotation(USER));
    let failed = |message: String| blocked("DatabaseNotDropped", message).retried();
    let type_ = namespaces.cache.services.get(&Key::new(&key.namespace, &service));
    let Some(kind) = type_.as_deref().and_then(ServiceKind::parse) else {
        // Its server is gone, and the database with it.
        return Ok(());
    };
    let credentials = Key::new(&key.namespace, names::service_credentials(&service));
    let Some(values) = namespaces.values(&credentials).await? else {
        return Err(failed(format!("Secret {} does not exist", credentials.name)).into());
    };
    let owner = function.to_string();
    let dropped = match credentials::server(kind, &values, &key.namespace) {
        Ok(server) => bindings::remove(kind, &server, &database, &user, &owner, TIMEOUT).await,
        Err(error) => Err(error),
    };
    dropped.map_err(|error| failed(format!("database {database} of {service}: {error}")))?;
    Ok(())
}

/// An annotation that [`names::SECRET_ROTATIONS`] keeps: when each key was given another value.
pub(crate) fn rotations(meta: Option<&SecretMeta>) -> BTreeMap<String, String> {
    let text = meta.and_then(|meta| meta.annotations.get(names::SECRET_ROTATIONS));
    // Whoever wrote nonsense there loses the times, not the function.
    text.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
}
