//! Which interceptors there are, from the EndpointSlices of their own Service.
//!
//! A pod counts while it is ready; this interceptor counts always, since it is at work. Watched
//! only so that the fleet divides the pods of concurrency-limited functions.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::SocketAddr,
    sync::Arc,
};

use futures_util::future::BoxFuture;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::{Api, Client};

use super::{
    slices,
    watch::{self, Mirror},
};
use crate::source::{Fleet, FleetSink, FleetSource, Member, SourceError};

/// Watches the interceptors behind one Service.
pub struct ServiceFleet {
    slices: Api<EndpointSlice>,
    selector: String,
    me: String,
}

impl ServiceFleet {
    /// Behind `service` in `namespace`; `me` is this pod's name.
    pub fn new(client: Client, namespace: &str, service: &str, me: &str) -> Self {
        Self {
            slices: Api::namespaced(client, namespace),
            selector: format!("kubernetes.io/service-name={service}"),
            me: me.to_owned(),
        }
    }
}

impl FleetSource for ServiceFleet {
    fn run(
        self: Box<Self>,
        sink: Arc<dyn FleetSink>,
    ) -> BoxFuture<'static, Result<(), SourceError>> {
        Box::pin(async move {
            let Self { slices, selector, me } = *self;
            let mirror = FleetMirror { me, sink, pods: HashMap::new(), listed: HashMap::new() };
            watch::follow(slices, &selector, mirror).await
        })
    }
}

/// Ready pods by slice, each with its address.
type Pods = HashMap<String, BTreeSet<Member>>;

struct FleetMirror {
    me: String,
    sink: Arc<dyn FleetSink>,
    pods: Pods,
    /// What a list in progress has brought so far.
    listed: Pods,
}

impl FleetMirror {
    fn tell(&self) {
        // A pod with an IPv4 and an IPv6 address is in two slices; it counts once, by IPv4.
        let mut members: BTreeMap<&str, Option<SocketAddr>> = BTreeMap::new();
        for member in self.pods.values().flatten() {
            let known = members.entry(&member.name).or_default();
            *known = match (*known, member.address) {
                (Some(known), Some(other)) => Some(known.min(other)),
                (known, other) => known.or(other),
            };
        }
        members.entry(&self.me).or_default();
        let member = |(name, address): (&str, _)| Member { name: name.to_owned(), address };
        let members = members.into_iter().map(member).collect();
        self.sink.set_fleet(Fleet { me: self.me.clone(), members });
    }
}

fn ready_pods(slice: &EndpointSlice) -> BTreeSet<Member> {
    let ready = slice
        .endpoints
        .iter()
        .filter(|e| e.conditions.as_ref().and_then(|c| c.ready).unwrap_or(true));
    let port = slices::port(slice.ports.as_deref().unwrap_or_default());
    let member = |endpoint: &k8s_openapi::api::discovery::v1::Endpoint| {
        let name = endpoint.target_ref.as_ref()?.name.clone()?;
        let ip = endpoint.addresses.first().and_then(|ip| ip.parse().ok());
        let address = ip.zip(port).map(|(ip, port)| SocketAddr::new(ip, port));
        Some(Member { name, address })
    };
    ready.filter_map(member).collect()
}

fn name(slice: &EndpointSlice) -> String {
    slice.metadata.name.clone().unwrap_or_default()
}

impl Mirror<EndpointSlice> for FleetMirror {
    fn begin(&mut self) {
        self.listed.clear();
    }

    fn list(&mut self, slice: EndpointSlice) {
        self.listed.insert(name(&slice), ready_pods(&slice));
    }

    fn complete(&mut self) {
        self.pods = std::mem::take(&mut self.listed);
        self.tell();
    }

    fn apply(&mut self, slice: EndpointSlice) {
        self.pods.insert(name(&slice), ready_pods(&slice));
        self.tell();
    }

    fn delete(&mut self, slice: EndpointSlice) {
        self.pods.remove(&name(&slice));
        self.tell();
    }
}
