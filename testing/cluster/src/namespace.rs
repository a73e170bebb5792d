//! A namespace of one load scenario: functions come and go in it, and are waited for by watch.

use std::time::Duration;

use anyhow::Context as _;
use k8s_openapi::{
    NamespaceResourceScope,
    api::{apps::v1::Deployment, core::v1::Pod},
};
use kipper_function::Function;
use kube::{
    Api, Client, ResourceExt as _,
    api::{DeleteParams, DynamicObject, ListParams, Patch, PatchParams},
};
use serde_json::json;

use crate::{functions, watch};

/// No wait here is longer; only a hang reaches it.
const PATIENCE: Duration = Duration::from_secs(60);

/// A namespace that is removed when the scenario is over.
#[derive(Clone)]
pub struct Namespace {
    client: Client,
    /// Its name.
    pub name: String,
    /// Owns the fields that are applied.
    agent: &'static str,
}

impl Namespace {
    pub(crate) fn new(client: Client, name: String, agent: &'static str) -> Self {
        Self { client, name, agent }
    }

    /// Objects of a kind in here.
    pub fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<DynamicType: Default, Scope = NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), &self.name)
    }

    pub fn scaled_objects(&self) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), &self.name, &functions::scaled_objects())
    }

    /// As `kubectl apply` would; the answer is what is stored, or why it was refused.
    pub async fn apply(&self, function: &Function) -> Result<Function, kube::Error> {
        let params = PatchParams::apply(self.agent).force();
        self.api().patch(&function.name_any(), &params, &Patch::Apply(function)).await
    }

    /// Asks for the deletion of a function; does not wait for it.
    pub async fn delete(&self, function: &str) -> Result<(), anyhow::Error> {
        watch::deleted(&self.api::<Function>(), function).await
    }

    /// Resolves with the function once `condition` holds for it.
    pub async fn until(
        &self,
        function: &str,
        mut condition: impl FnMut(&Function) -> bool,
    ) -> Result<Function, anyhow::Error> {
        let api = self.api();
        let found = watch::object(&api, function, PATIENCE, |f| f.is_some_and(&mut condition));
        found.await?.context("unreachable: only an object is waited for")
    }

    /// Resolves once the function is in place and KEDA has taken it over: a request would wake it.
    pub async fn until_ready(&self, function: &str) -> Result<Function, anyhow::Error> {
        let found = self.until(function, functions::is_ready).await?;
        let api = self.scaled_objects();
        let taken = |object: Option<&DynamicObject>| object.is_some_and(functions::is_scaling);
        watch::object(&api, function, PATIENCE, taken).await.context("ScaledObject")?;
        Ok(found)
    }

    /// Resolves once this many of the function's pods are ready.
    pub async fn until_replicas(
        &self,
        function: &str,
        replicas: i32,
        patience: Duration,
    ) -> Result<(), anyhow::Error> {
        let is = |found: Option<&Deployment>| {
            let desired = |d: &Deployment| d.spec.as_ref().and_then(|spec| spec.replicas);
            found.is_some_and(|d| {
                desired(d) == Some(replicas) && functions::ready_replicas(d) == replicas
            })
        };
        watch::object(&self.api(), function, patience, is).await?;
        Ok(())
    }

    /// Pods that are left. Those that are stopping end now: the test server does not listen to signals,
    /// and its grace period is not worth waiting for.
    pub async fn end_stopping_pods(&self) -> Result<usize, anyhow::Error> {
        let api = self.api::<Pod>();
        let pods = api.list_metadata(&ListParams::default()).await?.items;
        for pod in pods.iter().filter(|pod| pod.metadata.deletion_timestamp.is_some()) {
            let now = DeleteParams::default().grace_period(0);
            match api.delete(pod.metadata.name.as_deref().unwrap_or_default(), &now).await {
                Err(error) if !watch::is_not_found(&error) => return Err(error.into()),
                _ => {}
            }
        }
        Ok(pods.len())
    }

    /// Writes a Deployment's scale by hand.
    pub async fn scale(&self, name: &str, replicas: i32) -> Result<(), anyhow::Error> {
        let scale = Patch::Merge(json!({"spec": {"replicas": replicas}}));
        let api: Api<Deployment> = self.api();
        api.patch_scale(name, &PatchParams::default(), &scale).await?;
        Ok(())
    }
}
