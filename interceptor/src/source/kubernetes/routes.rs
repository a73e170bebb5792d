//! Routes from Function objects, where there are no claims that have them.
//!
//! A Function is routed while its controller says that the host is its own
//! (`HostReserved=True`) and HTTP invokes it. The condition is not compared with the generation of
//! the spec: a host depends on the name alone, so a spec that was just changed keeps its route,
//! with the new settings at once. A Function that is being deleted stays routed until the
//! controller gives its host up or the object is gone, so requests are served as long as its pods
//! are. The host is what the rule says, whatever the status does.

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
};

use futures_util::future::BoxFuture;
use kipper_function::{Function, host, names, route::Route};
use kipper_kubernetes::Mirror;
use kube::{
    Api, Client, ResourceExt,
    core::{DeserializeGuard, error_boundary::InvalidObject},
};

use super::watch;
use crate::source::{
    FunctionId, Probe, RouteSink, RouteSource, RouteSpec, SourceError, Timeouts, function,
};

/// What gives a function its host. A status does not: whoever may write one in any namespace could
/// name any host in it.
#[derive(Clone, Debug)]
pub struct HostRule {
    /// Domain of the cluster.
    pub cluster_domain: String,
    /// Parents below which every cluster has one label.
    pub shared_parents: Vec<String>,
}

/// Watches Functions.
#[derive(Clone)]
pub struct FunctionRoutes {
    functions: Api<DeserializeGuard<Function>>,
    hosts: HostRule,
}

impl FunctionRoutes {
    /// Watches `namespace`, or every namespace.
    pub fn new(client: Client, namespace: Option<&str>, hosts: HostRule) -> Self {
        let functions = match namespace {
            Some(namespace) => Api::namespaced(client, namespace),
            None => Api::all(client),
        };
        Self { functions, hosts }
    }
}

impl RouteSource for FunctionRoutes {
    fn run(
        self: Box<Self>,
        sink: Arc<dyn RouteSink>,
    ) -> BoxFuture<'static, Result<(), SourceError>> {
        let Self { functions, hosts } = *self;
        let mirror = RouteMirror { sink, hosts, routed: HashMap::new(), listed: Vec::new() };
        Box::pin(watch::follow(functions, "", mirror))
    }
}

struct RouteMirror {
    sink: Arc<dyn RouteSink>,
    hosts: HostRule,
    /// What is routed, each with a fingerprint of its route: a wake changes a Function's status
    /// several times, and none of that concerns the router.
    routed: HashMap<FunctionId, u64>,
    /// What a list in progress has brought so far.
    listed: Vec<RouteSpec>,
}

impl RouteMirror {
    fn render(&self, function: &DeserializeGuard<Function>) -> Option<RouteSpec> {
        match &function.0 {
            Ok(function) => route(function, &self.hosts),
            Err(InvalidObject { error, metadata }) => {
                let (namespace, name) = (metadata.namespace.as_deref(), metadata.name.as_deref());
                tracing::warn!(namespace, name, error, "function cannot be read and is not routed");
                None
            }
        }
    }
}

impl Mirror<DeserializeGuard<Function>> for RouteMirror {
    fn begin(&mut self) {
        self.listed = Vec::new();
    }

    fn list(&mut self, function: DeserializeGuard<Function>) {
        if let Some(route) = self.render(&function) {
            note(&function, &route);
            self.listed.push(route);
        }
    }

    fn complete(&mut self) {
        let routes = std::mem::take(&mut self.listed);
        self.routed = routes.iter().map(|route| (route.id.clone(), fingerprint(route))).collect();
        self.sink.replace_all(routes);
    }

    fn apply(&mut self, function: DeserializeGuard<Function>) {
        let Some(route) = self.render(&function) else {
            return self.delete(function);
        };
        let fingerprint = fingerprint(&route);
        if self.routed.insert(route.id.clone(), fingerprint) != Some(fingerprint) {
            note(&function, &route);
            self.sink.apply(route);
        }
    }

    fn delete(&mut self, function: DeserializeGuard<Function>) {
        let id = FunctionId::new(&function.namespace().unwrap_or_default(), &function.name_any());
        if self.routed.remove(&id).is_some() {
            self.sink.remove(&id);
        }
    }
}

/// Says it where users are told another URL than the one that works.
fn note(function: &DeserializeGuard<Function>, route: &RouteSpec) {
    let told = function.0.as_ref().ok().and_then(|function| told_otherwise(function, route));
    if let Some(endpoint) = told {
        let host = route.hosts.first();
        tracing::warn!(function = %route.id, endpoint, host, "the status names another host");
    }
}

/// The route of a Function; `None` while it has none.
fn route(resource: &Function, hosts: &HostRule) -> Option<RouteSpec> {
    let namespace = resource.metadata.namespace.as_deref()?;
    let name = resource.metadata.name.as_deref()?;
    let status = resource.status.as_ref()?;
    let spec = &resource.spec;
    if !status.is_true(names::condition::HOST_RESERVED) || !spec.is_http() {
        return None;
    }
    let host = match host::host(name, &hosts.cluster_domain, &hosts.shared_parents) {
        Ok(host) => host,
        Err(error) => {
            tracing::warn!(namespace, name, %error, "function has no host and is not routed");
            return None;
        }
    };
    let id = FunctionId::new(namespace, name);
    Some(function::route(id, vec![host], &Route::of(resource)))
}

/// The URL in a status that is not that of the route: the controller has another domain, or somebody
/// else has written it.
fn told_otherwise<'a>(resource: &'a Function, route: &RouteSpec) -> Option<&'a str> {
    let endpoint = resource.status.as_ref()?.endpoint.as_deref()?;
    let authority = endpoint.split_once("://").and_then(|(_, rest)| rest.split(['/', '?']).next());
    let told = authority.and_then(|authority| host::normalize(authority).ok());
    (told.as_deref() != route.hosts.first().map(String::as_str)).then_some(endpoint)
}

/// Tells two routes of one function apart. Written field by field in the compiler's sight: a field
/// added to [`RouteSpec`] must be added here.
pub(super) fn fingerprint(route: &RouteSpec) -> u64 {
    let RouteSpec {
        id: _,
        created,
        hosts,
        event_trigger,
        concurrency,
        timeouts: Timeouts { cold_start, response_header, request },
        idle_timeout,
        probe,
        protocol,
        security,
        retry_idempotent,
    } = route;
    let mut hasher = DefaultHasher::new();
    (created, hosts, event_trigger, concurrency, idle_timeout, retry_idempotent).hash(&mut hasher);
    (cold_start, response_header, request).hash(&mut hasher);
    match probe {
        Probe::Tcp => 0u8.hash(&mut hasher),
        Probe::Http(path) => path.hash(&mut hasher),
    }
    std::mem::discriminant(protocol).hash(&mut hasher);
    security.as_ref().map(|security| &security.csp_allowlist).hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::time::Duration;

    use serde_json::{Value, json};

    use super::*;
    use crate::source::{Protocol, SecurityHeaders};

    fn function(spec: Value, status: Value) -> Function {
        let metadata = json!({ "name": "hello", "namespace": "shop", "generation": 7 });
        let object = json!({
            "apiVersion": "kipper.run/v1alpha1", "kind": "Function",
            "metadata": metadata, "spec": spec, "status": status,
        });
        serde_json::from_value(object).unwrap()
    }

    fn reserved(endpoint: Option<&str>, reserved: &str) -> Value {
        let condition = json!({ "type": "HostReserved", "status": reserved, "reason": "r", "message": "",
            "lastTransitionTime": "2026-07-01T00:00:00Z", "observedGeneration": 3 });
        json!({ "endpoint": endpoint, "conditions": [condition] })
    }

    fn hosts() -> HostRule {
        HostRule {
            cluster_domain: "c.kipper.run".into(),
            shared_parents: vec!["kipper.run".into()],
        }
    }

    #[test]
    fn only_a_reserved_host_is_routed() {
        let image = json!({ "image": "i" });
        let host = |status: Value| {
            route(&function(image.clone(), status), &hosts()).map(|route| route.hosts)
        };
        let endpoint = Some("https://fn-hello-c.kipper.run");
        assert_eq!(host(Value::Null), None);
        assert_eq!(host(json!({ "endpoint": endpoint })), None);
        assert_eq!(host(reserved(endpoint, "False")), None);
        assert_eq!(host(reserved(endpoint, "Unknown")), None);
        let own = Some(vec!["fn-hello-c.kipper.run".to_owned()]);
        assert_eq!(host(reserved(endpoint, "True")), own);
        assert_eq!(host(reserved(None, "True")), own);
    }

    #[test]
    fn a_status_names_no_host() {
        let check = |endpoint: &'static str, otherwise: bool| {
            let object = function(json!({ "image": "i" }), reserved(Some(endpoint), "True"));
            let route = route(&object, &hosts()).unwrap();
            assert_eq!(route.hosts, ["fn-hello-c.kipper.run"], "{endpoint}");
            let told = told_otherwise(&object, &route);
            assert_eq!(told, otherwise.then_some(endpoint), "{endpoint}");
        };
        check("https://FN-Hello-C.kipper.run.:8443/x?y", false);
        check("https://fn-other-c.kipper.run", true);
        check("https://bank.example.com", true);
        check("nonsense", true);
        check("", true);
    }

    #[test]
    fn the_age_of_a_function() {
        let mut object = function(json!({ "image": "i" }), reserved(None, "True"));
        let created = |object: &Function| route(object, &hosts()).unwrap().created;
        assert_eq!(created(&object), i64::MAX, "of no known age: the youngest");
        object.metadata.creation_timestamp =
            serde_json::from_value(json!("2026-07-01T09:00:00Z")).unwrap();
        assert_eq!(created(&object), 1_782_896_400);
    }

    #[test]
    fn only_http_functions_are_routed() {
        let status = || reserved(Some("https://a.b"), "True");
        let routed = |triggers: Value| {
            route(&function(json!({ "image": "i", "triggers": triggers }), status()), &hosts())
        };
        assert!(routed(json!([{ "type": "http" }])).is_some_and(|route| !route.event_trigger));
        assert!(routed(json!([{ "type": "cron", "schedule": "@daily" }])).is_none());
        let event = json!({ "type": "redis", "config": { "source": "r", "list": "l" } });
        assert!(routed(json!([event])).is_none());
        assert!(
            routed(json!([{ "type": "http" }, event])).is_some_and(|route| route.event_trigger)
        );
    }

    #[test]
    fn a_spec_becomes_a_route() {
        let spec = json!({
            "source": { "code": "x" }, "scaling": { "concurrency": 3 }, "protocol": "h2c",
            "timeouts": { "coldStartSeconds": 5, "requestSeconds": 9 }, "idleTimeoutSeconds": 60,
            "cspAllowlist": ["https://cdn.example.com"],
        });
        let mut object = function(spec, reserved(Some("https://a.b"), "True"));
        object.annotations_mut().insert(names::RETRY_IDEMPOTENT.into(), "true".into());
        let expected = RouteSpec {
            concurrency: 3,
            protocol: Protocol::H2c,
            probe: Probe::Http("/health".into()),
            timeouts: Timeouts {
                cold_start: Duration::from_secs(5),
                response_header: Duration::from_secs(300),
                request: Some(Duration::from_secs(9)),
            },
            idle_timeout: Duration::from_secs(60),
            security: Some(SecurityHeaders {
                csp_allowlist: vec!["https://cdn.example.com".into()],
            }),
            retry_idempotent: true,
            created: i64::MAX,
            ..RouteSpec::new(FunctionId::new("shop", "hello"), vec!["fn-hello-c.kipper.run".into()])
        };
        assert_eq!(route(&object, &hosts()), Some(expected.clone()));
        object.spec.no_security_headers = true;
        object.spec.readiness_path = Some("/ready".into());
        let changed = route(&object, &hosts()).unwrap();
        assert_eq!(
            (changed.security.clone(), changed.probe.clone()),
            (None, Probe::Http("/ready".into()))
        );
        assert_ne!(fingerprint(&changed), fingerprint(&expected));
        assert_eq!(fingerprint(&expected), fingerprint(&expected.clone()));
    }
}
