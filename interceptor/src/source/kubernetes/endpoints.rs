//! Endpoints from EndpointSlices.
//!
//! Keeps the addresses of the functions that have pods, and nothing of those that have none, so
//! memory follows the pods and not the functions. An event re-merges one function's slices and is
//! passed on only when that changed something.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use futures_util::future::BoxFuture;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kipper_function::names;
use kipper_kubernetes::Mirror;
use kube::{Api, Client};

use super::{
    slices::{self, Address},
    watch,
};
use crate::source::{EndpointSink, EndpointSource, EndpointState, FunctionId, SourceError};

/// Watches the EndpointSlices of functions.
pub struct FunctionEndpoints {
    slices: Api<EndpointSlice>,
}

impl FunctionEndpoints {
    /// Watches `namespace`, or every namespace.
    pub fn new(client: Client, namespace: Option<&str>) -> Self {
        let slices = match namespace {
            Some(namespace) => Api::namespaced(client, namespace),
            None => Api::all(client),
        };
        Self { slices }
    }
}

impl EndpointSource for FunctionEndpoints {
    fn run(
        self: Box<Self>,
        sink: Arc<dyn EndpointSink>,
    ) -> BoxFuture<'static, Result<(), SourceError>> {
        let mirror = EndpointMirror { sink, pods: Pods::default(), listed: Pods::default() };
        Box::pin(watch::follow(self.slices, names::FUNCTION_SELECTOR, mirror))
    }
}

struct EndpointMirror {
    sink: Arc<dyn EndpointSink>,
    pods: Pods,
    /// What a list in progress has brought so far.
    listed: Pods,
}

impl EndpointMirror {
    /// Tells the sink about each of `touched` whose merged endpoints are no longer `before`.
    fn tell(&self, touched: Vec<(FunctionId, Vec<EndpointState>)>) {
        for (function, before) in touched {
            let after = self.pods.endpoints(&function);
            if after != before {
                self.sink.set(&function, after);
            }
        }
    }
}

impl Mirror<EndpointSlice> for EndpointMirror {
    fn begin(&mut self) {
        self.listed = Pods::default();
    }

    fn list(&mut self, slice: EndpointSlice) {
        self.listed.put(&slice);
    }

    fn complete(&mut self) {
        self.pods = std::mem::take(&mut self.listed);
        self.sink.replace_all(self.pods.all());
    }

    fn apply(&mut self, slice: EndpointSlice) {
        let touched = self.pods.put(&slice);
        self.tell(touched);
    }

    fn delete(&mut self, slice: EndpointSlice) {
        let touched = self.pods.take(&slice);
        self.tell(touched);
    }
}

/// Namespace and name of a slice.
#[derive(Clone, PartialEq, Eq, Hash)]
struct SliceName(Arc<str>, Arc<str>);

impl SliceName {
    fn of(slice: &EndpointSlice) -> Self {
        let part = |part: &Option<String>| part.as_deref().unwrap_or_default().into();
        Self(part(&slice.metadata.namespace), part(&slice.metadata.name))
    }
}

/// Addresses by slice, and slices by function. A slice without addresses is not kept.
#[derive(Default)]
struct Pods {
    slices: HashMap<SliceName, (FunctionId, Vec<Address>)>,
    functions: HashMap<FunctionId, HashSet<SliceName>>,
}

impl Pods {
    /// Stores a slice. Returns the functions it touches (two, when somebody relabelled it) with
    /// what their endpoints were.
    fn put(&mut self, slice: &EndpointSlice) -> Vec<(FunctionId, Vec<EndpointState>)> {
        let name = SliceName::of(slice);
        let function = slices::function(slice);
        let mut touched = Vec::with_capacity(1);
        if let Some((owner, _)) = self.slices.get(&name) {
            touched.push((owner.clone(), self.endpoints(owner)));
        }
        if let Some(function) = &function
            && touched.first().is_none_or(|(owner, _)| owner != function)
        {
            touched.push((function.clone(), self.endpoints(function)));
        }
        self.remove(&name);
        let addresses = slices::addresses(slice);
        if let Some(function) = function
            && !addresses.is_empty()
        {
            self.functions.entry(function.clone()).or_default().insert(name.clone());
            self.slices.insert(name, (function, addresses));
        }
        touched
    }

    /// Forgets a slice. Returns the function it touches with what its endpoints were.
    fn take(&mut self, slice: &EndpointSlice) -> Vec<(FunctionId, Vec<EndpointState>)> {
        let name = SliceName::of(slice);
        let Some((owner, _)) = self.slices.get(&name) else {
            return Vec::new();
        };
        let touched = vec![(owner.clone(), self.endpoints(owner))];
        self.remove(&name);
        touched
    }

    fn remove(&mut self, name: &SliceName) {
        let Some((owner, _)) = self.slices.remove(name) else {
            return;
        };
        if let Some(slices) = self.functions.get_mut(&owner) {
            slices.remove(name);
            if slices.is_empty() {
                self.functions.remove(&owner);
            }
        }
    }

    fn endpoints(&self, function: &FunctionId) -> Vec<EndpointState> {
        let slices = self.functions.get(function).into_iter().flatten();
        slices::merge(
            slices.filter_map(|name| self.slices.get(name)).flat_map(|(_, addresses)| addresses),
        )
    }

    fn all(&self) -> Vec<(FunctionId, Vec<EndpointState>)> {
        self.functions.keys().map(|function| (function.clone(), self.endpoints(function))).collect()
    }
}
