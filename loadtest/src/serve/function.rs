//! A function as a process: it notes the id of every request it executes before it answers.
//!
//! The note is one `write` to a file, so it survives a `kill -9`: what is in the file was executed,
//! and an id that is there twice was executed twice. It prints one line, where it listens.

use std::{
    convert::Infallible,
    fs::{File, OpenOptions},
    io::Write as _,
    net::SocketAddr,
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use anyhow::Context as _;
use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{
    net::{TcpListener, TcpSocket},
    sync::watch,
};

use crate::requests::ID;

/// Lets everything through the gate.
pub(crate) const OPEN: &str = "/open";
/// Answers `GET` with [`LARGE_BYTES`] bytes.
pub(crate) const LARGE: &str = "/large";
const LARGE_BYTES: usize = 16 << 20;

/// Options of the process.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Connections the kernel queues for it
    #[arg(long, default_value = "1024")]
    backlog: u32,
    /// Time between the execution of a request and its answer
    #[arg(long, default_value = "0s", value_parser = humantime::parse_duration)]
    delay: Duration,
    /// Let no request past its execution before a request for /open
    #[arg(long)]
    gated: bool,
    /// File to which ids of executed requests are added
    #[arg(long)]
    executed: PathBuf,
}

struct Function {
    delay: Duration,
    is_open: watch::Sender<bool>,
    executed: File,
}

/// Serves until killed.
///
/// # Errors
/// When it cannot listen or open its file.
pub fn run(args: Args) -> Result<(), anyhow::Error> {
    let executed = OpenOptions::new().create(true).append(true).open(&args.executed);
    let executed = executed.with_context(|| args.executed.display().to_string())?;
    let function = Arc::new(Function {
        delay: args.delay,
        is_open: watch::Sender::new(!args.gated),
        executed,
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let socket = TcpSocket::new_v4()?;
        socket.bind(SocketAddr::from(([127, 0, 0, 1], 0)))?;
        let listener = socket.listen(args.backlog)?;
        println!("{}", serde_json::to_string(&listener.local_addr()?)?);
        accept(listener, function).await
    })
}

async fn accept(listener: TcpListener, function: Arc<Function>) -> Result<(), anyhow::Error> {
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let function = Arc::clone(&function);
        tokio::spawn(async move {
            let service = service_fn(|request| answer(Arc::clone(&function), request));
            // A connection that breaks is its client's affair.
            let _ = http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .with_upgrades()
                .await;
        });
    }
}

async fn answer(
    function: Arc<Function>,
    mut request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    if request.headers().contains_key(header::UPGRADE) {
        return Ok(upgrade(&mut request));
    }
    if request.uri().path() == OPEN {
        function.is_open.send_replace(true);
        return Ok(status(StatusCode::OK));
    }
    let id = request.headers().get(ID).map(|id| Bytes::copy_from_slice(id.as_bytes()));
    let path = request.uri().path().to_owned();
    if request.into_body().collect().await.is_err() {
        return Ok(status(StatusCode::BAD_REQUEST));
    }
    if let Some(id) = &id {
        let note = [id, &b"\n"[..]].concat();
        // A full disk must not look like an execution that was noted.
        if (&function.executed).write_all(&note).is_err() {
            return Ok(status(StatusCode::INSUFFICIENT_STORAGE));
        }
    }
    if path == LARGE {
        return Ok(Response::new(Full::new(Bytes::from_static(&[b'x'; LARGE_BYTES]))));
    }
    // The sender lives as long as this process.
    let _ = function.is_open.subscribe().wait_for(|is_open| *is_open).await;
    tokio::time::sleep(function.delay).await;
    Ok(Response::new(Full::new(id.unwrap_or_else(|| Bytes::from_static(b"ok")))))
}

fn status(status: StatusCode) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = status;
    response
}

/// Accepts a WebSocket and sends back every byte: the proxy does not look at frames.
fn upgrade(request: &mut Request<Incoming>) -> Response<Full<Bytes>> {
    let upgraded = hyper::upgrade::on(request);
    tokio::spawn(async move {
        if let Ok(upgraded) = upgraded.await {
            let (mut read, mut write) = tokio::io::split(TokioIo::new(upgraded));
            let _ = tokio::io::copy(&mut read, &mut write).await;
        }
    });
    let mut response = status(StatusCode::SWITCHING_PROTOCOLS);
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, header::HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, header::HeaderValue::from_static("websocket"));
    response
}
