//! The accept loop of every HTTP port that is not the interceptor's: listener, connection cap,
//! service, drain.
//!
//! HTTP/1.1 only, for a few trusted clients. At the cap further connections wait in the kernel's
//! accept queue until one ends, which the header timeout and, where it is set, the connections'
//! lifetime guarantee. A service that may take long bounds itself.

use std::{
    convert::Infallible, error::Error, future::Future, net::IpAddr, pin::pin, sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use hyper::{
    body::{Body, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

/// A request's head must be complete within this time.
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);
/// Time for the response in progress once a connection is asked to end.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);
/// Pause after a failed accept (out of descriptors), so that the loop does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Room for a request head; probes, scrapers, kubelets and webhooks send a few hundred bytes.
const MAX_HEAD_BYTES: usize = 16 * 1024;

/// How a port serves.
#[derive(Clone, Copy, Debug)]
pub struct HttpPort {
    /// Its name in the log, such as `admin`.
    pub name: &'static str,
    /// Connections served at once.
    pub max_connections: usize,
    /// Whether a connection may carry more than one request.
    pub keep_alive: bool,
    /// A connection is asked to end after this time.
    pub lifetime: Option<Duration>,
}

/// Where a request comes from: an extension of each.
#[derive(Clone, Copy, Debug)]
pub struct PeerAddr(pub IpAddr);

impl HttpPort {
    /// Serves until `shutdown` is cancelled, then lets responses in progress finish (2 s at most).
    /// Dropping the future cuts every connection.
    pub async fn serve<S, F, B>(self, listener: TcpListener, answer: S, shutdown: CancellationToken)
    where
        S: Fn(Request<Incoming>) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Response<B>> + Send + 'static,
        B: Body<Data = Bytes, Error: Into<Box<dyn Error + Send + Sync>>> + Send + 'static,
    {
        let permits = Arc::new(Semaphore::new(self.max_connections));
        let mut connections = JoinSet::new();
        loop {
            let accept = async {
                // The semaphore is never closed.
                let permit = permits.clone().acquire_owned().await.ok();
                (listener.accept().await, permit)
            };
            let (accepted, permit) = tokio::select! {
                () = shutdown.cancelled() => break,
                accepted = accept => accepted,
                // Finished connections are reaped as they end.
                Some(_) = connections.join_next() => continue,
            };
            match accepted {
                Ok((stream, peer)) => {
                    let peer = PeerAddr(peer.ip().to_canonical());
                    let connection =
                        self.connection(stream, peer, answer.clone(), shutdown.clone());
                    connections.spawn(async move {
                        connection.await;
                        drop(permit);
                    });
                }
                Err(error) => {
                    tracing::warn!(port = self.name, %error, "connection not accepted");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        // Each ends within `CLOSE_TIMEOUT` by itself.
        while connections.join_next().await.is_some() {}
    }

    async fn connection<S, F, B>(
        self,
        stream: TcpStream,
        peer: PeerAddr,
        answer: S,
        shutdown: CancellationToken,
    ) where
        S: Fn(Request<Incoming>) -> F,
        F: Future<Output = Response<B>>,
        B: Body<Data = Bytes, Error: Into<Box<dyn Error + Send + Sync>>> + 'static,
    {
        let service = service_fn(|mut request: Request<Incoming>| {
            request.extensions_mut().insert(peer);
            let answer = answer(request);
            async move { Ok::<_, Infallible>(answer.await) }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_TIMEOUT)
            .max_buf_size(MAX_HEAD_BYTES)
            .keep_alive(self.keep_alive)
            .serve_connection(TokioIo::new(stream), service);
        let mut connection = pin!(connection);
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = self.end_of_life(&shutdown) => {
                connection.as_mut().graceful_shutdown();
                match timeout(CLOSE_TIMEOUT, connection).await {
                    Ok(ended) => ended,
                    Err(_) => return,
                }
            }
        };
        if let Err(error) = ended {
            tracing::debug!(port = self.name, %error, "connection ended");
        }
    }

    async fn end_of_life(self, shutdown: &CancellationToken) {
        let Some(lifetime) = self.lifetime else { return shutdown.cancelled().await };
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = sleep(lifetime) => {}
        }
    }
}
