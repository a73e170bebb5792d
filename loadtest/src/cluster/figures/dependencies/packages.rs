//! A package server as npm expects it, for a handful of packages: a document per name and one
//! archive each. The archives are fetched by `npm pack` once, into the cache.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    net::{IpAddr, SocketAddr, UdpSocket},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use anyhow::Context as _;
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::Pod;
use kipper_cluster::{Cluster, names::SYSTEM};
use kube::{Api, api::ListParams};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::{net::TcpListener, process::Command, task::JoinSet};

use crate::cluster::metrics::selector;

/// A download that takes longer has failed.
const FETCH: Duration = Duration::from_secs(60);

/// What is served, by path.
type Files = BTreeMap<String, Bytes>;

/// The server. It ends with this.
pub(super) struct Registry {
    /// For npm's `registry` setting.
    pub(super) url: String,
    served: Arc<AtomicUsize>,
    _tasks: JoinSet<()>,
}

impl Registry {
    pub(super) async fn start(
        cluster: &Cluster,
        packages: &[(&str, &str)],
    ) -> Result<Self, anyhow::Error> {
        let address = address_for_pods(cluster).await?;
        let listener = TcpListener::bind(SocketAddr::new(address, 0)).await?;
        let url = format!("http://{}/", listener.local_addr()?);
        let mut files = Files::new();
        for (name, version) in packages {
            add(&mut files, &url, &fetch(name, version).await?).await?;
        }
        let served = Arc::<AtomicUsize>::default();
        let mut tasks = JoinSet::new();
        tasks.spawn(serve(listener, Arc::new(files), Arc::clone(&served)));
        Ok(Self { url, served, _tasks: tasks })
    }

    /// Archives that were sent.
    pub(super) fn served(&self) -> usize {
        self.served.load(Relaxed)
    }
}

/// The address of this machine that pods reach: the one from which packets to a pod leave.
async fn address_for_pods(cluster: &Cluster) -> Result<IpAddr, anyhow::Error> {
    let pods: Api<Pod> = Api::namespaced(cluster.client.clone(), SYSTEM);
    let pods = pods.list(&ListParams::default().labels(&selector("interceptor"))).await?;
    let mut addresses = pods.items.iter().filter_map(|pod| pod.status.as_ref()?.pod_ip.as_ref());
    let pod: IpAddr = addresses.next().context("no interceptor has an address")?.parse()?;
    let any: IpAddr = if pod.is_ipv4() { [0; 4].into() } else { [0_u16; 8].into() };
    let socket = UdpSocket::bind((any, 0))?;
    // Chooses a route and sends nothing.
    socket.connect((pod, 9))?;
    Ok(socket.local_addr()?.ip())
}

/// What `npm pack --json` says of an archive.
#[derive(Debug, Deserialize)]
struct Packed {
    name: String,
    version: String,
    filename: String,
    integrity: String,
    shasum: String,
    #[serde(skip)]
    folder: PathBuf,
}

/// An archive in the cache, fetched if it is not there.
async fn fetch(name: &str, version: &str) -> Result<Packed, anyhow::Error> {
    let folder = cache().context("neither KIPPER_CACHE nor HOME is set")?;
    let folder = folder.join("packages").join(format!("{name}-{version}"));
    let about = folder.join("packed.json");
    if !about.exists() {
        std::fs::create_dir_all(&folder)?;
        let package = format!("{name}@{version}");
        let mut npm = Command::new("npm");
        npm.args(["pack", "--json", "--loglevel=error", "--pack-destination"]);
        npm.arg(&folder).arg(&package).kill_on_drop(true);
        let output = tokio::time::timeout(FETCH, npm.output()).await;
        let output = output.with_context(|| format!("npm pack {package}"))?.context("npm")?;
        let said = String::from_utf8_lossy(&output.stderr);
        anyhow::ensure!(output.status.success(), "npm pack {package}: {said}");
        // Last, and under its name only when complete: what has this file has its archive.
        let partial = folder.join("packed.json.tmp");
        std::fs::write(&partial, &output.stdout)?;
        std::fs::rename(&partial, &about)?;
    }
    let mut packed: Vec<Packed> = serde_json::from_slice(&std::fs::read(&about)?)?;
    let mut packed = packed.pop().context("npm packed nothing")?;
    packed.folder = folder;
    Ok(packed)
}

fn cache() -> Option<PathBuf> {
    let set = |name: &str| std::env::var_os(name).map(PathBuf::from);
    set("KIPPER_CACHE").or_else(|| {
        Some(set("XDG_CACHE_HOME").or_else(|| Some(set("HOME")?.join(".cache")))?.join("kipper"))
    })
}

/// Adds the document and the archive of one package.
async fn add(files: &mut Files, url: &str, packed: &Packed) -> Result<(), anyhow::Error> {
    let Packed { name, version, filename, integrity, shasum, folder } = packed;
    let archive = Path::new(folder).join(filename);
    let bytes = tokio::fs::read(&archive).await.with_context(|| archive.display().to_string())?;
    let path = format!("{name}/-/{filename}");
    let dist = json!({"tarball": format!("{url}{path}"), "integrity": integrity, "shasum": shasum});
    let document: Value = json!({
        "name": name,
        "dist-tags": {"latest": version},
        "versions": {version: {"name": name, "version": version, "dist": dist}},
    });
    files.insert(format!("/{name}"), Bytes::from(document.to_string()));
    files.insert(format!("/{path}"), Bytes::from(bytes));
    Ok(())
}

async fn serve(listener: TcpListener, files: Arc<Files>, served: Arc<AtomicUsize>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let (files, served) = (Arc::clone(&files), Arc::clone(&served));
        connections.spawn(async move {
            let service =
                service_fn(|request| std::future::ready(answer(&files, &served, &request)));
            // A connection that breaks is npm's affair: it asks again.
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
        while connections.try_join_next().is_some() {}
    }
}

fn answer(
    files: &Files,
    served: &AtomicUsize,
    request: &Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let found = files.get(request.uri().path());
    let mut response = Response::new(Full::new(found.cloned().unwrap_or_default()));
    if found.is_none() {
        *response.status_mut() = StatusCode::NOT_FOUND;
    } else if request.uri().path().contains("/-/") {
        served.fetch_add(1, Relaxed);
    }
    Ok(response)
}
