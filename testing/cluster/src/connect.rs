//! The cluster that KUBECONFIG names, and nothing else it could mean: what works here makes and
//! deletes namespaces.

use std::net::{IpAddr, SocketAddr};

use anyhow::Context as _;
use k8s_openapi::api::core::v1::{Namespace, Service};
use kube::{
    Api, Client, Config,
    api::{DeleteParams, PostParams},
};

use crate::names::{INTERCEPTOR, SYSTEM};

/// A client. `agent` is what it calls itself, so that the audit log tells it from everybody else.
///
/// # Errors
/// When KUBECONFIG is not set, or no cluster answers.
pub async fn client(agent: Option<&'static str>) -> Result<Client, anyhow::Error> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    anyhow::ensure!(
        std::env::var_os("KUBECONFIG").is_some_and(|path| !path.is_empty()),
        "KUBECONFIG is not set: make cluster-up, then eval \"$(deploy/local-cluster/cluster env)\""
    );
    let mut config = Config::infer().await.context("KUBECONFIG")?;
    if let Some(agent) = agent {
        let agent = http::HeaderValue::from_static(agent);
        config.headers.push((http::header::USER_AGENT, agent));
    }
    let client = Client::try_from(config)?;
    let answered = client.apiserver_version().await;
    answered.context("the cluster does not answer, is it up (make cluster-up)?")?;
    Ok(client)
}

/// The interceptors' Service, reached from here.
///
/// # Errors
/// When the chart is not installed.
pub async fn interceptor(client: &Client) -> Result<SocketAddr, anyhow::Error> {
    let services: Api<Service> = Api::namespaced(client.clone(), SYSTEM);
    let service = services.get_opt(INTERCEPTOR).await?;
    let service =
        service.context("Kipper is not installed: deploy/local-cluster/cluster install")?;
    address(&service).context("the interceptor's Service has no address")
}

fn address(service: &Service) -> Option<SocketAddr> {
    let spec = service.spec.as_ref()?;
    let ip: IpAddr = spec.cluster_ip.as_ref()?.parse().ok()?;
    let port = spec.ports.as_ref()?.first()?.port;
    Some(SocketAddr::new(ip, u16::try_from(port).ok()?))
}

/// Six hexadecimal digits, so that no two runs meet.
pub(crate) fn suffix() -> String {
    format!("{:06x}", fastrand::u32(..1 << 24))
}

/// Creates a namespace.
///
/// # Errors
/// When it exists, or may not be created.
pub async fn create_namespace(client: &Client, name: &str) -> kube::Result<()> {
    let mut namespace = Namespace::default();
    namespace.metadata.name = Some(name.to_owned());
    let api: Api<Namespace> = Api::all(client.clone());
    api.create(&PostParams::default(), &namespace).await?;
    Ok(())
}

/// Asks for the end of a namespace, and does not wait for it; one that is gone or ending is fine.
///
/// # Errors
/// When it may not be deleted.
pub async fn delete_namespace(client: &Client, name: &str) -> kube::Result<()> {
    let api: Api<Namespace> = Api::all(client.clone());
    match api.delete(name, &DeleteParams::background()).await {
        Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(()),
        other => other.map(drop),
    }
}
