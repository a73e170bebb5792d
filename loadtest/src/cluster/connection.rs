//! The cluster a scenario works with: its API, the interceptor's address, its parts on this
//! machine, and a list of what has to be put back.
//!
//! Nothing is removed by a destructor, because removal must be waited for: the runner calls
//! [`Cluster::clean_up`] after every scenario, whether it ended, failed, timed out or was
//! interrupted.

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use anyhow::Context as _;
use k8s_openapi::api::core::v1::{Namespace, Service};
use kube::{
    Api, Client, Config,
    api::{ObjectMeta, PostParams},
};

use tokio::time::{Instant, sleep};

use super::{audit::Audit, components::Components, space::Space, until};

/// Where the chart is installed.
pub(crate) const SYSTEM: &str = "kipper-system";
/// The interceptors' Service.
const INTERCEPTOR: &str = "kipper-interceptor";
/// What we call ourselves, so that the audit log tells us from everybody else.
pub(crate) const USER_AGENT: &str = "kipper-loadtest";
/// KEDA has 20 writes a second, and several of them to do before it lets go of one object.
const REMOVAL: Duration = Duration::from_secs(600);
/// How often a namespace that is being removed is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// A cluster on this machine.
pub(crate) struct Cluster {
    pub(crate) client: Client,
    /// The interceptors' Service, reached from here.
    pub(crate) interceptor: SocketAddr,
    /// Parts of the cluster that can be stopped and started.
    pub(crate) components: Components,
    /// Who asked the API server for what, and when.
    pub(crate) audit: Audit,
    spaces: Mutex<Vec<String>>,
}

impl Cluster {
    /// Connects by `KUBECONFIG`.
    pub(crate) async fn connect() -> Result<Self, anyhow::Error> {
        let mut config = Config::infer().await.context("KUBECONFIG")?;
        let agent = http::HeaderValue::from_static(USER_AGENT);
        config.headers.push((http::header::USER_AGENT, agent));
        let client = Client::try_from(config)?;
        let services: Api<Service> = Api::namespaced(client.clone(), SYSTEM);
        let service = services.get(INTERCEPTOR).await.context("is the chart installed?")?;
        let state = state_dir()?;
        Ok(Self {
            interceptor: address(&service).context("the interceptor's Service has no address")?,
            components: Components::default(),
            audit: Audit::new(state.join("logs")),
            client,
            spaces: Mutex::default(),
        })
    }

    /// A namespace of its own for `scenario`: `lt-<scenario>-<random>`.
    pub(crate) async fn space(&self, scenario: &str) -> Result<Space, anyhow::Error> {
        let name = format!("lt-{}-{:06x}", scenario.replace('_', "-"), fastrand::u32(..1 << 24));
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        let namespace = Namespace {
            metadata: ObjectMeta { name: Some(name.clone()), ..ObjectMeta::default() },
            ..Namespace::default()
        };
        self.spaces().push(name.clone());
        namespaces.create(&PostParams::default(), &namespace).await?;
        Ok(Space::new(self.client.clone(), name))
    }

    /// Starts what was stopped, and removes every namespace that was made; returns when they are
    /// gone.
    pub(crate) async fn clean_up(&self) -> Result<(), anyhow::Error> {
        let started = self.components.start_stopped().await;
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        let names: Vec<String> = std::mem::take(&mut self.spaces());
        for name in &names {
            until::deleted(&namespaces, name).await?;
        }
        let deadline = Instant::now() + REMOVAL;
        for name in names {
            let space = Space::new(self.client.clone(), name);
            while namespaces.get_metadata_opt(&space.name).await?.is_some() {
                let name = &space.name;
                anyhow::ensure!(Instant::now() < deadline, "namespace {name} does not go away");
                space.end_stopping_pods().await?;
                sleep(LOOK_EVERY).await;
            }
        }
        started?;
        self.until_keda_listens().await
    }

    /// Only held for one statement, never across an await.
    fn spaces(&self) -> std::sync::MutexGuard<'_, Vec<String>> {
        self.spaces.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn address(service: &Service) -> Option<SocketAddr> {
    let spec = service.spec.as_ref()?;
    let ip: IpAddr = spec.cluster_ip.as_ref()?.parse().ok()?;
    let port = spec.ports.as_ref()?.first()?.port;
    Some(SocketAddr::new(ip, u16::try_from(port).ok()?))
}

/// The local cluster's state: beside the kubeconfig, if nobody says otherwise.
fn state_dir() -> Result<PathBuf, anyhow::Error> {
    if let Some(dir) = std::env::var_os("KIPPER_CLUSTER_DIR") {
        return Ok(dir.into());
    }
    let kubeconfig = std::env::var_os("KUBECONFIG").map(PathBuf::from);
    let dir = kubeconfig.and_then(|file| file.parent().map(PathBuf::from));
    dir.context("neither KIPPER_CLUSTER_DIR nor KUBECONFIG is set")
}
