//! Which interceptors there are, from the EndpointSlices of their own Service.
//!
//! A pod counts while it is ready; this interceptor counts always, since it is at work. Watched
//! only so that the fleet divides the pods of concurrency-limited functions.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::{Api, Client};

use super::watch::{self, Mirror};
use crate::{router::Router, source::SourceError};

/// Follows the interceptors behind `service` in `namespace`; `me` is this pod's name.
pub async fn follow(
    client: Client,
    namespace: &str,
    service: &str,
    me: String,
    router: Arc<Router>,
) -> Result<(), SourceError> {
    let slices = Api::<EndpointSlice>::namespaced(client, namespace);
    let selector = format!("kubernetes.io/service-name={service}");
    let mirror = FleetMirror { me, router, pods: HashMap::new(), listed: HashMap::new() };
    watch::follow(slices, &selector, mirror).await
}

/// Ready pods by slice.
type Pods = HashMap<String, BTreeSet<String>>;

struct FleetMirror {
    me: String,
    router: Arc<Router>,
    pods: Pods,
    /// What a list in progress has brought so far.
    listed: Pods,
}

impl FleetMirror {
    fn tell(&self) {
        let mut members: BTreeSet<_> = self.pods.values().flatten().cloned().collect();
        members.insert(self.me.clone());
        self.router.set_fleet(self.me.clone(), members.into_iter().collect());
    }
}

fn ready_pods(slice: &EndpointSlice) -> BTreeSet<String> {
    let ready = slice
        .endpoints
        .iter()
        .filter(|e| e.conditions.as_ref().and_then(|c| c.ready).unwrap_or(true));
    ready.filter_map(|e| e.target_ref.as_ref()?.name.clone()).collect()
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
