//! A Service with its Secret `<service>-credentials`, as users make and change it.
//!
//! Values go in. What comes out is where the server is and which keys there are; user names,
//! passwords and keys never do. The Secret belongs to the Service and goes with it; one that others
//! made is changed and left behind.

use std::collections::BTreeMap;

use k8s_openapi::{
    ByteString, api::core::v1::Secret, apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kipper_function::{
    Function, Service,
    function::ServiceBinding,
    names,
    service::{ServiceKind, ServiceSpec, credentials as keys},
};
use kipper_trigger::Kind;
use kube::{
    Api, ResourceExt as _,
    api::{DeleteParams, Patch, Preconditions},
};
use serde_json::{Value, json};

use crate::{ApiError, Connection, params, secrets::SecretValue, services};

/// Value of `kipper.run/resource-type` on their Secrets.
const SERVICE: &str = "service";

/// Keys of the Secret and what they are to hold.
pub type Values = BTreeMap<&'static str, SecretValue>;

/// What may be known of a Service's Secret.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// Name of the Secret.
    pub secret: String,
    /// Its keys.
    pub keys: Vec<String>,
    /// Keys that the Service's kind needs, and that are missing or empty.
    pub missing: Vec<&'static str>,
    /// `host:port`, or the URL of a bucket store.
    pub address: Option<String>,
    /// Database that the Secret names.
    pub database: Option<String>,
}

/// The Services of one namespace.
#[derive(Clone)]
pub struct Credentials {
    services: Api<Service>,
    secrets: Api<Secret>,
    namespace: String,
}

impl Credentials {
    /// Those of the connection's namespace.
    pub fn new(connection: &Connection) -> Self {
        let (client, namespace) = (connection.client.clone(), connection.namespace.clone());
        let secrets = Api::namespaced(client.clone(), &namespace);
        Self { services: Api::namespaced(client, &namespace), secrets, namespace }
    }

    fn error(&self, what: String) -> impl Fn(kube::Error) -> ApiError {
        let namespace = self.namespace.clone();
        move |error| ApiError::read(error, &what, &namespace)
    }

    fn of_service(&self, name: &str) -> impl Fn(kube::Error) -> ApiError {
        self.error(format!("service {name}"))
    }

    fn of_secret(&self, name: &str) -> impl Fn(kube::Error) -> ApiError {
        self.error(format!("Secret {}", names::service_credentials(name)))
    }

    /// Makes a Service and its Secret.
    ///
    /// # Errors
    /// [`ApiError::Exists`] where there is one of them.
    pub async fn create(
        &self,
        name: &str,
        kind: ServiceKind,
        values: &Values,
    ) -> Result<Service, ApiError> {
        let service = Service::new(name, ServiceSpec { type_: kind.as_str().to_owned() });
        let created = self.services.create(&params::post(), &service).await;
        let service = created.map_err(self.of_service(name))?;
        match self.secrets.create(&params::post(), &secret(&service, values)).await {
            Ok(_) => Ok(service),
            Err(error) => {
                // A Service without its Secret is of no use. Where it cannot be taken back either,
                // the user learns why the Secret failed.
                let _ = self.services.delete(name, &only(&service)).await;
                Err(self.of_secret(name)(error))
            }
        }
    }

    /// A Service.
    ///
    /// # Errors
    /// [`ApiError::NotFound`] where there is none.
    pub async fn get(&self, name: &str) -> Result<Service, ApiError> {
        self.services.get(name).await.map_err(self.of_service(name))
    }

    /// Every Service, by name.
    ///
    /// # Errors
    /// Whatever the cluster says.
    pub async fn list(&self) -> Result<Vec<Service>, ApiError> {
        let mut found = services::all(&self.services, &self.namespace).await?;
        found.sort_by_key(Service::name_any);
        Ok(found)
    }

    /// What may be known of a Service's Secret; `None` where there is none.
    ///
    /// # Errors
    /// [`ApiError::Forbidden`] where the user may not read it.
    pub async fn known(&self, service: &Service) -> Result<Option<Known>, ApiError> {
        let name = service.name_any();
        let found = self.secrets.get_opt(&names::service_credentials(&name)).await;
        let found = found.map_err(self.of_secret(&name))?;
        Ok(found.map(|secret| known(service.spec.kind(), &secret)))
    }

    /// Gives keys of a Service's Secret other values, or takes them away; makes the Secret where
    /// there is none.
    ///
    /// # Errors
    /// Whatever the cluster says.
    pub async fn update(
        &self,
        service: &Service,
        changes: &BTreeMap<&'static str, Option<SecretValue>>,
    ) -> Result<(), ApiError> {
        let name = service.name_any();
        let patch = Patch::Merge(patch(changes));
        let patched =
            self.secrets.patch(&names::service_credentials(&name), &params::patch(), &patch).await;
        match patched.map_err(self.of_secret(&name)) {
            Err(ApiError::NotFound { .. }) => {
                let values = changes.iter().filter_map(|(key, it)| Some((*key, it.clone()?)));
                let made =
                    self.secrets.create(&params::post(), &secret(service, &values.collect())).await;
                made.map(drop).map_err(self.of_secret(&name))
            }
            patched => patched.map(drop),
        }
    }

    /// Deletes a Service, and with it the Secret that belongs to it; whether a Secret of others
    /// stays.
    ///
    /// # Errors
    /// [`ApiError::NotFound`] where there is none.
    pub async fn delete(&self, service: &Service) -> Result<bool, ApiError> {
        let name = service.name_any();
        let secret = self.secrets.get_metadata_opt(&names::service_credentials(&name)).await;
        let secret = ApiError::allowed(secret.map_err(self.of_secret(&name)))?.flatten();
        let deleted = self.services.delete(&name, &only(service)).await;
        deleted.map_err(self.of_service(&name))?;
        Ok(secret.is_some_and(|secret| !belongs_to(&secret.metadata, service)))
    }
}

/// Deletes this object and no other of its name.
fn only(service: &Service) -> DeleteParams {
    let preconditions = Preconditions { uid: service.uid(), resource_version: None };
    DeleteParams { preconditions: Some(preconditions), ..DeleteParams::background() }
}

fn secret(service: &Service, values: &Values) -> Secret {
    let labels = [
        (names::MANAGED_BY, names::KIPPER),
        (names::PART_OF, names::KIPPER),
        (names::RESOURCE_TYPE, SERVICE),
    ];
    let labels = labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
    let data = values.iter().map(|(key, value)| ((*key).to_owned(), value.bytes()));
    Secret {
        metadata: ObjectMeta {
            name: Some(names::service_credentials(&service.name_any())),
            labels: Some(labels),
            owner_references: params::owner(service).map(|owner| vec![owner]),
            ..ObjectMeta::default()
        },
        data: Some(data.collect()),
        ..Secret::default()
    }
}

fn patch(changes: &BTreeMap<&'static str, Option<SecretValue>>) -> Value {
    let data: BTreeMap<_, _> =
        changes.iter().map(|(key, value)| (*key, value.as_ref().map(SecretValue::bytes))).collect();
    json!({ "data": data })
}

fn belongs_to(secret: &ObjectMeta, service: &Service) -> bool {
    let owners = secret.owner_references.iter().flatten();
    service.uid().is_some_and(|uid| owners.into_iter().any(|owner| owner.uid == uid))
}

/// Of what is not secret, the values; of the rest, that it is there.
fn known(kind: Option<ServiceKind>, secret: &Secret) -> Known {
    let none = BTreeMap::new();
    let data: &BTreeMap<String, ByteString> = secret.data.as_ref().unwrap_or(&none);
    let value = |key: &str| {
        let value = std::str::from_utf8(&data.get(key)?.0).ok()?.trim();
        (!value.is_empty()).then(|| value.to_owned())
    };
    let has_value = |key: &str| data.get(key).is_some_and(|it| !it.0.trim_ascii().is_empty());
    let checked = kind.map_or(Ok(()), |kind| kind.check_keys(&[], has_value));
    let address = match kind {
        Some(ServiceKind::Minio) => value(keys::ENDPOINT).map(|url| without_login(&url)),
        _ => value(keys::HOST).map(|host| match value(keys::PORT) {
            Some(port) if host.contains(':') => format!("[{host}]:{port}"),
            Some(port) => format!("{host}:{port}"),
            None => host,
        }),
    };
    Known {
        secret: secret.name_any(),
        keys: data.keys().cloned().collect(),
        missing: checked.err().map(|missing| missing.keys).unwrap_or_default(),
        address,
        database: value(keys::NAME).filter(|_| kind.is_some_and(ServiceKind::is_database)),
    }
}

/// A URL without the user and password that somebody may have put there.
fn without_login(url: &str) -> String {
    match (url.find("://"), url.rfind('@')) {
        (Some(scheme), Some(at)) if at > scheme => {
            format!("{}{}", &url[..scheme + "://".len()], &url[at + 1..])
        }
        (None, Some(at)) => url[at + 1..].to_owned(),
        _ => url.to_owned(),
    }
}

/// What one function has of a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Use {
    /// The function.
    pub function: String,
    /// How it uses it.
    pub purpose: Purpose,
    /// Database it names; `None` for its own one (of a binding) or the Service's (of a trigger).
    pub database: Option<String>,
}

/// What a Service is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Its connection details are injected.
    Binding,
    /// Events of this kind come from it.
    Events(Kind),
}

/// Who uses a Service, in the order of the functions.
pub fn uses(functions: &[Function], service: &str) -> Vec<Use> {
    let of = |function: &Function| {
        let name = function.name_any();
        let bound = |binding: &ServiceBinding| Use {
            function: name.clone(),
            purpose: Purpose::Binding,
            database: binding.database().map(str::to_owned),
        };
        let bindings = function.spec.service_bindings.iter();
        let mut uses: Vec<_> = bindings.filter(|it| it.name == service).map(bound).collect();
        let event = function.spec.event().filter(|event| event.source() == service);
        uses.extend(event.map(|event| Use {
            function: name.clone(),
            purpose: Purpose::Events(event.kind),
            database: event.database().map(str::to_owned),
        }));
        uses
    };
    functions.iter().flat_map(of).collect()
}

/// Names of the functions in `uses`, each once.
pub fn users(uses: &[Use]) -> Vec<&str> {
    let mut names: Vec<_> = uses.iter().map(|it| it.function.as_str()).collect();
    names.dedup();
    names
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn value(text: &str) -> SecretValue {
        SecretValue::new(text.to_owned()).unwrap()
    }

    fn service(kind: ServiceKind) -> Service {
        let mut service = Service::new("db", ServiceSpec { type_: kind.as_str().to_owned() });
        service.metadata.uid = Some("u1".to_owned());
        service
    }

    #[test]
    fn the_secret_belongs_to_its_service() {
        let db = service(ServiceKind::Postgres);
        let values = [(keys::HOST, value("db.shop")), (keys::PASSWORD, value("hunter2"))].into();
        let secret = secret(&db, &values);
        assert_eq!(secret.metadata.name.as_deref(), Some("db-credentials"));
        assert!(belongs_to(&secret.metadata, &db));
        assert!(!belongs_to(&ObjectMeta::default(), &db));
        assert_eq!(secret.data.unwrap()["PASSWORD"].0, b"hunter2");
    }

    #[test]
    fn a_change_is_of_the_keys_it_names() {
        let changes = [(keys::PASSWORD, Some(value("new"))), (keys::CA, None)].into();
        assert_eq!(patch(&changes), json!({ "data": { "PASSWORD": "bmV3", "CA": null } }));
    }

    #[test]
    fn what_is_secret_is_not_known() {
        let check =
            |kind, values: &[(&'static str, &str)], address: &str, database, missing: &[&str]| {
                let values = values.iter().map(|(key, text)| (*key, value(text))).collect();
                let found = known(Some(kind), &secret(&service(kind), &values));
                assert_eq!(found.address.as_deref().unwrap_or_default(), address);
                assert_eq!((found.database.as_deref(), &found.missing[..]), (database, missing));
                assert!(!format!("{found:?}").contains("hunter2"), "{found:?}");
            };
        check(
            ServiceKind::Postgres,
            &[("HOST", "db\n"), ("PORT", "5432"), ("PASSWORD", "hunter2"), ("NAME", "shop")],
            "db:5432",
            Some("shop"),
            &["USERNAME"],
        );
        check(
            ServiceKind::Redis,
            &[("HOST", "fd00::7"), ("PORT", "6379"), ("NAME", "hunter2")],
            "[fd00::7]:6379",
            None,
            &[],
        );
        check(
            ServiceKind::Minio,
            &[("ENDPOINT", "http://me:hunter2@files:9000"), ("SECRET_KEY", "hunter2")],
            "http://files:9000",
            None,
            &["ACCESS_KEY"],
        );
        check(
            ServiceKind::Mysql,
            &[("HOST", " ")],
            "",
            None,
            &["HOST", "PORT", "USERNAME", "PASSWORD"],
        );
    }

    #[test]
    fn whoever_binds_it_or_has_its_events_uses_it() {
        let function = |name: &str, spec: Value| {
            let mut function = Function::new(name, serde_json::from_value(spec).unwrap());
            function.metadata.namespace = Some("shop-dev".to_owned());
            function
        };
        let trigger = |source: &str| {
            let config = json!({ "source": source, "query": "SELECT 1", "database": "shop" });
            json!([{ "type": "postgres", "config": config }])
        };
        let functions = [
            function(
                "a",
                json!({ "serviceBindings": [{ "name": "db" }], "triggers": trigger("db") }),
            ),
            function("b", json!({ "serviceBindings": [{ "name": "db", "database": "x" }] })),
            function(
                "c",
                json!({ "serviceBindings": [{ "name": "cache" }], "triggers": trigger("o") }),
            ),
        ];
        let found = uses(&functions, "db");
        let database = |name: &str| Some(name.to_owned());
        let expected = [
            ("a", Purpose::Binding, None),
            ("a", Purpose::Events(Kind::Postgres), database("shop")),
            ("b", Purpose::Binding, database("x")),
        ];
        let expected = expected.map(|(function, purpose, database)| Use {
            function: function.to_owned(),
            purpose,
            database,
        });
        assert_eq!(found, expected);
        assert_eq!(users(&found), ["a", "b"]);
        assert!(uses(&functions, "other").is_empty());
    }
}
