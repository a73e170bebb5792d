//! Which interceptors there are, from the EndpointSlices of their own Service.
//!
//! A pod counts while it is ready; this interceptor counts always, since it is at work. Watched
//! only so that the fleet divides the pods of concurrency-limited functions.

use std::{collections::BTreeSet, sync::Arc};

use k8s_openapi::api::discovery::v1::EndpointSlice;
use kipper_kubernetes::Values;
use kube::{Api, Client};

use super::watch;
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
    let mirror = Values::new(
        |slice: &EndpointSlice| Some(ready_pods(slice)),
        move |pods| {
            let mut members: BTreeSet<String> = pods.values().flatten().cloned().collect();
            members.insert(me.clone());
            router.set_fleet(me.clone(), members.into_iter().collect());
        },
    );
    watch::follow(slices, &selector, mirror).await
}

fn ready_pods(slice: &EndpointSlice) -> BTreeSet<String> {
    let ready = slice
        .endpoints
        .iter()
        .filter(|e| e.conditions.as_ref().and_then(|c| c.ready).unwrap_or(true));
    ready.filter_map(|e| e.target_ref.as_ref()?.name.clone()).collect()
}
