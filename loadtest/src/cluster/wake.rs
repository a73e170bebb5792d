//! One wake from the outside: when the request was sent, when each part of the cluster had done
//! its share, and when the first byte came back. Everything is read from this machine's one clock.
//!
//! Writes are timed by the audit log (the answer was complete, so the write is visible). Addresses
//! are timed by a watch of the EndpointSlices, as the interceptor sees them. Listening is timed by
//! connecting to a new address every millisecond until it is accepted, so it can be seen up to
//! that much late, and never before the address is known: nobody could connect earlier.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::Context as _;
use futures_util::StreamExt as _;
use k8s_openapi::{api::discovery::v1::EndpointSlice, jiff::Timestamp};
use kipper_cluster::{
    Cluster, Namespace,
    audit::{Entry, Mark},
    functions, watch,
};
use kipper_measure::client::{Answer, Client};
use kube::runtime::watcher::Event;
use tokio::{
    net::TcpStream,
    task::JoinSet,
    time::{Instant, sleep, timeout},
};

use crate::{
    requests::get,
    run::{PATIENCE, POLL},
};

/// How often a new address is tried.
const CONNECT_EVERY: Duration = Duration::from_millis(1);
/// A pod that does not listen by then never will.
const LISTEN_WITHIN: Duration = Duration::from_secs(60);

/// When the first address of a Service was seen.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Seen {
    pub(crate) in_slice: Option<Timestamp>,
    pub(crate) listening: Option<Timestamp>,
    pub(crate) ready: Option<Timestamp>,
}

/// Watches the addresses of every Service of a namespace. Its tasks end with it.
pub(crate) struct Witness {
    seen: Arc<Mutex<HashMap<String, Seen>>>,
    _watch: JoinSet<()>,
}

impl Witness {
    pub(crate) fn start(namespace: &Namespace) -> Self {
        let seen = Arc::<Mutex<HashMap<String, Seen>>>::default();
        let mut watch = JoinSet::new();
        watch.spawn(follow(namespace.clone(), Arc::clone(&seen)));
        Self { seen, _watch: watch }
    }

    /// Resolves with what was seen of a Service once `complete` holds for it.
    pub(crate) async fn until(
        &self,
        service: &str,
        complete: impl Fn(&Seen) -> bool,
    ) -> Result<Seen, anyhow::Error> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let seen = lock(&self.seen).get(service).copied().unwrap_or_default();
            if complete(&seen) {
                return Ok(seen);
            }
            anyhow::ensure!(Instant::now() < deadline, "of {service} only {seen:?} was seen");
            sleep(POLL).await;
        }
    }
}

/// Only held for one statement, never across an await.
fn lock(seen: &Mutex<HashMap<String, Seen>>) -> MutexGuard<'_, HashMap<String, Seen>> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn follow(namespace: Namespace, seen: Arc<Mutex<HashMap<String, Seen>>>) {
    let slices = namespace.api::<EndpointSlice>();
    let mut connects = JoinSet::new();
    let mut events = watch::events(&slices);
    while let Some(event) = events.next().await {
        let (Event::Apply(slice) | Event::InitApply(slice)) = event else { continue };
        let now = Timestamp::now();
        let Some(service) = functions::service_of(&slice) else { continue };
        for (address, ready) in functions::endpoints(&slice) {
            let mut all = lock(&seen);
            let seen_of = all.entry(service.to_owned()).or_default();
            if ready {
                seen_of.ready.get_or_insert(now);
            }
            if seen_of.in_slice.is_none() {
                seen_of.in_slice = Some(now);
                let port = slice.ports.iter().flatten().find_map(|port| port.port);
                let addr = port.and_then(|port| format!("{address}:{port}").parse().ok());
                if let Some(addr) = addr {
                    connects.spawn(connect(addr, service.to_owned(), Arc::clone(&seen)));
                }
            }
        }
        while connects.try_join_next().is_some() {}
    }
}

async fn connect(addr: SocketAddr, service: String, seen: Arc<Mutex<HashMap<String, Seen>>>) {
    let trying = async {
        while TcpStream::connect(addr).await.is_err() {
            sleep(CONNECT_EVERY).await;
        }
    };
    if timeout(LISTEN_WITHIN, trying).await.is_ok() {
        lock(&seen).entry(service).or_default().listening = Some(Timestamp::now());
    }
}

/// One request that woke a function.
#[derive(Clone, Debug)]
pub(crate) struct Wake {
    pub(crate) sent: Timestamp,
    pub(crate) scaled: Scaled,
    pub(crate) in_slice: Timestamp,
    pub(crate) listening: Timestamp,
    pub(crate) first_byte: Timestamp,
    pub(crate) answer: Answer,
}

/// What the API server wrote down of a Deployment that left zero.
#[derive(Clone, Debug)]
pub(crate) struct Scaled {
    /// Who wrote its scale.
    pub(crate) by: String,
    pub(crate) at: Timestamp,
    pub(crate) pod_created: Timestamp,
    pub(crate) scheduled: Timestamp,
}

/// Sends one request to a function at zero, and says what happened when. No other function of the
/// namespace may be woken meanwhile: pods are created without a name in the audit log.
pub(crate) async fn wake(
    cluster: &Cluster,
    namespace: &Namespace,
    witness: &Witness,
    function: &str,
    host: &str,
) -> Result<Wake, anyhow::Error> {
    let mark = cluster.audit.mark()?;
    let mut client = Client::connect(cluster.interceptor).await?;
    let sent = Timestamp::now();
    client.send(&get(host, "/")).await?;
    client.first_byte().await.context("no answer")?;
    let first_byte = Timestamp::now();
    let answer = client.answer().await?;
    let seen = witness.until(function, |seen| seen.listening.is_some()).await;
    let seen = seen.with_context(|| format!("answered with {}", describe(&answer)))?;
    let scaled = scaled(cluster, namespace, function, &mark)?;
    let (Some(in_slice), Some(listening)) = (seen.in_slice, seen.listening) else {
        anyhow::bail!("unreachable: what listens was in a slice")
    };
    Ok(Wake { sent, scaled, in_slice, listening, first_byte, answer })
}

/// Status and the beginning of the body, for a message.
pub(crate) fn describe(answer: &Answer) -> String {
    let body: String = String::from_utf8_lossy(&answer.body).chars().take(300).collect();
    format!("{} {body}", answer.status)
}

/// Reads from the audit log how a Deployment left zero after the mark.
pub(crate) fn scaled(
    cluster: &Cluster,
    namespace: &Namespace,
    name: &str,
    mark: &Mark,
) -> Result<Scaled, anyhow::Error> {
    let own = |entry: &Entry| entry.is_write() && entry.object_ref.namespace == namespace.name;
    let entries = cluster.audit.since(mark, own)?;
    let find = |what: &str, wanted: &dyn Fn(&Entry) -> bool| {
        let found = entries.iter().find(|entry| wanted(entry));
        found.with_context(|| format!("the audit log has no {what} of {name}"))
    };
    let is = |entry: &Entry, resource: &str, subresource: &str| {
        entry.object_ref.resource == resource && entry.object_ref.subresource == subresource
    };
    let scale =
        find("scale", &|e: &Entry| is(e, "deployments", "scale") && e.object_ref.name == name)?;
    let created = find("pod", &|e: &Entry| e.verb == "create" && is(e, "pods", ""))?;
    let pod = format!("{name}-");
    let bound = find("binding", &|e: &Entry| {
        is(e, "pods", "binding") && e.object_ref.name.starts_with(&pod)
    })?;
    Ok(Scaled {
        by: scale.user().to_owned(),
        at: scale.stage_timestamp,
        pod_created: created.stage_timestamp,
        scheduled: bound.stage_timestamp,
    })
}
