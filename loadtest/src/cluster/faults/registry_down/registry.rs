//! A package server with one small package, which can go down and come back at the same address.

use std::{convert::Infallible, net::SocketAddr, path::Path, sync::Arc};

use anyhow::Context as _;
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::{net::TcpListener, process::Command, task::JoinSet};

/// The package, which exports its greeting.
pub(super) const PACKAGE: &str = "kipper-greeting";
pub(super) const VERSION: &str = "1.0.0";
pub(super) const GREETING: &str = "hello from a package";
const ARCHIVE: &str = "/archive.tgz";

/// The server; it ends with this value.
pub(super) struct Registry {
    addr: SocketAddr,
    archive: Bytes,
    up: Option<JoinSet<()>>,
}

impl Registry {
    /// Packs the package below `dir` and serves it on a free port of `ip`.
    pub(super) async fn start(ip: &str, dir: &Path) -> Result<Self, anyhow::Error> {
        let archive = pack(dir).await?;
        let listener = TcpListener::bind((ip, 0)).await?;
        let mut registry = Self { addr: listener.local_addr()?, archive, up: None };
        registry.serve(listener);
        Ok(registry)
    }

    /// For npm's `registry` setting.
    pub(super) fn url(&self) -> String {
        format!("http://{}/", self.addr)
    }

    /// Connections are refused from here on.
    pub(super) async fn go_down(&mut self) {
        if let Some(mut up) = self.up.take() {
            up.shutdown().await;
        }
    }

    /// Serves again, where it did before.
    pub(super) async fn come_back(&mut self) -> Result<(), anyhow::Error> {
        let listener = TcpListener::bind(self.addr).await.context("the port is taken")?;
        self.serve(listener);
        Ok(())
    }

    fn serve(&mut self, listener: TcpListener) {
        let mut up = JoinSet::new();
        up.spawn(accept(listener, Arc::from(self.url()), self.archive.clone()));
        self.up = Some(up);
    }
}

async fn pack(dir: &Path) -> Result<Bytes, anyhow::Error> {
    let package = dir.join("package");
    std::fs::create_dir_all(&package)?;
    let manifest = json!({"name": PACKAGE, "version": VERSION, "main": "index.js"});
    std::fs::write(package.join("package.json"), manifest.to_string())?;
    std::fs::write(package.join("index.js"), format!("module.exports = '{GREETING}';\n"))?;
    let mut tar = Command::new("tar");
    tar.arg("-czf").arg("-").arg("-C").arg(dir).arg("package").kill_on_drop(true);
    let packed = tar.output().await.context("tar")?;
    anyhow::ensure!(packed.status.success(), "tar: {}", String::from_utf8_lossy(&packed.stderr));
    Ok(Bytes::from(packed.stdout))
}

async fn accept(listener: TcpListener, url: Arc<str>, archive: Bytes) {
    let mut connections = JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let (url, archive) = (Arc::clone(&url), archive.clone());
        connections.spawn(async move {
            let service =
                service_fn(|request| std::future::ready(answer(&url, &archive, &request)));
            // A connection that breaks is npm's affair: it asks again.
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
        while connections.try_join_next().is_some() {}
    }
}

fn answer(
    url: &str,
    archive: &Bytes,
    request: &Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let path = request.uri().path();
    if path == ARCHIVE {
        return Ok(Response::new(Full::new(archive.clone())));
    }
    if path.strip_prefix('/') == Some(PACKAGE) {
        let tarball = format!("{}{ARCHIVE}", url.trim_end_matches('/'));
        let version = json!({"name": PACKAGE, "version": VERSION, "dist": {"tarball": tarball}});
        let document = json!({
            "name": PACKAGE,
            "dist-tags": {"latest": VERSION},
            "versions": {VERSION: version},
        });
        return Ok(Response::new(Full::new(Bytes::from(document.to_string()))));
    }
    let mut response = Response::new(Full::default());
    *response.status_mut() = StatusCode::NOT_FOUND;
    Ok(response)
}
