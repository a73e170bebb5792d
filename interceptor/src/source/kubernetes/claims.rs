//! Routes from the claims of hosts.
//!
//! A claim is the Lease named after a host, which only the controller may write: that it is there says that
//! the host is the function's own, and its annotation says how to reach it. So no code of a function, and
//! nothing else that its spec holds, ever comes to this process. The host is what the rule says for the name
//! of the holder; a claim of another one is not routed. A Function that is being deleted stays routed until
//! the controller gives its claim up.
//!
//! A controller of the release before writes no routes: until each claim has one, routes come from the
//! Functions themselves ([`FunctionRoutes`]).

use std::{collections::HashMap, sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use k8s_openapi::api::coordination::v1::Lease;
use kipper_function::{host, names, route::Route};
use kipper_kubernetes::Mirror;
use kube::{Api, Client, ResourceExt as _, api::ListParams};
use tokio::{sync::Notify, time::sleep};

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
    /// Functions of one namespace only.
    namespace: Option<String>,
    hosts: HostRule,
    fallback: FunctionRoutes,
}

impl ClaimRoutes {
    /// Watches the claims in `release`, the namespace of the controller, of functions in `namespace` or in
    /// every one.
    pub fn new(client: Client, release: &str, namespace: Option<&str>, hosts: HostRule) -> Self {
        Self {
            claims: Api::namespaced(client.clone(), release),
            namespace: namespace.map(str::to_owned),
            hosts: hosts.clone(),
            fallback: FunctionRoutes::new(client, namespace, hosts),
        }
    }

    async fn follow(&self, sink: &Arc<dyn RouteSink>) -> Result<(), SourceError> {
        let without_route = Arc::new(Notify::new());
        let mirror = ClaimMirror {
            sink: Arc::clone(sink),
            hosts: self.hosts.clone(),
            namespace: self.namespace.clone(),
            routed: HashMap::new(),
            listed: Vec::new(),
            is_whole: true,
            is_over: false,
            without_route: Arc::clone(&without_route),
        };
        let selector = selector();
        tokio::select! {
            ended = watch::follow(self.claims.clone(), &selector, mirror) => ended,
            () = without_route.notified() => Ok(()),
        }
    }

    /// Resolves when every claim has a route. An API server that cannot be reached is asked again.
    async fn until_routed(&self) {
        loop {
            sleep(UPGRADE_INTERVAL).await;
            let listed = self.claims.list(&ListParams::default().labels(&selector())).await;
            let routed = |claim: &Lease| route(claim).is_some();
            if listed.is_ok_and(|claims| claims.items.iter().all(routed)) {
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
            loop {
                self.follow(&sink).await?;
                tracing::warn!(
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

struct ClaimMirror {
    sink: Arc<dyn RouteSink>,
    hosts: HostRule,
    namespace: Option<String>,
    /// What is routed by which claim, each with a fingerprint of its route.
    routed: HashMap<String, (FunctionId, u64)>,
    /// What a list in progress has brought so far, by the names of the claims.
    listed: Vec<(String, RouteSpec)>,
    /// Each claim of that list has a route.
    is_whole: bool,
    /// A claim without a route was seen; nothing more is read.
    is_over: bool,
    without_route: Arc<Notify>,
}

impl ClaimMirror {
    fn give_up(&mut self) {
        self.is_over = true;
        self.without_route.notify_one();
    }

    fn render(&self, claim: &Lease) -> Option<RouteSpec> {
        let holder = claim.spec.as_ref()?.holder_identity.as_deref()?;
        let (namespace, name) = holder.split_once('/')?;
        if self.namespace.as_deref().is_some_and(|only| only != namespace) {
            return None;
        }
        let own = host::host(name, &self.hosts.cluster_domain, &self.hosts.shared_parents).ok();
        let Some(own) = own.filter(|own| claim.metadata.name.as_ref() == Some(own)) else {
            tracing::warn!(
                claim = claim.metadata.name,
                holder,
                "a host that is not the function's"
            );
            return None;
        };
        let route = route(claim)?;
        let id = FunctionId::new(namespace, name);
        Some(function::route(id, vec![own], &route))
    }
}

impl Mirror<Lease> for ClaimMirror {
    fn begin(&mut self) {
        (self.listed, self.is_whole) = (Vec::new(), true);
    }

    fn list(&mut self, claim: Lease) {
        self.is_whole &= route(&claim).is_some();
        self.listed.extend(self.render(&claim).map(|route| (claim.name_any(), route)));
    }

    fn complete(&mut self) {
        let listed = std::mem::take(&mut self.listed);
        if !self.is_whole {
            return self.give_up();
        }
        let known = |(claim, route): &(String, RouteSpec)| {
            (claim.clone(), (route.id.clone(), fingerprint(route)))
        };
        self.routed = listed.iter().map(known).collect();
        self.sink.replace_all(listed.into_iter().map(|(_, route)| route).collect());
    }

    fn apply(&mut self, claim: Lease) {
        if route(&claim).is_none() {
            return self.give_up();
        }
        let Some(route) = self.render(&claim) else { return self.delete(claim) };
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
        let is_over = self.is_over;
        async move {
            if is_over {
                std::future::pending::<()>().await;
            }
        }
    }
}
