//! A bare reverse proxy from hyper's own parts: `http1` server, hyper-util's pooling client.
//!
//! It has no timers, no routing and no counting. Its figure says what the usual building blocks
//! cost before a single feature is added, and so whether a proxy does well to own its HTTP/1 path.

use std::{
    convert::Infallible,
    io,
    net::{SocketAddr, TcpListener},
    num::NonZeroUsize,
    thread,
};

use anyhow::Context as _;
use clap::ValueEnum;
use http::{HeaderMap, Request, Response, StatusCode, Uri, header, uri::PathAndQuery};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioIo},
};
use kipper_measure::backend;
use tokio::net::{TcpListener as AsyncListener, TcpStream};

type PoolingClient = Client<HttpConnector, Incoming>;
/// A forwarded answer, or the empty one of a `502`.
type Body = http_body_util::Either<Incoming, http_body_util::Empty<hyper::body::Bytes>>;

/// Options of the bare hyper proxy.
#[derive(Clone, Debug, clap::Args)]
pub struct HyperProxyArgs {
    /// Where to listen; port 0 picks a free one
    #[arg(long, default_value = "127.0.0.1:0")]
    pub listen: SocketAddr,
    /// Where to forward
    #[arg(long)]
    pub upstream: SocketAddr,
    /// How the work is spread over threads
    #[arg(long, value_enum, default_value_t)]
    pub shape: Shape,
    /// Threads
    #[arg(long, default_value = "2")]
    pub workers: NonZeroUsize,
}

/// How the work is spread over threads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Shape {
    /// One work-stealing runtime and one pool
    #[default]
    Shared,
    /// A runtime, a listener and a pool per thread
    PerCore,
}

/// Prints `listening <address>` on stdout and proxies until killed.
///
/// # Errors
/// When the address cannot be bound or a runtime cannot be built.
pub fn run(args: &HyperProxyArgs) -> Result<(), anyhow::Error> {
    let first = backend::listen(args.listen).with_context(|| format!("bind {}", args.listen))?;
    let addr = first.local_addr()?;
    println!("listening {addr}");
    match args.shape {
        Shape::Shared => {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(args.workers.get())
                .enable_all()
                .build()?;
            Ok(runtime.block_on(serve(first, args.upstream))?)
        }
        Shape::PerCore => {
            let mut listeners = vec![first];
            for _ in 1..args.workers.get() {
                listeners.push(backend::listen(addr)?);
            }
            per_core(listeners, args.upstream)
        }
    }
}

fn per_core(listeners: Vec<TcpListener>, upstream: SocketAddr) -> Result<(), anyhow::Error> {
    let workers: Vec<_> = listeners
        .into_iter()
        .map(|listener| {
            thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
                runtime.block_on(serve(listener, upstream))
            })
        })
        .collect();
    for worker in workers {
        match worker.join() {
            Ok(result) => result?,
            Err(_) => anyhow::bail!("a worker panicked"),
        }
    }
    Ok(())
}

async fn serve(listener: TcpListener, upstream: SocketAddr) -> io::Result<()> {
    let listener = AsyncListener::from_std(listener)?;
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    let client: PoolingClient = Client::builder(TokioExecutor::new()).build(connector);
    let authority = upstream.to_string();
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        tokio::spawn(serve_connection(stream, client.clone(), authority.clone()));
    }
}

async fn serve_connection(stream: TcpStream, client: PoolingClient, authority: String) {
    let service = service_fn(|request| {
        let forwarded = forward(request, &client, &authority);
        async { Ok::<_, Infallible>(forwarded.await) }
    });
    // A client that leaves is no failure of a benchmark's proxy.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

async fn forward(
    mut request: Request<Incoming>,
    client: &PoolingClient,
    authority: &str,
) -> Response<Body> {
    let target = request.uri().path_and_query().map_or("/", PathAndQuery::as_str);
    let uri = Uri::builder().scheme("http").authority(authority).path_and_query(target).build();
    let Ok(uri) = uri else { return bad_gateway() };
    *request.uri_mut() = uri;
    strip_hop_by_hop(request.headers_mut());
    match client.request(request).await {
        Ok(mut response) => {
            strip_hop_by_hop(response.headers_mut());
            response.map(http_body_util::Either::Left)
        }
        Err(_) => bad_gateway(),
    }
}

fn strip_hop_by_hop(headers: &mut HeaderMap) {
    headers.remove(header::CONNECTION);
    headers.remove("keep-alive");
}

fn bad_gateway() -> Response<Body> {
    let mut response = Response::new(http_body_util::Either::Right(http_body_util::Empty::new()));
    *response.status_mut() = StatusCode::BAD_GATEWAY;
    response
}
