//! From a head to a request on its way: its destination, and what the pod gets.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::client::OwnAnswer;
use crate::{
    admission,
    destination::Destination,
    error::ProxyError,
    headers::{
        Forwarded, Peer, RequestAdditions, RequestId, hops, new_request_id, request_fields,
        write_request,
    },
    message::{
        body::Framing,
        head::{RequestHead, Version, escaped},
    },
    observe::{Sight, record::Seen},
    source::{Protocol, RouteSpec},
    upstream::http2,
    wire::{buffer::Buffer, outbox::append},
    worker::Worker,
};

/// A request on its way: everything of its head that is still needed.
pub(crate) struct Prepared {
    pub(super) destination: Arc<Destination>,
    pub(super) outgoing: Outgoing,
    /// How its body is sent over HTTP/1.1.
    pub(super) framing: Framing,
    pub(super) terms: Terms,
    pub(super) id: RequestId,
    /// The client's own connection is encrypted.
    pub(super) secure: bool,
    pub(super) accepted: Instant,
    /// How often other interceptors handed it over.
    pub(super) hops: u32,
    /// The request once more, where the function allows one retry after a broken connection.
    pub(super) retry: Option<Outgoing>,
    /// What is told of it once it is over, where somebody is.
    pub(super) seen: Option<Box<Seen>>,
}

impl Prepared {
    /// What another interceptor handed over, it has counted.
    pub(super) fn is_counted_here(&self) -> bool {
        self.hops == 0
    }
}

/// A request that no function gets.
pub(crate) struct Unserved {
    pub(super) error: ProxyError,
    to_head: bool,
    /// What is told of it, where its head could be read.
    pub(super) seen: Option<Box<Seen>>,
}

impl Unserved {
    /// One whose head could not be read; `to_head` = that much is known, it is a HEAD.
    pub(crate) fn unread(error: ProxyError, to_head: bool) -> Self {
        Self { error, to_head, seen: None }
    }

    /// What its client gets.
    pub(crate) fn answer<'a>(&self, id: &'a RequestId) -> OwnAnswer<'a> {
        let Self { error, to_head, .. } = *self;
        OwnAnswer { error, id, retry_after: error.retry_after(), to_head }
    }
}

/// A request as its pod gets it: the head, and what was read of the body.
#[derive(Clone)]
pub(super) enum Outgoing {
    Http1(Buffer),
    Http2(Box<http2::Outgoing>),
}

impl Default for Outgoing {
    fn default() -> Self {
        Self::Http1(Buffer::default())
    }
}

impl Outgoing {
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Http1(out) => out.len(),
            Self::Http2(out) => out.len(),
        }
    }
}

/// What is fixed about the exchange.
#[derive(Clone)]
pub(super) struct Terms {
    pub(super) to_head: bool,
    /// The client asked for an upgrade.
    pub(super) upgrade: bool,
    pub(super) response_header: Duration,
    /// The request has to be over by then.
    pub(super) until: Option<Instant>,
}

/// Routes a head and renders what the pod gets.
pub(crate) fn prepare(
    head: &mut RequestHead<'_>,
    peer: Peer,
    worker: &Worker,
) -> Result<Prepared, Unserved> {
    let accepted = Instant::now();
    let context = &worker.context;
    let mut sight = match &context.observers {
        Some(observers) => observers.see(head, peer, &context.trusted_proxies, accepted),
        None => Sight::default(),
    };
    let prepared = admit(head, peer, worker, accepted, &mut sight);
    prepared.map_err(|error| Unserved { error, to_head: head.is_head(), seen: sight.seen })
}

fn admit(
    head: &mut RequestHead<'_>,
    peer: Peer,
    worker: &Worker,
    accepted: Instant,
    sight: &mut Sight,
) -> Result<Prepared, ProxyError> {
    let destination = admission::admit(head, &worker.context.router)?;
    let route = destination.route();
    let over_http2 = speaks_http2(&route.spec, head);
    // An HTTP/2 pod cannot be asked to change the protocol (RFC 9113 section 8.6), and no pod is while
    // a body is on its way: the offer may be ignored (RFC 9110 section 7.8), and curl makes it with
    // every request it sends with --http2.
    if over_http2 || !head.body.is_done() {
        head.upgrade = None;
    }
    let framing = head.framing();
    let add = RequestAdditions {
        events: route.spec.event_trigger,
        id: new_request_id(fastrand::u128(..)),
        trace: sight.trace,
    };
    let (outgoing, forwarded) = if over_http2 {
        let (request, forwarded) = http2_request(head, peer, framing, add)?;
        let request = http2::Outgoing::new(request, head.body.is_done());
        (Outgoing::Http2(Box::new(request)), forwarded)
    } else {
        let mut out = Vec::with_capacity(512);
        let forwarded = write_request(&mut out, head, peer, framing, add);
        (Outgoing::Http1(Buffer::with(out)), forwarded)
    };
    let terms = Terms {
        to_head: head.is_head(),
        upgrade: head.upgrade.is_some(),
        response_header: route.spec.timeouts.response_header,
        until: route.spec.timeouts.request.map(|limit| accepted + limit),
    };
    let idempotent = matches!(head.method, "GET" | "HEAD" | "OPTIONS" | "PUT" | "DELETE" | "TRACE");
    let retry = route.spec.retry_idempotent && idempotent && framing == Framing::None;
    drop(route);
    Ok(Prepared {
        retry: retry.then(|| outgoing.clone()),
        destination,
        outgoing,
        framing,
        terms,
        id: forwarded.request_id,
        secure: forwarded.secure,
        accepted,
        hops: hops(head, peer),
        seen: sight.seen.take(),
    })
}

fn speaks_http2(spec: &RouteSpec, head: &RequestHead<'_>) -> bool {
    match spec.protocol {
        Protocol::H2c => true,
        Protocol::Auto => head.version == Version::Http2 && is_grpc(head),
        Protocol::Http1 => false,
    }
}

fn is_grpc(head: &RequestHead<'_>) -> bool {
    let mut kinds = head.fields.iter().filter(|f| f.name == "content-type");
    kinds.next().is_some_and(|f| f.value.starts_with(b"application/grpc"))
}

/// The request as an HTTP/2 pod gets it.
fn http2_request(
    head: &RequestHead<'_>,
    peer: Peer,
    framing: Framing,
    add: RequestAdditions,
) -> Result<(http::Request<()>, Forwarded), ProxyError> {
    let bad = || ProxyError::BadRequest("invalid request target");
    let uri = http::Uri::builder()
        .scheme("http")
        .authority(head.host)
        .path_and_query(&*escaped(&head.target))
        .build()
        .map_err(|_| bad())?;
    let mut request = http::Request::new(());
    *request.method_mut() = http::Method::from_bytes(head.method.as_bytes())
        .map_err(|_| ProxyError::MethodNotAllowed)?;
    *request.uri_mut() = uri;
    *request.version_mut() = http::Version::HTTP_2;
    let map = request.headers_mut();
    let forwarded = request_fields(head, peer, add, &mut |field| {
        append(map, field.name.as_bytes(), field.value);
    });
    if let Framing::Length(n) = framing {
        map.insert(http::header::CONTENT_LENGTH, n.into());
    }
    Ok((request, forwarded))
}
