//! Route: from a host to its function.
//!
//! The host table is an immutable persistent map behind one `ArcSwap`: adding or removing a host
//! copies a path of it, not the table; a change that keeps the hosts touches the function's own
//! cell only. Readers never wait.

use std::{borrow::Cow, collections::HashMap, sync::Arc};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use rpds::HashTrieMapSync;
use tokio::sync::Notify;

use crate::{
    destination::{Destination, DestinationContext},
    source::{EndpointSink, EndpointState, Fleet, FleetSink, FunctionId, RouteSink, RouteSpec},
};

type Hosts = HashTrieMapSync<Arc<str>, Arc<Destination>>;

/// All routes.
pub struct Router {
    hosts: ArcSwap<Hosts>,
    context: Arc<DestinationContext>,
    state: Mutex<State>,
    /// Told when both sources have delivered.
    sync: Notify,
    path_routes: bool,
}

/// Where functions are found by path, with `--path-routes`.
const PATH_PREFIX: &str = "/_fn/";

/// What only writers look at, under one lock.
#[derive(Default)]
struct State {
    functions: HashMap<FunctionId, Arc<Destination>>,
    /// Endpoints of functions whose route is not known yet; the two sources are not ordered.
    early: HashMap<FunctionId, Vec<EndpointState>>,
    routes_synced: bool,
    endpoints_synced: bool,
}

impl Router {
    /// No routes yet.
    pub fn new(context: Arc<DestinationContext>, path_routes: bool) -> Self {
        let hosts = ArcSwap::from_pointee(Hosts::new_sync());
        Self { hosts, context, state: Mutex::default(), sync: Notify::new(), path_routes }
    }

    /// The function that answers for `host`, in any case, with or without port and trailing dot.
    pub fn route(&self, host: &str) -> Option<Arc<Destination>> {
        let host = normalize_host(host);
        self.hosts.load().get(host.as_ref()).cloned()
    }

    /// Have both sources delivered their first full state?
    pub fn synced(&self) -> bool {
        let state = self.state.lock();
        state.routes_synced && state.endpoints_synced
    }

    /// Resolves once both have.
    pub async fn wait_synced(&self) {
        loop {
            let next = self.sync.notified();
            if self.synced() {
                return;
            }
            next.await;
        }
    }

    /// The function called `name`, in whatever namespace it is, if it is the only one.
    fn by_name(&self, name: &str) -> Option<Arc<Destination>> {
        let state = self.state.lock();
        let mut named = state.functions.iter().filter(|(id, _)| &*id.name == name);
        let found = named.next().map(|(_, f)| Arc::clone(f));
        found.filter(|_| named.next().is_none())
    }

    /// For `kip dev`: `/_fn/<name>/rest` is `/rest` of that function, whatever the host.
    pub(crate) fn route_path(&self, target: &str) -> Option<(Arc<Destination>, String)> {
        let rest = target.strip_prefix(PATH_PREFIX).filter(|_| self.path_routes)?;
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (name, rest) = rest.split_at(end);
        let slash = if rest.starts_with('/') { "" } else { "/" };
        Some((self.by_name(name)?, format!("{slash}{rest}")))
    }

    /// Every function, in no order.
    pub fn functions(&self) -> Vec<Arc<Destination>> {
        self.state.lock().functions.values().cloned().collect()
    }

    /// What all functions share.
    pub fn context(&self) -> &Arc<DestinationContext> {
        &self.context
    }

    fn apply_locked(&self, state: &mut State, hosts: &mut Hosts, spec: RouteSpec) -> bool {
        let Some(function) = state.functions.get(&spec.id).map(Arc::clone) else {
            let function = Arc::new(Destination::new(spec, Arc::clone(&self.context)));
            if let Some(endpoints) = state.early.remove(&function.id) {
                function.set_endpoints(&endpoints);
            }
            state.functions.insert(function.id.clone(), Arc::clone(&function));
            insert_hosts(hosts, &function, &function.route().spec.hosts);
            return true;
        };
        let before = function.route().spec.hosts.clone();
        if function.route().spec == spec {
            return false;
        }
        let moved = before != spec.hosts;
        if moved {
            remove_hosts(hosts, &function, &before);
            insert_hosts(hosts, &function, &spec.hosts);
        }
        function.set_route(spec);
        moved
    }

    fn remove_locked(state: &mut State, hosts: &mut Hosts, id: &FunctionId) {
        if let Some(function) = state.functions.remove(id) {
            remove_hosts(hosts, &function, &function.route().spec.hosts.clone());
            function.remove();
        }
    }
}

fn insert_hosts(hosts: &mut Hosts, function: &Arc<Destination>, names: &[String]) {
    for host in names {
        hosts.insert_mut(Arc::from(normalize_host(host).as_ref()), Arc::clone(function));
    }
}

/// Removes the hosts that still lead to this function: another one may own a name by now.
fn remove_hosts(hosts: &mut Hosts, function: &Arc<Destination>, names: &[String]) {
    for host in names {
        let host = normalize_host(host);
        if hosts.get(host.as_ref()).is_some_and(|f| Arc::ptr_eq(f, function)) {
            hosts.remove_mut(host.as_ref());
        }
    }
}

impl FleetSink for Router {
    fn set_fleet(&self, fleet: Fleet) {
        if **self.context.fleet.load() == fleet {
            return;
        }
        self.context.fleet.store(Arc::new(fleet));
        // The pods of concurrency-limited functions are divided anew.
        for function in self.functions() {
            function.redivide();
        }
    }
}

impl RouteSink for Router {
    fn apply(&self, route: RouteSpec) {
        let mut state = self.state.lock();
        let mut hosts = Hosts::clone(&self.hosts.load());
        if self.apply_locked(&mut state, &mut hosts, route) {
            self.hosts.store(Arc::new(hosts));
        }
    }

    fn remove(&self, id: &FunctionId) {
        let mut state = self.state.lock();
        let mut hosts = Hosts::clone(&self.hosts.load());
        Self::remove_locked(&mut state, &mut hosts, id);
        self.hosts.store(Arc::new(hosts));
    }

    fn replace_all(&self, routes: Vec<RouteSpec>) {
        let mut state = self.state.lock();
        let mut hosts = Hosts::clone(&self.hosts.load());
        let listed: std::collections::HashSet<_> = routes.iter().map(|r| r.id.clone()).collect();
        let gone: Vec<_> =
            state.functions.keys().filter(|id| !listed.contains(id)).cloned().collect();
        for id in gone {
            Self::remove_locked(&mut state, &mut hosts, &id);
        }
        for route in routes {
            self.apply_locked(&mut state, &mut hosts, route);
        }
        self.hosts.store(Arc::new(hosts));
        state.routes_synced = true;
        self.sync.notify_waiters();
    }
}

impl EndpointSink for Router {
    fn set(&self, id: &FunctionId, endpoints: Vec<EndpointState>) {
        let mut state = self.state.lock();
        match state.functions.get(id).cloned() {
            Some(function) => {
                drop(state);
                function.set_endpoints(&endpoints);
            }
            None if endpoints.is_empty() => drop(state.early.remove(id)),
            None => drop(state.early.insert(id.clone(), endpoints)),
        }
    }

    fn replace_all(&self, all: Vec<(FunctionId, Vec<EndpointState>)>) {
        let mut listed: HashMap<_, _> = all.into_iter().collect();
        let functions = {
            let mut state = self.state.lock();
            state.endpoints_synced = true;
            self.sync.notify_waiters();
            let functions: Vec<_> = state.functions.values().cloned().collect();
            let known = &state.functions;
            let early = listed.extract_if(|id, _| !known.contains_key(id)).collect();
            state.early = early;
            functions
        };
        for function in functions {
            let endpoints = listed.remove(&function.id).unwrap_or_default();
            function.set_endpoints(&endpoints);
        }
    }
}

/// Lower-case, without port and without a trailing dot; borrowed when it already is.
pub fn normalize_host(host: &str) -> Cow<'_, str> {
    let without_port = match host.rfind(':') {
        // An IPv6 literal has its colons inside brackets.
        Some(colon) if !host[colon..].contains(']') => &host[..colon],
        _ => host,
    };
    let name = without_port.strip_suffix('.').unwrap_or(without_port);
    if name.bytes().any(|b| b.is_ascii_uppercase()) {
        Cow::Owned(name.to_ascii_lowercase())
    } else {
        Cow::Borrowed(name)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use prometheus::Registry;

    use super::*;
    use crate::{
        inflight::Changes,
        metrics::Metrics,
        queue::{Held, HoldLimits},
    };

    fn router() -> Router {
        Router::new(
            Arc::new(DestinationContext {
                held: Arc::new(Held::new(HoldLimits::default())),
                changes: Changes::default(),
                metrics: Arc::new(Metrics::new(&Registry::new()).unwrap()),
                workers: 1,
                fleet: Default::default(),
            }),
            true,
        )
    }

    fn spec(name: &str, hosts: &[&str]) -> RouteSpec {
        let hosts = hosts.iter().map(ToString::to_string).collect();
        RouteSpec::new(FunctionId::new("ns", name), hosts)
    }

    fn owner(router: &Router, host: &str) -> Option<String> {
        router.route(host).map(|f| f.id.name.to_string())
    }

    #[test]
    fn hosts_compare_without_case_port_and_trailing_dot() {
        let check = |given: &str, expected: &str| assert_eq!(normalize_host(given), expected);
        check("fn-a-x.kipper.run", "fn-a-x.kipper.run");
        check("FN-A-X.Kipper.Run:8080", "fn-a-x.kipper.run");
        check("fn-a-x.kipper.run.:443", "fn-a-x.kipper.run");
        check("[::1]:8080", "[::1]");
        check("[::1]", "[::1]");
        check("", "");
    }

    #[test]
    fn a_change_touches_one_entry() {
        let r = router();
        r.apply(spec("a", &["a.test"]));
        r.apply(spec("b", &["b.test"]));
        let before = (r.hosts.load_full(), r.route("a.test").unwrap());
        let mut changed = spec("a", &["a.test"]);
        changed.concurrency = 3;
        r.apply(changed);
        assert!(Arc::ptr_eq(&before.0, &r.hosts.load_full()), "same hosts: the table stays");
        assert!(Arc::ptr_eq(&before.1, &r.route("a.test").unwrap()));
        assert_eq!(r.route("a.test").unwrap().route().spec.concurrency, 3);
    }

    #[test]
    fn hosts_move_with_their_owner() {
        let r = router();
        r.apply(spec("a", &["x.test"]));
        r.apply(spec("b", &["x.test"]));
        assert_eq!(owner(&r, "x.test").as_deref(), Some("b"));
        RouteSink::remove(&r, &FunctionId::new("ns", "a"));
        assert_eq!(owner(&r, "x.test").as_deref(), Some("b"), "a's removal leaves b's host");
        r.apply(spec("b", &["y.test"]));
        assert_eq!((owner(&r, "x.test"), owner(&r, "y.test").as_deref()), (None, Some("b")));
    }

    #[test]
    fn paths_find_functions_by_name() {
        let r = router();
        r.apply(spec("a", &["a.test"]));
        let check = |target: &str, expected: Option<&str>| {
            let found = r.route_path(target).map(|(f, rest)| format!("{} {rest}", f.id.name));
            assert_eq!(found.as_deref(), expected, "{target}");
        };
        check("/_fn/a", Some("a /"));
        check("/_fn/a/x?y=1", Some("a /x?y=1"));
        check("/_fn/a?y=1", Some("a /?y=1"));
        check("/_fn/b/x", None);
        check("/x", None);
    }

    #[test]
    fn replace_all_keeps_what_stays_and_ends_the_sync() {
        let r = router();
        r.apply(spec("a", &["a.test"]));
        r.apply(spec("b", &["b.test"]));
        let a = r.route("a.test").unwrap();
        RouteSink::replace_all(&r, vec![spec("a", &["a.test"]), spec("c", &["c.test"])]);
        assert!(Arc::ptr_eq(&a, &r.route("a.test").unwrap()));
        assert_eq!((owner(&r, "b.test"), owner(&r, "c.test").as_deref()), (None, Some("c")));
        assert!(!r.synced());
        EndpointSink::replace_all(&r, vec![]);
        assert!(r.synced());
    }

    #[test]
    fn endpoints_may_come_before_their_route() {
        let r = router();
        let id = FunctionId::new("ns", "a");
        let address = "10.0.0.1:80".parse().unwrap();
        let up = EndpointState { address, ready: true, terminating: false };
        r.set(&id, vec![up]);
        r.apply(spec("a", &["a.test"]));
        assert_eq!(r.route("a.test").unwrap().endpoints().all.len(), 1);
        r.set(&id, vec![]);
        assert!(r.route("a.test").unwrap().endpoints().all.is_empty());
    }
}
