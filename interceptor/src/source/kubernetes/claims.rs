//! Routes from the claims of hosts.
//!
//! A claim is the Lease named after a host, which only the controller may write: that it is there says that
//! the host is the function's own, and its annotation says how to reach it. So no code of a function, and
//! nothing else that its spec holds, ever comes to this process. The host is what the rule says for the name
//! of the holder; a claim of another one is not routed. A Function that is being deleted stays routed until
//! the controller gives its claim up.
//!
//! A controller of the release before writes no routes: until each claim that is routed here has one, routes
//! come from the Functions themselves ([`FunctionRoutes`]).

use std::{collections::HashMap, sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use k8s_openapi::api::coordination::v1::Lease;
use kipper_function::{host, names, route::Route};
use kipper_kubernetes::Mirror;
use kube::{Api, Client, ResourceExt as _, api::ListParams};
use tokio::{sync::oneshot, time::sleep};

use super::{
    routes::{FunctionRoutes, HostRule, fingerprint},
    watch,
};
use crate::source::{FunctionId, RouteSink, RouteSource, RouteSpec, SourceError, function};

/// Between two looks whether all claims have routes.
const UPGRADE_INTERVAL: Duration = Duration::from_secs(15);

/// Watches the claims of hosts.
pub struct ClaimRoutes {
    claims: Api<Lease>,
    scope: Scope,
    fallback: FunctionRoutes,
}

impl ClaimRoutes {
    /// Watches the claims in `release`, the namespace of the controller, of functions in `namespace` or in
    /// every one.
    pub fn new(client: Client, release: &str, namespace: Option<&str>, hosts: HostRule) -> Self {
        Self {
            claims: Api::namespaced(client.clone(), release),
            scope: Scope { namespace: namespace.map(str::to_owned), hosts: hosts.clone() },
            fallback: FunctionRoutes::new(client, namespace, hosts),
        }
    }

    /// Resolves when no claim lacks its route. An API server that cannot be reached is asked again.
    async fn until_routed(&self) {
        loop {
            sleep(UPGRADE_INTERVAL).await;
            let listed = self.claims.list(&ListParams::default().labels(&selector())).await;
            let lacks_route = |claim: &Lease| self.scope.lacks_route(claim);
            if listed.is_ok_and(|claims| !claims.items.iter().any(lacks_route)) {
                return;
            }
        }
    }
}

impl RouteSource for ClaimRoutes {
    fn run(
        self: Box<Self>,
        sink: Arc<dyn RouteSink>,
    ) -> BoxFuture<'static, Result<(), SourceError>> {
        Box::pin(async move {
            let selector = selector();
            loop {
                let (mirror, without_route) = ClaimMirror::new(&sink, &self.scope);
                let claims = watch::follow(self.claims.clone(), &selector, mirror);
                let claim = tokio::select! {
                    ended = claims => return ended,
                    Ok(claim) = without_route => claim,
                };
                tracing::warn!(
                    claim,
                    "a host's claim has no route: its controller is of an older release"
                );
                let functions = Box::new(self.fallback.clone()).run(Arc::clone(&sink));
                tokio::select! {
                    ended = functions => return ended,
                    () = self.until_routed() => {}
                }
            }
        })
    }
}

fn selector() -> String {
    format!("{}={}", names::RESOURCE_TYPE, names::HOST_CLAIM)
}

fn route(claim: &Lease) -> Option<Route> {
    Route::parse(claim.annotations().get(names::ROUTE)?)
}

/// Which claims are routed here.
#[derive(Clone)]
struct Scope {
    /// Those of functions of one namespace only.
    namespace: Option<String>,
    /// Those of the hosts that it gives.
    hosts: HostRule,
}

impl Scope {
    /// The function that holds a claim, if it is of a namespace that is routed.
    fn holder(&self, claim: &Lease) -> Option<FunctionId> {
        let holder = claim.spec.as_ref()?.holder_identity.as_deref()?;
        let (namespace, name) = holder.split_once('/')?;
        let is_routed = self.namespace.as_deref().is_none_or(|only| only == namespace);
        is_routed.then(|| FunctionId::new(namespace, name))
    }

    /// The claim's host, if it is the one of its holder.
    fn host(&self, claim: &Lease, holder: &FunctionId) -> Option<String> {
        let HostRule { cluster_domain, shared_parents } = &self.hosts;
        let own = host::host(&holder.name, cluster_domain, shared_parents).ok();
        own.filter(|own| claim.metadata.name.as_ref() == Some(own))
    }

    /// It would be routed if it had a route. Any other, such as one of a former domain, may stay without
    /// one for good.
    fn lacks_route(&self, claim: &Lease) -> bool {
        let host = self.holder(claim).and_then(|holder| self.host(claim, &holder));
        host.is_some() && route(claim).is_none()
    }

    fn render(&self, claim: &Lease) -> Option<RouteSpec> {
        let holder = self.holder(claim)?;
        let Some(host) = self.host(claim, &holder) else {
            let claim = claim.metadata.name.as_deref();
            tracing::warn!(claim, %holder, "a host that is not the function's");
            return None;
        };
        let route = route(claim)?;
        Some(function::route(holder, vec![host], &route))
    }
}

struct ClaimMirror {
    sink: Arc<dyn RouteSink>,
    scope: Scope,
    /// What is routed by which claim, each with a fingerprint of its route.
    routed: HashMap<String, (FunctionId, u64)>,
    /// What a list in progress has brought so far, by the names of the claims.
    listed: Vec<(String, RouteSpec)>,
    /// A claim of that list that lacks its route.
    listed_without_route: Option<String>,
    /// Told of a claim that lacks its route; then nothing more is read.
    without_route: Option<oneshot::Sender<String>>,
}

impl ClaimMirror {
    /// One that routes nothing yet, and who is told of a claim that lacks its route.
    fn new(sink: &Arc<dyn RouteSink>, scope: &Scope) -> (Self, oneshot::Receiver<String>) {
        let (without_route, found) = oneshot::channel();
        let mirror = Self {
            sink: Arc::clone(sink),
            scope: scope.clone(),
            routed: HashMap::new(),
            listed: Vec::new(),
            listed_without_route: None,
            without_route: Some(without_route),
        };
        (mirror, found)
    }

    fn give_up(&mut self, claim: String) {
        if let Some(without_route) = self.without_route.take() {
            // Whoever waits for it ends with this.
            let _ = without_route.send(claim);
        }
    }
}

impl Mirror<Lease> for ClaimMirror {
    fn begin(&mut self) {
        (self.listed, self.listed_without_route) = (Vec::new(), None);
    }

    fn list(&mut self, claim: Lease) {
        if self.scope.lacks_route(&claim) {
            self.listed_without_route = Some(claim.name_any());
        }
        self.listed.extend(self.scope.render(&claim).map(|route| (claim.name_any(), route)));
    }

    fn complete(&mut self) {
        let listed = std::mem::take(&mut self.listed);
        if let Some(claim) = self.listed_without_route.take() {
            return self.give_up(claim);
        }
        let known = |(claim, route): &(String, RouteSpec)| {
            (claim.clone(), (route.id.clone(), fingerprint(route)))
        };
        self.routed = listed.iter().map(known).collect();
        self.sink.replace_all(listed.into_iter().map(|(_, route)| route).collect());
    }

    fn apply(&mut self, claim: Lease) {
        if self.scope.lacks_route(&claim) {
            return self.give_up(claim.name_any());
        }
        let Some(route) = self.scope.render(&claim) else { return self.delete(claim) };
        let now = (route.id.clone(), fingerprint(&route));
        let former = self.routed.insert(claim.name_any(), now.clone());
        if former.as_ref() == Some(&now) {
            return;
        }
        if let Some((id, _)) = former.filter(|(id, _)| *id != route.id) {
            self.sink.remove(&id);
        }
        self.sink.apply(route);
    }

    fn delete(&mut self, claim: Lease) {
        if let Some((id, _)) = self.routed.remove(&claim.name_any()) {
            self.sink.remove(&id);
        }
    }

    fn settle(&mut self) -> impl Future<Output = ()> + Send {
        let is_over = self.without_route.is_none();
        async move {
            if is_over {
                std::future::pending::<()>().await;
            }
        }
    }
}
