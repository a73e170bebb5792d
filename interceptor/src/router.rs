//! Route: from a host to its function.
//!
//! The host table is an immutable persistent map behind one `ArcSwap`: adding or removing a host
//! copies a path of it, not the table; a change that keeps the hosts touches the function's own
//! cell only. Readers never wait.
//!
//! A host has one owner. More than one function may claim it, for a moment at a hand-over or because
//! a status lies: the oldest gets it, and when that one goes, the next.

use std::{
    borrow::Cow,
    collections::{HashMap, HashSet},
    sync::{Arc, Weak},
};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use rpds::HashTrieMapSync;
use smallvec::SmallVec;
use tokio::sync::Notify;

use crate::{
    destination::{Destination, DestinationContext},
    error::ProxyError,
    inflight::Counters,
    message::head::host_and_port,
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
const PATH_PREFIX: &[u8] = b"/_fn/";

/// What only writers look at, under one lock.
#[derive(Default)]
struct State {
    functions: HashMap<FunctionId, Arc<Destination>>,
    claims: Claims,
    /// Of functions that were removed while requests to them ran; gone with the last of these.
    former: HashMap<FunctionId, Weak<Counters>>,
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
    pub(crate) fn route_path(
        &self,
        target: &[u8],
    ) -> Result<(Arc<Destination>, Vec<u8>), ProxyError> {
        let rest = target.strip_prefix(PATH_PREFIX).filter(|_| self.path_routes);
        let rest = rest.ok_or(ProxyError::UnknownHost)?;
        let end = rest.iter().position(|b| matches!(b, b'/' | b'?')).unwrap_or(rest.len());
        let (name, rest) = rest.split_at(end);
        let slash: &[u8] = if rest.starts_with(b"/") { b"" } else { b"/" };
        let name = std::str::from_utf8(name).ok();
        let function = name.and_then(|name| self.by_name(name)).ok_or(ProxyError::UnknownName)?;
        Ok((function, [slash, rest].concat()))
    }

    /// Every function, in no order.
    pub fn functions(&self) -> Vec<Arc<Destination>> {
        self.state.lock().functions.values().cloned().collect()
    }

    /// Those that have the names of `functions` now. One that is gone stands for itself.
    pub(crate) fn current(&self, functions: Vec<Arc<Destination>>) -> Vec<Arc<Destination>> {
        // Hardly ever.
        if !functions.iter().any(|f| f.is_removed()) {
            return functions;
        }
        let state = self.state.lock();
        let current = |f: Arc<Destination>| match state.functions.get(&f.id) {
            Some(current) => Arc::clone(current),
            None => f,
        };
        functions.into_iter().map(current).collect()
    }

    /// Each host that a function claims, with who has it where that is another one.
    pub(crate) fn claims(&self, function: &Arc<Destination>) -> Vec<(String, Option<FunctionId>)> {
        let hosts = self.hosts.load();
        let claimed = |host: &String| {
            let owner = hosts.get(normalize_host(host).as_ref());
            let other = owner.filter(|owner| !Arc::ptr_eq(owner, function));
            (host.clone(), other.map(|owner| owner.id.clone()))
        };
        function.route().spec.hosts.iter().map(claimed).collect()
    }

    /// What all functions share.
    pub fn context(&self) -> &Arc<DestinationContext> {
        &self.context
    }

    fn apply_locked(&self, state: &mut State, hosts: &mut Hosts, spec: RouteSpec) -> bool {
        let Some(function) = state.functions.get(&spec.id).map(Arc::clone) else {
            // With what is still open of a former one of its name, as where its route was away for a moment.
            let former = state.former.remove(&spec.id).and_then(|counters| counters.upgrade());
            let context = Arc::clone(&self.context);
            let function = Arc::new(Destination::new(spec, former.unwrap_or_default(), context));
            if let Some(endpoints) = state.early.remove(&function.id) {
                function.set_endpoints(&endpoints);
            }
            state.functions.insert(function.id.clone(), Arc::clone(&function));
            state.claims.claim(hosts, &function);
            return true;
        };
        let before = arc_swap::Guard::into_inner(function.route());
        if before.spec == spec {
            return false;
        }
        let moved = before.spec.hosts != spec.hosts || before.spec.created != spec.created;
        if moved {
            state.claims.give_up(hosts, &function);
        }
        function.set_route(spec);
        if moved {
            state.claims.claim(hosts, &function);
        }
        moved
    }

    fn remove_locked(state: &mut State, hosts: &mut Hosts, id: &FunctionId) {
        if let Some(function) = state.functions.remove(id) {
            state.claims.give_up(hosts, &function);
            function.remove();
            if function.counters.in_flight() > 0 {
                state.former.retain(|_, counters| counters.strong_count() > 0);
                state.former.insert(id.clone(), Arc::downgrade(&function.counters));
            }
        }
    }
}

/// Who claims which host, its owner first.
#[derive(Default)]
struct Claims(HashMap<Arc<str>, SmallVec<[Arc<Destination>; 1]>>);

impl Claims {
    /// Claims every host of the function's route.
    fn claim(&mut self, hosts: &mut Hosts, function: &Arc<Destination>) {
        for name in &function.route().spec.hosts {
            let host: Arc<str> = normalize_host(name).as_ref().into();
            let claims = self.0.entry(Arc::clone(&host)).or_default();
            if claims.iter().any(|f| Arc::ptr_eq(f, function)) {
                continue;
            }
            claims.push(Arc::clone(function));
            claims.sort_by_cached_key(|f| (f.route().spec.created, f.id.clone()));
            if let [owner, _, ..] = &claims[..] {
                let (owner, by) = (&owner.id, &function.id);
                tracing::warn!(%host, %owner, claimed_by = %by, "more than one function has this host");
            }
            if claims.len() == 2 {
                function.context.metrics.contended_hosts.inc();
            }
            self.settle(hosts, &host);
        }
    }

    /// Gives up every host of the function's route; the next one has it from now on.
    fn give_up(&mut self, hosts: &mut Hosts, function: &Arc<Destination>) {
        for name in &function.route().spec.hosts {
            let host = normalize_host(name);
            if let Some(claims) = self.0.get_mut(host.as_ref()) {
                let before = claims.len();
                claims.retain(|f| !Arc::ptr_eq(f, function));
                if (before, claims.len()) == (2, 1) {
                    function.context.metrics.contended_hosts.dec();
                }
            }
            self.settle(hosts, &host);
        }
    }

    fn settle(&mut self, hosts: &mut Hosts, host: &str) {
        match self.0.get_key_value(host) {
            Some((host, claims)) if !claims.is_empty() => {
                if !hosts.get(host).is_some_and(|f| Arc::ptr_eq(f, &claims[0])) {
                    hosts.insert_mut(Arc::clone(host), Arc::clone(&claims[0]));
                }
            }
            _ => {
                self.0.remove(host);
                hosts.remove_mut(host);
            }
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
        let listed: HashSet<_> = routes.iter().map(|r| r.id.clone()).collect();
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

    fn fail(&self, id: &FunctionId) {
        let function = self.state.lock().functions.get(id).cloned();
        if let Some(function) = function {
            function.fail();
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
    let (without_port, _) = host_and_port(host);
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
    use super::*;

    fn router() -> Router {
        Router::new(DestinationContext::for_test(1), true)
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

    fn aged(name: &str, created: i64, hosts: &[&str]) -> RouteSpec {
        RouteSpec { created, ..spec(name, hosts) }
    }

    /// Functions in any order of arrival: the oldest has the host, then the next.
    #[test]
    fn a_host_has_one_owner_and_heirs() {
        let contenders = [("c", 1), ("a", 2), ("b", 2), ("d", 3)];
        for first in 0..contenders.len() {
            let r = router();
            let contended = || r.context.metrics.contended_hosts.get();
            for n in 0..contenders.len() {
                let (name, created) = contenders[(first + n) % contenders.len()];
                r.apply(aged(name, created, &["x.test", "X.test.", &format!("{name}.test")]));
            }
            for (left, (name, _)) in (0..contenders.len()).rev().zip(contenders) {
                assert_eq!(owner(&r, "x.test").as_deref(), Some(name), "{first}");
                assert_eq!(contended(), i64::from(left > 0), "{left} others");
                let function = r.route(&format!("{name}.test")).unwrap();
                assert!(r.claims(&function).iter().all(|(_, other)| other.is_none()));
                RouteSink::remove(&r, &FunctionId::new("ns", name));
            }
            assert_eq!(owner(&r, "x.test"), None);
            assert!(r.state.lock().claims.0.is_empty());
        }
    }

    #[test]
    fn hosts_move_with_their_owner() {
        let r = router();
        let (x, y) = (|| owner(&r, "x.test"), || owner(&r, "y.test"));
        r.apply(aged("b", 2, &["x.test"]));
        r.apply(aged("a", 1, &["x.test"]));
        assert_eq!(x().as_deref(), Some("a"));
        let b = r.functions().into_iter().find(|f| &*f.id.name == "b").unwrap();
        let a = FunctionId::new("ns", "a");
        assert_eq!(r.claims(&b), [("x.test".to_owned(), Some(a.clone()))]);
        // Gives it up, and takes it again.
        r.apply(aged("a", 1, &["y.test"]));
        assert_eq!((x().as_deref(), y().as_deref()), (Some("b"), Some("a")));
        r.apply(aged("a", 1, &["x.test"]));
        assert_eq!((x().as_deref(), y()), (Some("a"), None));
        // It was made again, and is the younger one now.
        r.apply(aged("a", 3, &["x.test"]));
        assert_eq!(x().as_deref(), Some("b"));
        RouteSink::replace_all(&r, vec![aged("a", 3, &["x.test"])]);
        assert_eq!(x().as_deref(), Some("a"));
        RouteSink::replace_all(&r, vec![aged("b", 4, &["x.test"]), aged("a", 5, &["x.test"])]);
        assert_eq!(x().as_deref(), Some("b"));
        RouteSink::remove(&r, &FunctionId::new("ns", "b"));
        assert_eq!(
            (x().as_deref(), r.claims(&r.route("x.test").unwrap())),
            (Some("a"), vec![("x.test".into(), None)])
        );
    }

    proptest::proptest! {
        /// Whatever came and went, in whatever order: each host is with the oldest that claims it.
        #[test]
        fn each_host_is_with_the_oldest(changes in proptest::collection::vec((0..5_u8, 0..3_i64, 0..8_u8), 0..40)) {
            let r = router();
            let mut claims = std::collections::BTreeMap::new();
            for (name, created, hosts) in changes {
                let name = format!("f{name}");
                let hosts: Vec<_> = (0..3).filter(|n| hosts >> n & 1 == 1).map(|n| format!("h{n}")).collect();
                if hosts.is_empty() {
                    claims.remove(&name);
                    RouteSink::remove(&r, &FunctionId::new("ns", &name));
                } else {
                    claims.insert(name.clone(), (created, hosts.clone()));
                    let hosts: Vec<_> = hosts.iter().map(String::as_str).collect();
                    r.apply(aged(&name, created, &hosts));
                }
            }
            for host in ["h0", "h1", "h2"] {
                let having = claims.iter().filter(|(_, (_, hosts))| hosts.iter().any(|h| h == host));
                let oldest = having.min_by_key(|(name, (created, _))| (*created, (*name).clone()));
                proptest::prop_assert_eq!(owner(&r, host), oldest.map(|(name, _)| name.clone()));
            }
        }
    }

    #[test]
    fn paths_find_functions_by_name() {
        let r = router();
        r.apply(spec("a", &["a.test"]));
        let check = |target: &str, expected: Result<&str, ProxyError>| {
            let found = r.route_path(target.as_bytes());
            let found = found.map(|(f, rest)| format!("{} {}", f.id.name, rest.escape_ascii()));
            assert_eq!(found.as_deref(), expected.as_ref().copied(), "{target}");
        };
        check("/_fn/a", Ok("a /"));
        check("/_fn/a/x?y=1", Ok("a /x?y=1"));
        check("/_fn/a?y=1", Ok("a /?y=1"));
        check("/_fn/b/x", Err(ProxyError::UnknownName));
        check("/_fn/", Err(ProxyError::UnknownName));
        check("/x", Err(ProxyError::UnknownHost));
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
