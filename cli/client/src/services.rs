//! The Services of a namespace, as far as functions use them: which there are, and what a binding
//! injects.

use kipper_function::{FunctionSpec, Service, function::ServiceBinding, service::ServiceKind};
use kipper_trigger::EventTrigger;
use kube::{Api, ResourceExt as _, api::ListParams};

use crate::{ApiError, Connection};

/// Services of a namespace that are looked at.
const MAX_SERVICES: u32 = 1000;

/// A Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// Its name.
    pub name: String,
    /// Its type as it is stored; one of another version has no [`ServiceKind`].
    pub type_: String,
}

impl Known {
    /// What it is.
    pub fn kind(&self) -> Option<ServiceKind> {
        ServiceKind::parse(&self.type_)
    }
}

/// The Services of a namespace.
pub(crate) async fn all(api: &Api<Service>, namespace: &str) -> Result<Vec<Service>, ApiError> {
    let listed = api.list(&ListParams::default().limit(MAX_SERVICES)).await;
    Ok(listed.map_err(|error| ApiError::read(error, "services", namespace))?.items)
}

/// Why a function cannot use a service.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ServiceError {
    /// It is not there.
    #[error("service {name} does not exist in namespace {namespace}; {}", listed(known))]
    Missing {
        /// What was asked for.
        name: String,
        /// Where.
        namespace: String,
        /// What is there.
        known: Vec<Known>,
    },
    /// Its type is none that functions know.
    #[error("service {name} has unknown type {type_}")]
    Unknown {
        /// The service.
        name: String,
        /// Its type.
        type_: String,
    },
    /// It is not what the trigger polls.
    #[error("service {name} has type {type_}, but the trigger needs {needed}")]
    Mismatch {
        /// The service.
        name: String,
        /// Its type.
        type_: String,
        /// What the trigger polls.
        needed: ServiceKind,
    },
    /// Two bindings inject a variable of the same name.
    #[error("{service} and {other} would both inject {variable}: bind one with another prefix")]
    Clash {
        /// One service.
        service: String,
        /// The other.
        other: String,
        /// What both inject.
        variable: String,
    },
}

fn listed(known: &[Known]) -> String {
    if known.is_empty() {
        return "it has no services".to_owned();
    }
    let reported: Vec<_> = known.iter().map(|k| format!("{} ({})", k.name, k.type_)).collect();
    format!("it has {}", reported.join(", "))
}

/// The Services of one namespace, read once.
#[derive(Clone, Debug, Default)]
pub struct Services {
    namespace: String,
    known: Vec<Known>,
}

impl Services {
    /// Reads them.
    ///
    /// # Errors
    /// [`ApiError::Forbidden`] where the user may not.
    pub async fn read(connection: &Connection) -> Result<Self, ApiError> {
        let namespace = connection.namespace.clone();
        let api: Api<Service> = Api::namespaced(connection.client.clone(), &namespace);
        let listed = all(&api, &namespace).await?;
        let known =
            |service: Service| Known { name: service.name_any(), type_: service.spec.type_ };
        Ok(Self { namespace, known: listed.into_iter().map(known).collect() })
    }

    /// All of them.
    pub fn known(&self) -> &[Known] {
        &self.known
    }

    /// What a service is.
    ///
    /// # Errors
    /// When it is not there, or of a type nobody knows.
    pub fn kind(&self, name: &str) -> Result<ServiceKind, ServiceError> {
        let Some(known) = self.known.iter().find(|known| known.name == name) else {
            let (name, namespace) = (name.to_owned(), self.namespace.clone());
            return Err(ServiceError::Missing { name, namespace, known: self.known.clone() });
        };
        let unknown =
            || ServiceError::Unknown { name: name.to_owned(), type_: known.type_.clone() };
        known.kind().ok_or_else(unknown)
    }

    /// Everything of a spec that these services cannot give, trigger first.
    pub fn problems(&self, spec: &FunctionSpec) -> Vec<ServiceError> {
        let mut problems = Vec::new();
        if let Some(event) = spec.event() {
            problems.extend(self.source(&event).err());
        }
        let mut injecting: Vec<(&ServiceBinding, Vec<String>)> = Vec::new();
        for binding in &spec.service_bindings {
            let kind = match self.kind(&binding.name) {
                Ok(kind) => kind,
                Err(problem) => {
                    problems.push(problem);
                    continue;
                }
            };
            let names = injected(binding, kind);
            let clash = injecting.iter().find_map(|(other, theirs)| {
                let variable = names.iter().find(|name| theirs.contains(name))?.clone();
                let (service, other) = (binding.name.clone(), other.name.clone());
                Some(ServiceError::Clash { service, other, variable })
            });
            problems.extend(clash);
            injecting.push((binding, names));
        }
        problems
    }

    fn source(&self, event: &EventTrigger<'_>) -> Result<(), ServiceError> {
        let needed = ServiceKind::from(event.kind);
        match self.kind(event.source())? {
            kind if kind == needed => Ok(()),
            kind => {
                let (name, type_) = (event.source().to_owned(), kind.to_string());
                Err(ServiceError::Mismatch { name, type_, needed })
            }
        }
    }
}

/// Names of the variables that a binding injects, in the order they are shown.
pub fn injected(binding: &ServiceBinding, kind: ServiceKind) -> Vec<String> {
    let prefix = prefix(binding, kind);
    kind.variables().iter().map(|variable| format!("{prefix}{variable}")).collect()
}

/// What the names of these variables begin with.
pub(crate) fn prefix(binding: &ServiceBinding, kind: ServiceKind) -> &str {
    let own = binding.prefix.as_deref().filter(|prefix| !prefix.is_empty());
    own.unwrap_or(kind.default_prefix())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use kipper_function::function::Trigger;

    use super::*;

    fn services(known: &[(&str, &str)]) -> Services {
        let known = known
            .iter()
            .map(|(name, type_)| Known { name: (*name).to_owned(), type_: (*type_).to_owned() });
        Services { namespace: "shop-dev".to_owned(), known: known.collect() }
    }

    fn bound(names: &[(&str, Option<&str>)]) -> FunctionSpec {
        let binding = |(name, prefix): &(&str, Option<&str>)| ServiceBinding {
            name: (*name).to_owned(),
            prefix: prefix.map(str::to_owned),
            ..ServiceBinding::default()
        };
        let service_bindings = names.iter().map(binding).collect();
        FunctionSpec { service_bindings, ..FunctionSpec::default() }
    }

    #[track_caller]
    fn check(services: &Services, spec: &FunctionSpec, expected: &[&str]) {
        let reported: Vec<_> = services.problems(spec).iter().map(ToString::to_string).collect();
        assert_eq!(reported, expected);
    }

    #[test]
    fn what_is_missing_is_told_with_what_is_there() {
        let none = services(&[]);
        let some = services(&[("eventdb", "postgres"), ("odd", "kafka")]);
        let missing = "service db does not exist in namespace shop-dev; it has";
        check(&none, &bound(&[("db", None)]), &[&format!("{missing} no services")]);
        let there = format!("{missing} eventdb (postgres), odd (kafka)");
        check(&some, &bound(&[("db", None), ("eventdb", None)]), &[&there]);
        check(&some, &bound(&[("odd", None)]), &["service odd has unknown type kafka"]);
    }

    #[test]
    fn two_bindings_need_two_prefixes() {
        let services = services(&[("a", "postgres"), ("b", "mysql"), ("c", "redis")]);
        check(&services, &bound(&[("a", None), ("b", Some("MY_")), ("c", None)]), &[]);
        let clash = "b and a would both inject DB_HOST: bind one with another prefix";
        check(&services, &bound(&[("a", None), ("b", Some(""))]), &[clash]);
    }

    #[test]
    fn a_trigger_polls_a_service_of_its_kind() {
        let services = services(&[("mydb", "mysql")]);
        let config = BTreeMap::from([("source".to_owned(), "mydb".to_owned())]);
        let triggers = |type_: &str| {
            vec![Trigger { type_: type_.into(), config: config.clone(), ..Trigger::default() }]
        };
        let spec =
            |type_: &str| FunctionSpec { triggers: triggers(type_), ..FunctionSpec::default() };
        check(&services, &spec("mysql"), &[]);
        let reported = "service mydb has type mysql, but the trigger needs postgres";
        check(&services, &spec("postgres"), &[reported]);
    }

    #[test]
    fn injected_names_follow_the_prefix() {
        let redis = bound(&[("c", None)]).service_bindings.remove(0);
        let names = injected(&redis, ServiceKind::Redis);
        assert_eq!(names, ["REDIS_HOST", "REDIS_PORT", "REDIS_PASSWORD"]);
        let database = bound(&[("a", Some("PG_"))]).service_bindings.remove(0);
        let names = injected(&database, ServiceKind::Postgres);
        assert_eq!(names, ["PG_HOST", "PG_PORT", "PG_USER", "PG_PASSWORD", "PG_NAME"]);
    }
}
