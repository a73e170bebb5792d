//! The life of one HTTP/1.1 request after its head: route, hold, lease, exchange, answer.
//!
//! A request is sent a second time only when no byte of it reached a pod.

use std::{
    future::{Future as _, poll_fn},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use super::{
    body::{Decoder, Framing},
    buffer::Buffer,
    connection::Connection,
    exchange::{Downstream, Exchange, Failure, Finished, Terms},
    head::RequestHead,
    tunnel,
};
use crate::{
    admission,
    balancer::Endpoint,
    clock,
    error::ProxyError,
    function::{Acquired, Function, Lease},
    headers::{Additions, Peer, RequestId, new_request_id, write_request},
    probe,
    queue::Waiting,
    source::Protocol,
    timeline::Timeline,
    upstream::{self, ConnectError},
    worker::{Worker, http_date},
};

/// Body bytes of a held request that are read ahead; beyond it the client is slowed down.
const READ_AHEAD: usize = 64 << 10;
/// Pieces in which read-ahead is accounted, so that the byte bound is overshot by one at most.
const READ_AHEAD_STEP: usize = 4 << 10;
/// Connections tried for one request because no byte had reached a pod on the earlier ones.
pub(crate) const MAX_ATTEMPTS: u32 = 16;
/// Pause when this process has no descriptor or port left for a connection.
const LOCAL_PAUSE: Duration = Duration::from_millis(50);

/// A request on its way: everything of its head that is still needed.
pub(crate) struct Prepared {
    function: Arc<Function>,
    /// The head as the pod gets it.
    head: Vec<u8>,
    body: Decoder,
    framing: Framing,
    /// The pod speaks HTTP/2 only.
    gateway: bool,
    terms: Terms,
    id: RequestId,
    secure: bool,
    accepted: Instant,
    /// The head once more, where the function allows one retry after a broken connection.
    retry: Option<Vec<u8>>,
}

/// A request that is answered without a function.
pub(crate) struct Refused {
    pub(crate) error: ProxyError,
    /// The connection may take another request.
    pub(crate) keep: bool,
}

/// What becomes of the client's connection.
pub(crate) enum Verdict {
    /// Another request may come.
    Keep,
    /// It closes once the client has read its answer.
    Close,
    /// Nothing more can be said on it.
    Gone,
}

/// Routes a parsed head and renders what the pod gets.
pub(crate) fn prepare(
    mut head: RequestHead<'_>,
    peer: Peer,
    worker: &Worker,
) -> Result<Prepared, Refused> {
    let accepted = Instant::now();
    // Only a request without a body leaves the connection at the start of the next one.
    let keep = head.keep_alive && head.body.is_done();
    let refuse = |error| Refused { error, keep };
    let function = admission::admit(&mut head, &worker.plane.router).map_err(refuse)?;
    let route = function.route();
    // An HTTP/2 pod cannot be asked to change the protocol (RFC 9113 section 8.6).
    let gateway = route.spec.protocol == Protocol::H2c;
    if gateway {
        head.upgrade = None;
    }
    let framing = head.framing();
    let mut out = Vec::with_capacity(512);
    let new_id = new_request_id(fastrand::u128(..));
    let forwarded = write_request(&mut out, &head, peer, framing, new_id);
    let terms = Terms {
        version: head.version,
        to_head: head.method == "HEAD",
        upgrade: head.upgrade.is_some(),
        keep_alive: head.keep_alive,
        response_header: route.spec.timeouts.response_header,
        until: None,
    };
    let body = std::mem::replace(&mut head.body, Decoder::Done);
    let idempotent = matches!(head.method, "GET" | "HEAD" | "OPTIONS" | "PUT" | "DELETE" | "TRACE");
    let retry = route.spec.retry_idempotent && idempotent && framing == Framing::None;
    drop(route);
    Ok(Prepared {
        retry: retry.then(|| out.clone()),
        function,
        head: out,
        body,
        framing,
        gateway,
        terms,
        id: forwarded.request_id,
        secure: forwarded.secure,
        accepted,
    })
}

/// Carries the request through to its answer.
pub(crate) async fn serve(
    connection: &mut Connection,
    worker: &Arc<Worker>,
    mut prepared: Prepared,
) -> Verdict {
    let function = Arc::clone(&prepared.function);
    function.counters.accepted(clock::at(prepared.accepted));
    let outcome = forward(connection, worker, &mut prepared).await;
    worker.plane.metrics.duration.observe(prepared.accepted.elapsed().as_secs_f64());
    match outcome {
        Ok(finished) => {
            function.metrics.answered(finished.status);
            if finished.keep_downstream { Verdict::Keep } else { Verdict::Close }
        }
        Err(failure) => fail(connection, worker, &prepared, failure).await,
    }
}

/// Answers a failed request, if that can still be done.
async fn fail(
    connection: &mut Connection,
    worker: &Arc<Worker>,
    prepared: &Prepared,
    failure: Failure,
) -> Verdict {
    let (error, cut) = match failure {
        Failure::NotSent(_) => (ProxyError::UpstreamClosed, false),
        Failure::Answer(error) => (error, false),
        Failure::Cut(error) => (error, true),
    };
    let function = &prepared.function;
    worker.plane.metrics.error(error);
    function.metrics.answered(error.status());
    tracing::debug!(function = %function.id, reason = error.reason(), cut, "request failed");
    if cut || error.status() == 499 {
        connection.io.reset_on_close();
        return Verdict::Gone;
    }
    let retry_after = error.retryable().then(|| function.retry_after());
    let close = !prepared.body.is_done() || !prepared.terms.keep_alive || prepared.terms.upgrade;
    connection.answer(worker, error, &prepared.id, retry_after, close).await;
    if close { Verdict::Close } else { Verdict::Keep }
}

/// Leases a pod and runs the exchange, again while no byte of the request has reached a pod.
async fn forward(
    connection: &mut Connection,
    worker: &Arc<Worker>,
    prepared: &mut Prepared,
) -> Result<Finished, Failure> {
    let mut timeline = Timeline::new(prepared.accepted);
    let mut out = Buffer::with(std::mem::take(&mut prepared.head));
    if let Some(limit) = prepared.function.route().spec.timeouts.request {
        prepared.terms.until = Some(prepared.accepted + limit);
    }
    for _ in 0..MAX_ATTEMPTS {
        let bytes = out.len() + connection.input.len();
        let mut lease = lease(connection, worker, prepared, bytes, &mut timeline).await?;
        let Some(mut up) = connect(worker, &lease, prepared.gateway, &mut timeline).await else {
            continue;
        };
        up.out = out;
        match exchange(connection, worker, prepared, &mut lease, &mut up, &mut timeline).await {
            Ok(finished) if finished.upgraded => {
                let tunnel = tunnel::run(connection, up).await;
                tracing::debug!(function = %prepared.function.id, ?tunnel, "tunnel closed");
                return Ok(finished);
            }
            Ok(finished) => {
                if finished.keep_upstream {
                    worker.pool.put(&lease.endpoint, up);
                }
                return Ok(finished);
            }
            Err(Failure::NotSent(error)) => {
                tracing::debug!(function = %prepared.function.id, %error, "not sent, trying again");
                worker.plane.metrics.replays.inc();
                out = up.out;
            }
            Err(Failure::Answer(ProxyError::UpstreamClosed)) if prepared.retry.is_some() => {
                worker.plane.metrics.replays.inc();
                out = Buffer::with(prepared.retry.take().unwrap_or_default());
            }
            Err(failure) => return Err(failure),
        }
    }
    Err(Failure::Answer(ProxyError::UpstreamClosed))
}

/// A place on a pod, held for if need be.
async fn lease(
    connection: &mut Connection,
    worker: &Arc<Worker>,
    prepared: &Prepared,
    bytes: usize,
    timeline: &mut Timeline,
) -> Result<Lease, Failure> {
    let acquired = prepared.function.acquire(bytes);
    match acquired.map_err(|e| Failure::Answer(e.into()))? {
        Acquired::Lease(lease) => Ok(lease),
        Acquired::Held(waiting) => {
            timeline.held(&prepared.function);
            probe::ensure_release(&prepared.function, worker);
            let held = Box::pin(hold(connection, prepared, waiting)).await;
            timeline.released();
            held.map_err(Failure::Answer)
        }
    }
}

/// Waits in the queue: reads ahead a little, leaves when the client does.
async fn hold(
    connection: &mut Connection,
    prepared: &Prepared,
    mut waiting: Waiting<Lease>,
) -> Result<Lease, ProxyError> {
    let until = prepared.accepted + prepared.function.route().spec.timeouts.cold_start;
    connection.input.shrink();
    let ahead = poll_fn(|cx| {
        if let Poll::Ready(lease) = Pin::new(&mut waiting.lease).poll(cx) {
            return Poll::Ready(Some(lease.map_err(|_| ProxyError::UnknownHost)));
        }
        match poll_read_ahead(connection, prepared, &mut waiting, cx) {
            Poll::Ready(Ok(())) => return Poll::Ready(None),
            Poll::Ready(Err(e)) => return Poll::Ready(Some(Err(e))),
            Poll::Pending => {}
        }
        connection.deadline.poll(cx, until).map(|()| Some(Err(timed_out(&prepared.function))))
    })
    .await;
    if let Some(outcome) = ahead {
        return outcome;
    }
    // Enough was read ahead. The rest stays in the kernel, where it must not hide a hang-up.
    let Connection { io, deadline, .. } = connection;
    let mut closed = std::pin::pin!(io.closed());
    poll_fn(|cx| {
        if let Poll::Ready(lease) = Pin::new(&mut waiting.lease).poll(cx) {
            return Poll::Ready(lease.map_err(|_| ProxyError::UnknownHost));
        }
        if closed.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(ProxyError::ClientGone));
        }
        deadline.poll(cx, until).map(|()| Err(timed_out(&prepared.function)))
    })
    .await
}

/// What a request is told that was held as long as allowed.
pub(crate) fn timed_out(function: &Function) -> ProxyError {
    if function.waiting() > 0 { ProxyError::ColdStartTimeout } else { ProxyError::Saturated }
}

/// Ready once as much as allowed was read ahead, or the client left.
fn poll_read_ahead(
    connection: &mut Connection,
    prepared: &Prepared,
    waiting: &mut Waiting<Lease>,
    cx: &mut Context<'_>,
) -> Poll<Result<(), ProxyError>> {
    while connection.input.len() < READ_AHEAD {
        let limit = READ_AHEAD.min(connection.input.len() + READ_AHEAD_STEP);
        match connection.io.poll_read_more(cx, &mut connection.input, limit) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(Err(ProxyError::ClientGone)),
            Poll::Ready(Ok(_)) if prepared.terms.upgrade => {
                let what = ProxyError::BadRequest("bytes after an upgrade request");
                return Poll::Ready(Err(what));
            }
            Poll::Ready(Ok(n)) => {
                if !waiting.place.grow(n) {
                    return Poll::Ready(Ok(()));
                }
            }
        }
    }
    Poll::Ready(Ok(()))
}

/// An idle or a new connection to the leased pod. `None` = there is none to be had: the endpoint
/// has been told, and the request may go elsewhere.
pub(crate) async fn connect(
    worker: &Arc<Worker>,
    lease: &Lease,
    gateway: bool,
    timeline: &mut Timeline,
) -> Option<upstream::Connection> {
    let (endpoint, timeout) = (&lease.endpoint, worker.plane.connect_timeout);
    let started = Instant::now();
    let opened = if gateway {
        upstream::Connection::open_gateway(&worker.pool, endpoint, timeout).await
    } else if let Some(up) = worker.pool.take(endpoint) {
        return Some(up);
    } else {
        // Others may have to be answered first; one of their connections is as good as a new one.
        let permit = Arc::clone(&endpoint.fresh).acquire_owned().await.ok()?;
        if let Some(up) = worker.pool.take(endpoint) {
            return Some(up);
        }
        worker.plane.metrics.upstream_connects.inc();
        let mut opened = upstream::Connection::open(endpoint, timeout).await;
        if let Ok(up) = &mut opened {
            up.hold_fresh(permit);
        }
        opened
    };
    timeline.connected(started.elapsed());
    match opened {
        Ok(up) => Some(up),
        Err(error) => {
            not_connected(endpoint, error).await;
            None
        }
    }
}

/// Tells an endpoint that it could not be connected to; a fault of this side is waited out.
pub(crate) async fn not_connected(endpoint: &Endpoint, error: ConnectError) {
    match error {
        ConnectError::Refused(error) => {
            tracing::debug!(endpoint = %endpoint.address, %error, "connection refused");
            endpoint.refused(clock::now());
        }
        ConnectError::TimedOut => endpoint.timed_out(clock::now()),
        ConnectError::Local(error) => {
            tracing::warn!(%error, "cannot open connections, pausing");
            tokio::time::sleep(LOCAL_PAUSE).await;
        }
    }
}

async fn exchange(
    connection: &mut Connection,
    worker: &Arc<Worker>,
    prepared: &mut Prepared,
    lease: &mut Lease,
    up: &mut upstream::Connection,
    timeline: &mut Timeline,
) -> Result<Finished, Failure> {
    let down = Downstream {
        io: &mut connection.io,
        input: &mut connection.input,
        out: &mut connection.out,
        deadline: &mut connection.deadline,
        limits: &worker.plane.limits,
        drain: &worker.plane.drain,
    };
    if prepared.terms.upgrade && !down.input.is_empty() {
        return Err(Failure::Answer(ProxyError::BadRequest("bytes after an upgrade request")));
    }
    timeline.sent();
    let route = arc_swap::Guard::into_inner(prepared.function.route());
    let (function, secure) = (&prepared.function, prepared.secure);
    let ended = Exchange::new(down, up, &prepared.terms, &mut prepared.body, prepared.framing)
        .run(|status| {
            if status >= 200 || status == 101 {
                lease.answered();
            }
            Additions {
                security: route.security.as_ref(),
                secure,
                server_timing: timeline.server_timing(function),
                date: http_date,
            }
        })
        .await;
    if let Err(Failure::Answer(ProxyError::ResponseTimeout)) = &ended {
        lease.endpoint.timed_out(clock::now());
    }
    ended
}
