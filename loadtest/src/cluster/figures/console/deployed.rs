//! `kipper-console` as its Deployment runs it: with what a pod knows of its cluster and no token of its own.

use std::{fs, net::SocketAddr, process::Command};

use anyhow::Context as _;
use k8s_openapi::api::{
    authentication::v1::{TokenRequest, TokenRequestSpec},
    core::v1::{ConfigMap, ServiceAccount},
    rbac::v1::{RoleBinding, RoleRef, Subject},
};
use kipper_cluster::{Cluster, Namespace, names::SYSTEM, watch};
use kipper_console_contract::Console;
use kipper_measure::child::ChildProcess;
use kipper_servers::free_address;
use kube::{
    Api,
    api::{ObjectMeta, PostParams},
};
use tokio::{net::TcpStream, time::Instant};

use crate::run::{PATIENCE, POLL, Run};

/// Under which the console answers; nobody looks the name up.
const ORIGIN: &str = "https://console.example";
/// Where a pod has what it knows of its cluster.
const SERVICE_ACCOUNT: &str = "/run/secrets/kubernetes.io/serviceaccount";
/// Puts files there, for one process alone: the rest of the machine has none.
const AS_A_POD: &str =
    r#"mount -t tmpfs tmpfs /run && mkdir -p "$0" && cp "$1"/* "$0" && shift && exec "$@""#;
/// Whose tokens its users have.
const ACCOUNT: &str = "default";

/// The process, and where it listens.
pub(super) async fn start(
    run: &mut Run,
    cluster: &Cluster,
) -> Result<(ChildProcess, SocketAddr), anyhow::Error> {
    let console = run.binary().with_file_name("kipper-console");
    anyhow::ensure!(console.exists(), "{} is missing: build it first", console.display());
    let files = run.dir().join("service-account");
    fs::create_dir_all(&files)?;
    let maps: Api<ConfigMap> = Api::namespaced(cluster.client.clone(), SYSTEM);
    let certificates = maps.get("kube-root-ca.crt").await?.data.unwrap_or_default();
    let certificate = certificates.get("ca.crt").context("the cluster has no certificate")?;
    fs::write(files.join("ca.crt"), certificate)?;
    fs::write(files.join("namespace"), SYSTEM)?;
    let server = kube::Config::infer().await?.cluster_url;
    let (listen, admin) = (free_address()?, free_address()?);
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", AS_A_POD, SERVICE_ACCOUNT]).arg(&files).arg(&console);
    command.args(["--public-url", ORIGIN, "--system-namespace", SYSTEM]);
    command.args(["--listen", &listen.to_string(), "--admin-listen", &admin.to_string()]);
    command.env("KUBERNETES_SERVICE_HOST", server.host().context("a server without a host")?);
    command.env("KUBERNETES_SERVICE_PORT", server.port_u16().unwrap_or(443).to_string());
    let mut process = ChildProcess::spawn("kipper-console", command, run.dir())?;
    let deadline = Instant::now() + PATIENCE;
    while TcpStream::connect(listen).await.is_err() {
        process.check_running()?;
        anyhow::ensure!(Instant::now() < deadline, "no console{}", process.log_tail());
        tokio::time::sleep(POLL).await;
    }
    Ok((process, listen))
}

/// So many users, each with a token and a session of their own.
pub(super) async fn users(
    at: SocketAddr,
    namespace: &Namespace,
    count: usize,
) -> Result<Vec<Console>, anyhow::Error> {
    let everything = RoleBinding {
        metadata: ObjectMeta { name: Some("users".to_owned()), ..ObjectMeta::default() },
        role_ref: RoleRef {
            api_group: "rbac.authorization.k8s.io".to_owned(),
            kind: "ClusterRole".to_owned(),
            name: "cluster-admin".to_owned(),
        },
        subjects: Some(vec![Subject {
            kind: "ServiceAccount".to_owned(),
            name: ACCOUNT.to_owned(),
            namespace: Some(namespace.name.clone()),
            ..Subject::default()
        }]),
    };
    let params = PostParams::default();
    namespace.api::<RoleBinding>().create(&params, &everything).await?;
    let accounts = namespace.api::<ServiceAccount>();
    // The controller-manager makes it a moment after its namespace.
    watch::object(&accounts, ACCOUNT, PATIENCE, |account| account.is_some()).await?;
    let mut users = Vec::with_capacity(count);
    for _ in 0..count {
        let spec = TokenRequestSpec { audiences: Vec::new(), ..TokenRequestSpec::default() };
        let request = TokenRequest { spec, ..TokenRequest::default() };
        let token = accounts.create_subresource("token", ACCOUNT, &params, &request).await;
        let token: TokenRequest = token.context("a token")?;
        let token = token.status.context("a request without a token")?.token;
        users.push(Console::log_in(&format!("http://{at}"), ORIGIN, &token).await);
    }
    Ok(users)
}
