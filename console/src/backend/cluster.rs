//! Functions of a cluster, by `kipper-client`, as `kip` has them: so the two cannot disagree.

use std::{collections::BTreeMap, sync::Arc};

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use kipper_client::{
    ApiError, Connection,
    cluster::{Cluster as Info, SYSTEM_NAMESPACE},
    events,
    functions::{self, Functions},
    history, hosts,
    invoke::Gateway,
    logs::{self, Logs},
    loki::{Address, Loki, Tenant},
    namespaces,
    restart::{self, Restarted},
    secrets::{SecretValue, Secrets},
    services::Services,
    test_run::{TestRunError, TestRuns},
    volumes::{self, Volumes},
};
use kipper_function::{Function, FunctionSpec, host, names};

use super::{Backend, LogQuery, Name, Result, Watch, Written, request};
use crate::{
    Problem, Reason,
    assistant::{Setup, Stored},
    error::FieldProblem,
    model::{
        Checked, Detail, Draft, Event, Failed, Invoke, Invoked, Lines, Meta, New, Outcome,
        Revision, Saved, SecretChanges, Service, Summary, Update, Volume,
    },
};

mod assistant;
mod rights;
mod shown;
mod watch;

pub use assistant::Place;
use rights::{Act, Rights};
use shown::{detail, line, summary};

/// Stands for a name in a host; no cluster's domain has it.
const SOME_NAME: &str = "name-of-some-function";

/// A cluster, as one user sees it.
#[derive(Clone)]
pub struct Cluster {
    connection: Connection,
    user: String,
    system_namespace: String,
    gateway: Arc<Gateway>,
    loki: Option<(Address, Option<Tenant>)>,
    assistant: Place,
    rights: Arc<Rights>,
}

impl Cluster {
    /// By this connection, for whoever it belongs to.
    pub fn new(connection: Connection, user: &str, gateway: Gateway) -> Self {
        Self {
            connection,
            user: user.to_owned(),
            system_namespace: SYSTEM_NAMESPACE.to_owned(),
            gateway: Arc::new(gateway),
            loki: None,
            assistant: Place::default(),
            rights: Arc::default(),
        }
    }

    /// With its lines in this Loki, instead of where its chart says.
    #[must_use]
    pub fn with_loki(self, loki: Option<(Address, Option<Tenant>)>) -> Self {
        Self { loki, ..self }
    }

    /// With the assistant's settings from here, instead of the Secret.
    #[must_use]
    pub fn with_assistant(self, assistant: Place) -> Self {
        Self { assistant, ..self }
    }

    /// With the chart in another namespace than its documentation says.
    #[must_use]
    pub fn with_system_namespace(self, system_namespace: &str) -> Self {
        Self { system_namespace: system_namespace.to_owned(), ..self }
    }

    fn within(&self, namespace: &str) -> Connection {
        self.connection.within(namespace)
    }

    fn functions(&self, namespace: &str) -> Functions {
        Functions::new(&self.within(namespace))
    }

    async fn info(&self) -> Result<Option<Info>> {
        Ok(Info::read(&self.connection, &self.system_namespace).await?)
    }

    async fn function(&self, name: Name<'_>) -> Result<Function> {
        Ok(self.functions(name.namespace).get(name.name).await?)
    }

    /// Why the user may not do it in a namespace, if so.
    async fn refusal(&self, namespace: &str, act: Act) -> Option<String> {
        self.rights.refusal(&self.within(namespace), act).await
    }
}

/// The Function that was read, as far as a write of its spec is about it.
fn as_read(current: &Detail) -> Function {
    let mut function = Function::new(&current.name, current.spec.clone());
    function.metadata.namespace = Some(current.namespace.clone());
    function.metadata.resource_version.clone_from(&current.version);
    function
}

#[async_trait]
impl Backend for Cluster {
    fn user(&self) -> &str {
        &self.user
    }

    async fn meta(&self) -> Result<Meta> {
        let info = self.info().await?;
        let pattern = info.as_ref().and_then(url_pattern);
        Ok(Meta::new("cluster", &self.user, self.namespace(), pattern, BTreeMap::new()))
    }

    fn namespace(&self) -> &str {
        &self.connection.namespace
    }

    async fn namespaces(&self) -> Result<Option<Vec<String>>> {
        Ok(ApiError::allowed(namespaces::list(&self.connection).await)?)
    }

    async fn list(&self, namespace: &str) -> Result<Vec<Summary>> {
        let listed = self.functions(namespace).list().await?;
        Ok(listed.into_iter().map(summary).collect())
    }

    async fn get(&self, name: Name<'_>) -> Result<Detail> {
        let refusal = self.refusal(name.namespace, Act::Change);
        let (function, read_only) = tokio::join!(self.function(name), refusal);
        Ok(Detail { read_only, ..detail(function?) })
    }

    async fn create(&self, namespace: &str, new: New) -> Result<Saved> {
        let connection = self.within(namespace);
        let functions = Functions::new(&connection);
        let mut function = Function::new(&new.name, new.spec);
        function.metadata.namespace = Some(namespace.to_owned());
        if new.secrets.is_empty() {
            let created = functions.create(&function, false).await?;
            return Ok(Saved::created(detail(created), vec!["spec"], None));
        }
        // Its first pods have its secrets; what is refused leaves none behind.
        functions.create(&function, true).await?;
        let name = Name { namespace, name: &new.name };
        self.write_secrets(name, &new.secrets).await?;
        let created = functions.create(&function, false).await;
        let created = created.map_err(|error| Problem::from(error).after(vec!["secrets"]))?;
        let adopted = Secrets::new(&connection).adopt(&created).await;
        let failed = adopted.err().map(|error| Failed {
            step: "secrets",
            error: format!("they were written, but will stay when the function goes: {error}"),
        });
        Ok(Saved::created(detail(created), vec!["secrets", "spec"], failed))
    }

    async fn write(&self, current: &Detail, spec: &FunctionSpec) -> Result<Written> {
        let before = as_read(current);
        let after = Function { spec: spec.clone(), ..before.clone() };
        let written = self.functions(&current.namespace).replace(&before, &after).await?;
        Ok(match written.outcome {
            functions::Outcome::Unchanged => (Outcome::Unchanged, current.clone()),
            _ => (Outcome::Changed, detail(written.function)),
        })
    }

    async fn write_secrets(&self, name: Name<'_>, changes: &SecretChanges) -> Result<()> {
        let connection = self.within(name.namespace);
        let secrets = Secrets::new(&connection);
        if !changes.set.is_empty() {
            let values = changes.set.iter().map(|(key, value)| {
                SecretValue::new(value.clone()).map(|value| (key.clone(), value))
            });
            let values = values.collect::<Result<_, _>>()?;
            secrets.set(name.name, &values).await?;
        }
        if !changes.delete.is_empty() {
            secrets.delete(name.name, &changes.delete).await?;
        }
        Ok(())
    }

    async fn delete(&self, name: Name<'_>) -> Result<()> {
        Ok(self.functions(name.namespace).delete(name.name).await?)
    }

    async fn check(&self, draft: &Draft) -> Result<Checked> {
        let connection = self.within(&draft.namespace);
        let mut checked = Checked::default();
        let services = ApiError::allowed(Services::read(&connection).await)?;
        for problem in services.iter().flat_map(|services| services.problems(&draft.spec)) {
            checked.warnings.push(problem.to_string());
        }
        let is_named = names::check_function_name(&draft.name).is_ok();
        if draft.is_new && is_named && draft.spec.is_http() {
            let info = self.info().await?;
            let system = self.system_namespace.as_str();
            let taken = hosts::taken(&connection, info.as_ref(), system, &draft.name).await?;
            if let Some(taken) = taken {
                let path = "metadata.name".to_owned();
                checked.problems.push(FieldProblem { path, message: taken.to_string() });
            }
        }
        let volumes = Volumes::new(&connection);
        for volume in &draft.spec.volumes {
            if ApiError::allowed(volumes.exists(&volume.name).await)? == Some(false) {
                checked.warnings.push(format!("volume {} does not exist yet", volume.name));
            }
        }
        Ok(checked)
    }

    async fn services(&self, namespace: &str) -> Result<Vec<Service>> {
        let connection = self.within(namespace);
        let known = Services::read(&connection).await?;
        let known = known.known().iter().map(|known| Service {
            name: known.name.clone(),
            kind: known.kind().map(|kind| kind.as_str().to_owned()),
            problem: known
                .kind()
                .is_none()
                .then(|| format!("its type {} cannot be bound", known.type_)),
        });
        Ok(known.collect())
    }

    async fn volumes(&self, namespace: &str) -> Result<Vec<Volume>> {
        let connection = self.within(namespace);
        let volumes = Volumes::new(&connection);
        let listed = volumes.list().await?;
        let functions = self.functions(namespace).list().await?;
        let shown = listed.into_iter().map(|(volume, _)| Volume {
            mounted_by: volumes::mounted_by(&functions, &volume.name),
            name: volume.name,
            size: volume.size,
        });
        Ok(shown.collect())
    }

    async fn logs(&self, name: Name<'_>, query: &LogQuery) -> Result<Lines> {
        let connection = self.within(name.namespace);
        let asked = logs::Query {
            search: query.search.clone(),
            ..logs::Query::function(name.name, query.since)
        };
        let loki = match &self.loki {
            Some(loki) => Some(loki.clone()),
            None => self.info().await?.and_then(|info| Some((info.loki?, info.loki_tenant))),
        };
        let (recent, source) = match loki {
            Some((address, tenant)) => {
                let loki = Loki::new(&connection, address, tenant.as_ref());
                let recent = loki.recent(name.name, &asked).await;
                let unreachable = |e: kipper_client::loki::LokiError| {
                    Problem::new(Reason::Unreachable, e.to_string())
                };
                (recent.map_err(unreachable)?, "loki")
            }
            None => (Logs::new(&connection).recent(&asked).await?, "pods"),
        };
        let lines = recent.lines.into_iter().map(line).collect();
        Ok(Lines { lines, notices: recent.notices, source })
    }

    async fn events(&self, name: Name<'_>) -> Result<Vec<Event>> {
        let connection = self.within(name.namespace);
        let found = events::about(&connection, name.name).await?;
        let shown = found.into_iter().map(|event| Event {
            time: event.time,
            type_: event.type_,
            reason: event.reason,
            message: event.message,
        });
        Ok(shown.collect())
    }

    async fn revisions(&self, name: Name<'_>) -> Result<Vec<Revision>> {
        let function = self.function(name).await?;
        let history = history::read(&self.within(name.namespace), &function).await?;
        let current = history.current;
        let shown = history.entries.into_iter().rev().map(|entry| Revision {
            number: entry.revision.number,
            created: entry.revision.changed_at.as_ref().map(|time| time.0),
            cause: entry.revision.cause,
            is_current: current == Some(entry.revision.number),
            spec: entry.revision.spec,
        });
        Ok(shown.collect())
    }

    async fn create_refusal(&self, namespace: &str) -> Option<String> {
        self.refusal(namespace, Act::Create).await
    }

    async fn restart(&self, name: Name<'_>) -> Result<Option<&'static str>> {
        Ok(match restart::restart(&self.functions(name.namespace), name.name).await? {
            Restarted::Begun(_) => None,
            Restarted::Nothing(_, why) => Some(why),
        })
    }

    async fn test_run(&self, name: Name<'_>) -> Result<String> {
        let function = self.function(name).await?;
        let runs = TestRuns::new(&self.within(name.namespace));
        runs.start(&function).await.map_err(|error| match error {
            TestRunError::Api(error) => error.into(),
            error => Problem::new(Reason::Unsupported, error.to_string()),
        })
    }

    async fn invoke(&self, name: Name<'_>, invoke: Invoke) -> Result<Invoked> {
        let function = self.function(name).await?;
        let url = function.status.and_then(|status| status.endpoint);
        let none = || Problem::new(Reason::Unsupported, "the function has no URL yet");
        request::send(&self.gateway, &url.ok_or_else(none)?, &invoke).await
    }

    async fn assistant(&self) -> Result<Setup> {
        assistant::read(&self.assistant, &self.connection, &self.system_namespace).await
    }

    async fn set_assistant(&self, stored: Option<&Stored>) -> Result<()> {
        let system = &self.system_namespace;
        assistant::write(&self.assistant, &self.connection, system, stored).await
    }

    fn watch(&self, watch: Watch) -> BoxStream<'static, Update> {
        let connection = self.within(&watch.namespace);
        watch::follow(connection, Arc::clone(&self.rights), watch)
    }
}

/// Where a function of some name is reached.
fn url_pattern(info: &Info) -> Option<String> {
    let parents: Vec<&str> = info.shared_parents.iter().map(String::as_str).collect();
    let host = host::host(SOME_NAME, &info.domain, &parents).ok()?;
    Some(format!("https://{}", host.replace(SOME_NAME, "{name}")))
}
