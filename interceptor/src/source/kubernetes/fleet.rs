//! Which interceptors there are, from the EndpointSlices of their own Service.
//!
//! A pod counts while it is ready; this interceptor counts always, since it is at work. Watched
//! only so that the fleet divides the pods of concurrency-limited functions.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::Arc,
};

use futures_util::future::BoxFuture;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kipper_function::names;
use kipper_kubernetes::Values;
use kube::{Api, Client};

use super::{
    slices::{self, CONTROLLER, MANAGED_BY},
    watch,
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
            selector: format!("{}={service},{MANAGED_BY}={CONTROLLER}", names::SERVICE_NAME),
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
            let mirror = Values::new(
                |slice: &EndpointSlice| Some(ready_pods(slice)),
                move |pods| {
                    let members = members(pods.values().flatten(), &me);
                    sink.set_fleet(Fleet { me: me.clone(), members });
                },
            );
            watch::follow(slices, &selector, mirror).await
        })
    }
}

/// Every interceptor once, this one included. A pod with an IPv4 and an IPv6 address is in two
/// slices; it counts by IPv4.
fn members<'a>(pods: impl Iterator<Item = &'a Member>, me: &str) -> Vec<Member> {
    let mut members: BTreeMap<&str, Option<SocketAddr>> = BTreeMap::new();
    for member in pods {
        let known = members.entry(&member.name).or_default();
        *known = match (*known, member.address) {
            (Some(known), Some(other)) => Some(known.min(other)),
            (known, other) => known.or(other),
        };
    }
    members.entry(me).or_default();
    let member = |(name, address): (&str, _)| Member { name: name.to_owned(), address };
    members.into_iter().map(member).collect()
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
