//! The cluster a load scenario works with: its API, the interceptor's address, its parts on this
//! machine, and a list of what has to be put back.
//!
//! Nothing is removed by a destructor, because removal must be waited for: whoever connects calls
//! [`Cluster::clean_up`] after every scenario, whether it ended, failed, timed out or was
//! interrupted.

use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use anyhow::Context as _;
use kube::{
    Api, Client, Resource,
    api::{ApiResource, DeleteParams, DynamicObject, ObjectMeta, PostParams, TypeMeta},
};
use tokio::time::{Instant, sleep};

use crate::{audit::Audit, components::Components, connect, namespace::Namespace, watch};

/// KEDA has 20 writes a second, and several of them to do before it lets go of one object.
const REMOVAL: Duration = Duration::from_secs(600);
/// How often a namespace that is being removed is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// A cluster on this machine.
pub struct Cluster {
    pub client: Client,
    /// The interceptors' Service, reached from here.
    pub interceptor: SocketAddr,
    /// Parts of the cluster that can be stopped and started.
    pub components: Components,
    /// Who asked the API server for what, and when.
    pub audit: Audit,
    agent: &'static str,
    namespaces: Mutex<Vec<String>>,
    taken: Mutex<Vec<DynamicObject>>,
}

impl Cluster {
    /// Connects by `KUBECONFIG`; `agent` is what the scenarios call themselves.
    ///
    /// # Errors
    /// When no cluster answers, or Kipper is not installed there.
    pub async fn connect(agent: &'static str) -> Result<Self, anyhow::Error> {
        let client = connect::client(Some(agent)).await?;
        let state = state_dir()?;
        Ok(Self {
            interceptor: connect::interceptor(&client).await?,
            components: Components::default(),
            audit: Audit::new(state.join("logs")),
            client,
            agent,
            namespaces: Mutex::default(),
            taken: Mutex::default(),
        })
    }

    /// A namespace of its own for `scenario`: `lt-<scenario>-<random>`.
    ///
    /// # Errors
    /// When it cannot be created.
    pub async fn namespace(&self, scenario: &str) -> Result<Namespace, anyhow::Error> {
        let name = format!("lt-{}-{}", scenario.replace('_', "-"), connect::suffix());
        self.namespaces().push(name.clone());
        connect::create_namespace(&self.client, &name).await?;
        Ok(Namespace::new(self.client.clone(), name, self.agent))
    }

    /// Deletes an object of the whole cluster until [`Self::give_back`], or until the end.
    ///
    /// # Errors
    /// When it is not there, or cannot be deleted.
    pub async fn take<K>(&self, name: &str) -> Result<(), anyhow::Error>
    where
        K: Resource<DynamicType = ()>,
    {
        let resource = ApiResource::erase::<K>(&());
        let api = Api::<DynamicObject>::all_with(self.client.clone(), &resource);
        let mut object = api.get(name).await?;
        object.types = Some(TypeMeta::resource::<K>());
        object.metadata = ObjectMeta {
            name: object.metadata.name.take(),
            labels: object.metadata.labels.take(),
            annotations: object.metadata.annotations.take(),
            ..ObjectMeta::default()
        };
        self.taken().push(object);
        api.delete(name, &DeleteParams::default()).await?;
        Ok(())
    }

    /// Makes everything again that was taken.
    ///
    /// # Errors
    /// When something cannot be made.
    pub async fn give_back(&self) -> Result<(), anyhow::Error> {
        let taken: Vec<DynamicObject> = std::mem::take(&mut self.taken());
        for object in taken {
            let types = object.types.clone().unwrap_or_default();
            let resource = ApiResource::from_gvk(&types.try_into()?);
            let api = Api::<DynamicObject>::all_with(self.client.clone(), &resource);
            api.create(&PostParams::default(), &object).await?;
        }
        Ok(())
    }

    /// Starts what was stopped, makes again what was taken, and removes every namespace that was made; returns when they are
    /// gone.
    ///
    /// # Errors
    /// When something does not start or go away.
    pub async fn clean_up(&self) -> Result<(), anyhow::Error> {
        let started = self.components.start_stopped().await;
        let given_back = self.give_back().await;
        let namespaces: Api<k8s_openapi::api::core::v1::Namespace> = Api::all(self.client.clone());
        let names: Vec<String> = std::mem::take(&mut self.namespaces());
        for name in &names {
            watch::deleted(&namespaces, name).await?;
        }
        let deadline = Instant::now() + REMOVAL;
        for name in names {
            let namespace = Namespace::new(self.client.clone(), name, self.agent);
            while namespaces.get_metadata_opt(&namespace.name).await?.is_some() {
                let name = &namespace.name;
                anyhow::ensure!(Instant::now() < deadline, "namespace {name} does not go away");
                namespace.end_stopping_pods().await?;
                sleep(LOOK_EVERY).await;
            }
        }
        started.and(given_back)
    }

    fn taken(&self) -> std::sync::MutexGuard<'_, Vec<DynamicObject>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Only held for one statement, never across an await.
    fn namespaces(&self) -> std::sync::MutexGuard<'_, Vec<String>> {
        self.namespaces.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The local cluster's state: beside the kubeconfig, if KIPPER_CLUSTER_DIR is not set.
fn state_dir() -> Result<PathBuf, anyhow::Error> {
    if let Some(dir) = std::env::var_os("KIPPER_CLUSTER_DIR") {
        return Ok(dir.into());
    }
    let kubeconfig = std::env::var_os("KUBECONFIG").map(PathBuf::from);
    let dir = kubeconfig.and_then(|file| file.parent().map(PathBuf::from));
    dir.context("neither KIPPER_CLUSTER_DIR nor KUBECONFIG is set")
}
