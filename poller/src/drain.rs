//! The drain port: `/drain` with a secret header, asked by the function's `preStop` hook.
//!
//! The kubelet calls it on the pod's address before it stops the function, so it is a listener of
//! its own. A call asks the poller to drain and is answered only when the poller has: handlers
//! finished, marks flushed, locks released. A caller that leaves does not take the drain back;
//! whether the poller goes on afterwards is the poller's own decision. Nothing is told to a
//! caller without the token.

use std::{convert::Infallible, fmt, hint, io, net::SocketAddr, str::FromStr, sync::Arc};
use std::{pin::pin, time::Duration};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Method, Request, Response, StatusCode,
    header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE},
};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use kipper_trigger::drain::{self, MAX_TOKEN_BYTES, MIN_TOKEN_BYTES, TOKEN_HEADER};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, mpsc, oneshot},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

/// Calls served at once; further ones wait in the kernel's accept queue. One kubelet makes one.
pub const MAX_CONNECTIONS: usize = 16;
/// A request's head must be complete within this time.
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);
/// Time for the answers in progress once the server is asked to end.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);
/// Pause after a failed accept (out of descriptors), so that the loop does not spin.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);
/// Room for a request head; a kubelet sends a few hundred bytes.
const MAX_HEAD_BYTES: usize = 16 * 1024;

/// One call that waits for the end of a drain.
#[derive(Debug)]
pub struct DrainRequest {
    /// Told when the drain is finished. Dropped instead, the caller is told that it is not.
    pub done: oneshot::Sender<()>,
}

/// The secret a caller must know.
#[derive(Clone, PartialEq, Eq)]
pub struct DrainToken(Arc<str>);

/// Why a text cannot be a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a drain token is {MIN_TOKEN_BYTES} to {MAX_TOKEN_BYTES} visible ASCII characters")]
pub struct DrainTokenError;

impl FromStr for DrainToken {
    type Err = DrainTokenError;

    fn from_str(token: &str) -> Result<Self, Self::Err> {
        let length = (MIN_TOKEN_BYTES..=MAX_TOKEN_BYTES).contains(&token.len());
        if !length || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(DrainTokenError);
        }
        Ok(Self(token.into()))
    }
}

impl fmt::Debug for DrainToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DrainToken(redacted)")
    }
}

impl DrainToken {
    /// Compares in a time that tells nothing but the length.
    fn matches(&self, candidate: &[u8]) -> bool {
        let token = self.0.as_bytes();
        if token.len() != candidate.len() {
            return false;
        }
        let pairs = token.iter().zip(candidate);
        // Without the barrier the fold could be turned into one that stops early.
        pairs.fold(0, |differ, (a, b)| hint::black_box(differ | (a ^ b))) == 0
    }

    fn is_in(&self, headers: &HeaderMap) -> bool {
        headers.get(TOKEN_HEADER).is_some_and(|value| self.matches(value.as_bytes()))
    }
}

/// Why the drain port is not there.
#[derive(Debug, thiserror::Error)]
pub enum DrainError {
    /// The address cannot be bound.
    #[error("bind drain port {addr}")]
    Bind {
        /// The address asked for.
        addr: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
}

/// The drain port, bound and not yet served.
#[derive(Debug)]
pub struct DrainServer {
    listener: TcpListener,
    local_addr: SocketAddr,
    token: DrainToken,
    least: Duration,
}

impl DrainServer {
    /// Binds the port.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub async fn bind(addr: SocketAddr, token: DrainToken) -> Result<Self, DrainError> {
        let bind_error = |source| DrainError::Bind { addr, source };
        let listener = TcpListener::bind(addr).await.map_err(bind_error)?;
        let local_addr = listener.local_addr().map_err(bind_error)?;
        Ok(Self { listener, local_addr, token, least: Duration::ZERO })
    }

    /// Lets no call be answered sooner than this: a function that also serves requests goes on with
    /// it meanwhile, because those who send them hear late that the pod goes.
    #[must_use]
    pub fn answering_after(self, least: Duration) -> Self {
        Self { least, ..self }
    }

    /// The address bound, with the port that was picked for port 0.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Serves until `shutdown` is cancelled, then lets answers in progress go out (2 s at most).
    /// Every call with the token becomes one [`DrainRequest`]. While `requests` is full, further
    /// calls wait: as many drains have been asked for by then.
    pub async fn serve(self, requests: mpsc::Sender<DrainRequest>, shutdown: CancellationToken) {
        let calls = Calls { token: self.token, requests, least: self.least };
        let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        let mut connections = JoinSet::new();
        loop {
            let accept = async {
                // The semaphore is never closed.
                let permit = permits.clone().acquire_owned().await.ok();
                (self.listener.accept().await, permit)
            };
            let (accepted, permit) = tokio::select! {
                () = shutdown.cancelled() => break,
                accepted = accept => accepted,
                // Finished connections are reaped as they end.
                Some(_) = connections.join_next() => continue,
            };
            match accepted {
                Ok((stream, _)) => {
                    let connection = serve_connection(stream, calls.clone(), shutdown.clone());
                    connections.spawn(async move {
                        connection.await;
                        drop(permit);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "drain port cannot accept");
                    tokio::time::sleep(ACCEPT_RETRY).await;
                }
            }
        }
        // Each ends within `CLOSE_TIMEOUT` by itself.
        while connections.join_next().await.is_some() {}
    }
}

/// One request per connection: nobody holds one of the few by keeping it alive.
async fn serve_connection(stream: TcpStream, calls: Calls, shutdown: CancellationToken) {
    let service = service_fn(move |request: Request<Incoming>| {
        let calls = calls.clone();
        async move { Ok::<_, Infallible>(calls.answer(&request).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(MAX_HEAD_BYTES)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    let result = tokio::select! {
        result = connection.as_mut() => result,
        () = shutdown.cancelled() => {
            match tokio::time::timeout(CLOSE_TIMEOUT, connection).await {
                Ok(result) => result,
                Err(_) => return,
            }
        }
    };
    if let Err(error) = result {
        tracing::debug!(%error, "drain connection ended");
    }
}

/// What every connection needs to answer.
#[derive(Clone)]
struct Calls {
    token: DrainToken,
    requests: mpsc::Sender<DrainRequest>,
    least: Duration,
}

impl Calls {
    async fn answer(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        if request.uri().path() != drain::PATH {
            return response(StatusCode::NOT_FOUND, "");
        }
        if !self.token.is_in(request.headers()) {
            return response(StatusCode::UNAUTHORIZED, "");
        }
        if request.method() != Method::GET && request.method() != Method::POST {
            let mut refused = response(StatusCode::METHOD_NOT_ALLOWED, "");
            refused.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, POST"));
            return refused;
        }
        if self.drain().await {
            response(StatusCode::OK, "drained\n")
        } else {
            response(StatusCode::SERVICE_UNAVAILABLE, "not drained\n")
        }
    }

    /// Asks for a drain and waits for its end. False when the poller ended without one.
    async fn drain(&self) -> bool {
        let (done, drained) = oneshot::channel();
        let least = tokio::time::sleep(self.least);
        let is_drained =
            self.requests.send(DrainRequest { done }).await.is_ok() && drained.await.is_ok();
        least.await;
        is_drained
    }
}

fn response(status: StatusCode, body: &'static str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from_static(body.as_bytes())));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        task::JoinHandle,
        time::timeout,
    };

    use super::*;

    const TOKEN: &str = "0123456789abcdef-secret";
    /// Far beyond what anything here takes; only a hang reaches it.
    const PATIENCE: Duration = Duration::from_secs(60);

    struct Running {
        addr: SocketAddr,
        requests: mpsc::Receiver<DrainRequest>,
        shutdown: CancellationToken,
        serving: JoinHandle<()>,
    }

    impl Running {
        async fn start() -> Self {
            let addr = SocketAddr::from(([127, 0, 0, 1], 0));
            let server = DrainServer::bind(addr, TOKEN.parse().unwrap()).await.unwrap();
            let addr = server.local_addr();
            let (tx, requests) = mpsc::channel(MAX_CONNECTIONS);
            let shutdown = CancellationToken::new();
            let serving = tokio::spawn(server.serve(tx, shutdown.clone()));
            Self { addr, requests, shutdown, serving }
        }

        async fn call(&self, method: &str, path: &str, token: Option<&str>) -> TcpStream {
            let token = token.map(|token| format!("kipper-drain-token: {token}\r\n"));
            let token = token.unwrap_or_default();
            let head = format!("{method} {path} HTTP/1.1\r\nhost: pod\r\n{token}\r\n");
            let mut stream = TcpStream::connect(self.addr).await.unwrap();
            stream.write_all(head.as_bytes()).await.unwrap();
            stream
        }

        async fn asked(&mut self) -> DrainRequest {
            timeout(PATIENCE, self.requests.recv()).await.unwrap().unwrap()
        }

        async fn stop(self) {
            self.shutdown.cancel();
            timeout(PATIENCE, self.serving).await.unwrap().unwrap();
        }
    }

    /// The whole answer; the server closes after it.
    async fn answer(mut stream: TcpStream) -> String {
        let mut text = String::new();
        timeout(PATIENCE, stream.read_to_string(&mut text)).await.unwrap().unwrap();
        text
    }

    #[tokio::test]
    async fn nothing_is_told_without_the_token() {
        let mut running = Running::start().await;
        let other = "0123456789abcdef-secreT";
        for (method, path, token, status) in [
            ("GET", "/drain", None, "401"),
            ("GET", "/drain", Some(""), "401"),
            ("POST", "/drain", Some(other), "401"),
            ("GET", "/drain", Some(&TOKEN[1..]), "401"),
            ("DELETE", "/drain", None, "401"),
            ("DELETE", "/drain", Some(TOKEN), "405"),
            ("GET", "/", Some(TOKEN), "404"),
            ("GET", "/drain/", Some(TOKEN), "404"),
        ] {
            let answer = answer(running.call(method, path, token).await).await;
            let expected = format!("HTTP/1.1 {status} ");
            assert!(answer.starts_with(&expected), "{method} {path} {token:?}: {answer}");
            assert!(answer.ends_with("\r\n\r\n"), "{method} {path} {token:?}: {answer}");
        }
        assert!(running.requests.try_recv().is_err());
        running.stop().await;
    }

    #[tokio::test]
    async fn every_call_is_answered_when_its_drain_is_finished() {
        let mut running = Running::start().await;
        let first = running.call("GET", "/drain", Some(TOKEN)).await;
        let first_request = running.asked().await;
        let second = running.call("POST", "/drain?why=stop", Some(TOKEN)).await;
        let second_request = running.asked().await;

        second_request.done.send(()).unwrap();
        let answered = answer(second).await;
        assert!(answered.starts_with("HTTP/1.1 200 "), "{answered}");
        assert!(answered.ends_with("\r\n\r\ndrained\n"), "{answered}");

        let mut byte = [0];
        assert!(first.try_read(&mut byte).is_err(), "answered before its drain was finished");
        first_request.done.send(()).unwrap();
        assert!(answer(first).await.starts_with("HTTP/1.1 200 "));
        running.stop().await;
    }

    /// Time stands still here but for what is waited for, so the order of two waits is exact.
    #[tokio::test(start_paused = true)]
    async fn an_answer_waits_for_its_time_at_the_least() {
        let (requests, mut asked) = mpsc::channel(1);
        let calls = Calls { token: TOKEN.parse().unwrap(), requests, least: PATIENCE };
        let began = tokio::time::Instant::now();
        let answering = async {
            assert!(calls.drain().await);
            began.elapsed()
        };
        let draining = async { asked.recv().await.unwrap().done.send(()).unwrap() };
        let (waited, ()) = tokio::join!(answering, draining);
        assert!(waited >= PATIENCE, "{waited:?}");
    }

    #[tokio::test]
    async fn a_caller_that_leaves_does_not_take_the_drain_back() {
        let mut running = Running::start().await;
        let leaving = running.call("GET", "/drain", Some(TOKEN)).await;
        let mut request = running.asked().await;
        drop(leaving);
        // The server has seen it go, and the drain is still asked for.
        timeout(PATIENCE, request.done.closed()).await.unwrap();
        let staying = running.call("GET", "/drain", Some(TOKEN)).await;
        running.asked().await.done.send(()).unwrap();
        assert!(answer(staying).await.starts_with("HTTP/1.1 200 "));
        running.stop().await;
    }

    #[tokio::test]
    async fn a_poller_that_ends_without_a_drain_says_so() {
        let mut running = Running::start().await;
        let abandoned = running.call("GET", "/drain", Some(TOKEN)).await;
        drop(running.asked().await);
        assert!(answer(abandoned).await.starts_with("HTTP/1.1 503 "));
        running.requests.close();
        let late = running.call("GET", "/drain", Some(TOKEN)).await;
        assert!(answer(late).await.starts_with("HTTP/1.1 503 "));
        running.stop().await;
    }

    #[tokio::test]
    async fn an_answer_that_is_due_goes_out_through_the_shutdown() {
        let mut running = Running::start().await;
        let call = running.call("GET", "/drain", Some(TOKEN)).await;
        let request = running.asked().await;
        running.shutdown.cancel();
        request.done.send(()).unwrap();
        assert!(answer(call).await.starts_with("HTTP/1.1 200 "));
        running.stop().await;
    }

    #[tokio::test]
    async fn calls_beyond_the_cap_wait_for_one_to_end() {
        let mut running = Running::start().await;
        let mut held = Vec::new();
        for _ in 0..MAX_CONNECTIONS {
            let call = running.call("GET", "/drain", Some(TOKEN)).await;
            held.push((call, running.asked().await));
        }
        let waiting = running.call("GET", "/drain", Some(TOKEN)).await;
        let (first, request) = held.remove(0);
        assert!(running.requests.try_recv().is_err());
        request.done.send(()).unwrap();
        assert!(answer(first).await.starts_with("HTTP/1.1 200 "));
        running.asked().await.done.send(()).unwrap();
        assert!(answer(waiting).await.starts_with("HTTP/1.1 200 "));
        drop(held);
        running.stop().await;
    }

    #[test]
    fn token_table() {
        let check = |token: &str, valid: bool| {
            assert_eq!(token.parse::<DrainToken>().is_ok(), valid, "{token:?}");
        };
        check(TOKEN, true);
        check(&"x".repeat(256), true);
        check(&"x".repeat(257), false);
        check("", false);
        check("short", false);
        check("0123456789 abcdef", false);
        check("0123456789abcdeü", false);
        let token: DrainToken = TOKEN.parse().unwrap();
        assert!(!format!("{token:?}").contains(TOKEN));
    }
}
