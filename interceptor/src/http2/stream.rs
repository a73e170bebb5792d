//! The life of one HTTP/2 request: the stages of `http1::request`, framed by hyper.

use std::{future::Future as _, pin::Pin, sync::Arc, task::Poll, time::Instant};

use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use http_body::Body as _;
use hyper::body::Incoming;

use super::{
    body::{Active, ResponseBody},
    bridge::{Bridge, HeadFailure, append},
};
use crate::{
    admission, clock,
    error::ProxyError,
    function::{Acquired, Function, Lease},
    headers::{
        Additions, Peer, RequestId, new_request_id, request_fields, response_fields, write_request,
    },
    http1::{
        body::{Decoder, Framing},
        field::{Class, Field, Fields, classify},
        head::{RequestHead, ResponseHead, Version},
        request::{MAX_ATTEMPTS, connect, not_connected, timed_out},
    },
    probe,
    source::Protocol,
    timeline::Timeline,
    upstream::h2::{Replayable, SendError},
    worker::{Worker, http_date},
};

/// One admitted request.
struct Stream {
    function: Arc<Function>,
    worker: Arc<Worker>,
    peer: Peer,
    id: RequestId,
    secure: bool,
    to_head: bool,
    timeline: Timeline,
    accepted: Instant,
}

/// Serves one stream; failures become answers.
pub(super) async fn serve(
    request: Request<Incoming>,
    peer: Peer,
    worker: Arc<Worker>,
    active: Active,
) -> Response<ResponseBody> {
    let (parts, body) = request.into_parts();
    let accepted = Instant::now();
    let new_id = new_request_id(fastrand::u128(..));
    let admitted = view(&parts, &body).and_then(|mut head| {
        let function = admission::admit(&mut head, &worker.plane.router)?;
        Ok((head, function))
    });
    let (head, function) = match admitted {
        Ok(admitted) => admitted,
        Err(e) => {
            worker.plane.metrics.error(e);
            return own_answer(e, &new_id, None, active);
        }
    };
    function.counters.accepted(clock::at(accepted));
    let mut stream = Stream {
        worker: Arc::clone(&worker),
        peer,
        id: new_id,
        secure: false,
        to_head: parts.method == http::Method::HEAD,
        timeline: Timeline::new(accepted),
        accepted,
        function: Arc::clone(&function),
    };
    let answered = match function.route().spec.protocol {
        Protocol::H2c => true,
        Protocol::Auto => is_grpc(&parts.headers),
        Protocol::Http1 => false,
    };
    let answered = if answered {
        Box::pin(stream.over_h2(&head, &parts, body, active)).await
    } else {
        Box::pin(stream.over_http1(&head, body, active)).await
    };
    worker.plane.metrics.duration.observe(accepted.elapsed().as_secs_f64());
    match answered {
        Ok(response) => {
            function.metrics.answered(response.status().as_u16());
            response
        }
        Err((error, active)) => {
            worker.plane.metrics.error(error);
            function.metrics.answered(error.status());
            let retry_after = error.retryable().then(|| function.retry_after());
            own_answer(error, &stream.id, retry_after, active)
        }
    }
}

fn is_grpc(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
    kind.starts_with(b"application/grpc")
}

/// The head as the stages know it.
fn view<'a>(
    parts: &'a http::request::Parts,
    body: &Incoming,
) -> Result<RequestHead<'a>, ProxyError> {
    if parts.method == http::Method::CONNECT {
        return Err(ProxyError::MethodNotAllowed);
    }
    let mut fields = Fields::new();
    let mut length = None;
    for (name, value) in &parts.headers {
        let (name, value) = (name.as_str(), value.as_bytes());
        let class = classify(name);
        match class {
            Class::ContentLength => {
                length = std::str::from_utf8(value).ok().and_then(|v| v.parse().ok());
            }
            // hyper refuses the other connection-specific fields (RFC 9113 section 8.2.2).
            Class::EndToEnd if imitates_framing(name) => {
                return Err(ProxyError::BadRequest(
                    "a field name imitates one that frames the message",
                ));
            }
            _ => {}
        }
        fields.push(Field { name, value, class });
    }
    let host = fields.iter().find(|f| f.class == Class::Host).map(|f| f.value);
    let authority = parts.uri.authority().map(http::uri::Authority::as_str);
    let host = match (authority, host) {
        (Some(a), Some(h)) if !a.as_bytes().eq_ignore_ascii_case(h) => {
            return Err(ProxyError::BadRequest(":authority contradicts Host"));
        }
        (Some(a), _) => a,
        (None, Some(h)) => {
            std::str::from_utf8(h).map_err(|_| ProxyError::BadRequest("invalid Host"))?
        }
        (None, None) => return Err(ProxyError::BadRequest("no :authority")),
    };
    let body = match length {
        _ if body.is_end_stream() => Decoder::Done,
        Some(n) => Decoder::length(n),
        None => Decoder::chunked(),
    };
    Ok(RequestHead {
        method: parts.method.as_str(),
        target: parts.uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str).into(),
        host,
        version: Version::Http2,
        fields,
        body,
        keep_alive: true,
        expect_continue: false,
        upgrade: None,
    })
}

fn imitates_framing(name: &str) -> bool {
    name.contains('_')
        && ["transfer-encoding", "content-length", "host", "connection"]
            .contains(&name.replace('_', "-").as_str())
}

type Failed = (ProxyError, Active);

impl Stream {
    /// A place on a pod, held for if need be. Dropping the future leaves the queue.
    async fn lease(&mut self, bytes: usize) -> Result<Lease, ProxyError> {
        let mut waiting = match self.function.acquire(bytes)? {
            Acquired::Lease(lease) => return Ok(lease),
            Acquired::Held(waiting) => waiting,
        };
        self.timeline.held(&self.function);
        probe::ensure_release(&self.function, &self.worker);
        let until = self.accepted + self.function.route().spec.timeouts.cold_start;
        let mut timer = std::pin::pin!(tokio::time::sleep_until(until.into()));
        let outcome = std::future::poll_fn(|cx| {
            if let Poll::Ready(lease) = Pin::new(&mut waiting.lease).poll(cx) {
                return Poll::Ready(lease.map_err(|_| ProxyError::UnknownHost));
            }
            timer.as_mut().poll(cx).map(|()| Err(timed_out(&self.function)))
        })
        .await;
        self.timeline.released();
        outcome
    }

    fn additions<'r>(&self, route: &'r crate::function::Route) -> Additions<'r> {
        Additions {
            security: route.security.as_ref(),
            secure: self.secure,
            server_timing: self.timeline.server_timing(&self.function),
            date: http_date,
        }
    }

    async fn over_http1(
        &mut self,
        head: &RequestHead<'_>,
        body: Incoming,
        active: Active,
    ) -> Result<Response<ResponseBody>, Failed> {
        let framing = head.framing();
        let mut out = Vec::with_capacity(512);
        let head = join_cookies(head);
        let forwarded = write_request(&mut out, &head.view(), self.peer, framing, self.id.clone());
        (self.id, self.secure) = (forwarded.request_id, forwarded.secure);
        let mut body = (framing != Framing::None).then_some(body);
        for _ in 0..MAX_ATTEMPTS {
            let lease = match self.lease(out.len()).await {
                Ok(lease) => lease,
                Err(e) => return Err((e, active)),
            };
            let Some(up) = connect(&self.worker, &lease, false, &mut self.timeline).await else {
                continue;
            };
            self.timeline.sent();
            let worker = Arc::clone(&self.worker);
            let head = std::mem::take(&mut out);
            let mut bridge = Bridge::new(up, lease, worker, head, body.take(), framing);
            let route = arc_swap::Guard::into_inner(self.function.route());
            let (limit, timeout) =
                (self.worker.plane.limits.head_bytes, route.spec.timeouts.response_header);
            let render = |head: &ResponseHead<'_>| self.render(head, &route);
            match bridge.head(limit, timeout, render, self.to_head).await {
                Ok(response) => {
                    let body = ResponseBody::bridge(bridge, active);
                    return Ok(response.map(|()| body));
                }
                Err(HeadFailure::NotSent(unread, head)) => {
                    self.worker.plane.metrics.replays.inc();
                    (body, out) = (unread, head);
                }
                Err(HeadFailure::Error(e)) => {
                    if e == ProxyError::ResponseTimeout {
                        bridge.lease.endpoint.timed_out(clock::now());
                    }
                    return Err((e, active));
                }
            }
        }
        Err((ProxyError::UpstreamClosed, active))
    }

    /// The client's response head.
    fn render(&self, head: &ResponseHead<'_>, route: &crate::function::Route) -> Response<()> {
        let mut response = Response::new(());
        *response.status_mut() =
            StatusCode::from_u16(head.status).unwrap_or(StatusCode::BAD_GATEWAY);
        let map = response.headers_mut();
        response_fields(head, &self.additions(route), &mut |field| {
            append(map, field.name.as_bytes(), field.value);
        });
        let length = head.fields.iter().find(|f| f.class == Class::ContentLength);
        if let Some(field) = length.filter(|_| head.status != 204) {
            append(map, b"content-length", field.value);
        }
        response
    }

    async fn over_h2(
        &mut self,
        head: &RequestHead<'_>,
        parts: &http::request::Parts,
        body: Incoming,
        active: Active,
    ) -> Result<Response<ResponseBody>, Failed> {
        let request = match self.h2_request(head, parts) {
            Ok(request) => request,
            Err(e) => return Err((e, active)),
        };
        let body = Replayable::new(body);
        for _ in 0..MAX_ATTEMPTS {
            let mut lease = match self.lease(512).await {
                Ok(lease) => lease,
                Err(e) => return Err((e, active)),
            };
            let Some(view) = body.view() else { break };
            self.timeline.sent();
            let (pool, connect_timeout) = (&self.worker.pool, self.worker.plane.connect_timeout);
            let timeout = self.function.route().spec.timeouts.response_header;
            let sending = crate::upstream::h2::send(
                pool,
                &lease.endpoint,
                connect_timeout,
                request.clone(),
                view,
            );
            match tokio::time::timeout(timeout, sending).await {
                Ok(Ok(response)) => {
                    lease.answered();
                    body.settle();
                    return Ok(self.relay_h2(response, lease, active));
                }
                Ok(Err(SendError::NotProcessed(why))) => {
                    if let Some(error) = why {
                        not_connected(&lease.endpoint, error).await;
                    }
                    self.worker.plane.metrics.replays.inc();
                }
                Ok(Err(SendError::Failed(error))) => {
                    tracing::debug!(function = %self.function.id, %error, "HTTP/2 request failed");
                    return Err((ProxyError::UpstreamClosed, active));
                }
                Err(_) => {
                    lease.endpoint.timed_out(clock::now());
                    return Err((ProxyError::ResponseTimeout, active));
                }
            }
        }
        Err((ProxyError::UpstreamClosed, active))
    }

    /// The request as an HTTP/2 pod gets it.
    fn h2_request(
        &mut self,
        head: &RequestHead<'_>,
        parts: &http::request::Parts,
    ) -> Result<http::request::Parts, ProxyError> {
        let uri = http::Uri::builder()
            .scheme("http")
            .authority(head.host)
            .path_and_query(&*head.target)
            .build()
            .map_err(|_| ProxyError::BadRequest("invalid request target"))?;
        let (mut request, ()) = Request::new(()).into_parts();
        (request.method, request.uri) = (parts.method.clone(), uri);
        request.version = http::Version::HTTP_2;
        let map = &mut request.headers;
        let forwarded = request_fields(head, self.peer, self.id.clone(), &mut |field| {
            append(map, field.name.as_bytes(), field.value);
        });
        if let Some(length) = parts.headers.get(header::CONTENT_LENGTH) {
            map.insert(header::CONTENT_LENGTH, length.clone());
        }
        (self.id, self.secure) = (forwarded.request_id, forwarded.secure);
        Ok(request)
    }

    /// A response from an HTTP/2 pod, with what this proxy adds.
    fn relay_h2(
        &self,
        response: Response<Incoming>,
        lease: Lease,
        active: Active,
    ) -> Response<ResponseBody> {
        let (parts, body) = response.into_parts();
        let route = self.function.route();
        let mut fields = Fields::new();
        for (name, value) in &parts.headers {
            let name = name.as_str();
            fields.push(Field { name, value: value.as_bytes(), class: classify(name) });
        }
        let head = ResponseHead {
            status: parts.status.as_u16(),
            reason: "",
            version: Version::Http2,
            fields,
            body: Decoder::Done,
            keep_alive: true,
            keep_alive_timeout: None,
        };
        self.render(&head, &route).map(|()| ResponseBody::h2(body, lease, active))
    }
}

/// RFC 9113 section 8.2.3: cookie crumbs are one field again before they go to HTTP/1.1.
struct Joined<'h, 'a> {
    head: &'h RequestHead<'a>,
    cookie: Vec<u8>,
}

fn join_cookies<'h, 'a>(head: &'h RequestHead<'a>) -> Joined<'h, 'a> {
    let crumbs: Vec<_> =
        head.fields.iter().filter(|f| f.name == "cookie").map(|f| f.value).collect();
    Joined { head, cookie: crumbs.join(&b"; "[..]) }
}

impl Joined<'_, '_> {
    fn view(&self) -> RequestHead<'_> {
        let head = self.head;
        let mut fields: Fields<'_> =
            head.fields.iter().filter(|f| f.name != "cookie").copied().collect();
        if !self.cookie.is_empty() {
            fields.push(Field { name: "cookie", value: &self.cookie, class: Class::EndToEnd });
        }
        RequestHead {
            method: head.method,
            target: head.target.clone(),
            host: head.host,
            version: head.version,
            fields,
            body: Decoder::Done,
            keep_alive: head.keep_alive,
            expect_continue: false,
            upgrade: None,
        }
    }
}

/// An answer of this proxy's own.
fn own_answer(
    error: ProxyError,
    id: &RequestId,
    retry_after: Option<u64>,
    active: Active,
) -> Response<ResponseBody> {
    let text = error.body(std::str::from_utf8(id).unwrap_or_default());
    let mut map = HeaderMap::new();
    append(&mut map, b"content-type", b"application/json");
    append(&mut map, b"cache-control", b"no-store");
    append(&mut map, b"x-request-id", id);
    if let Some(seconds) = retry_after {
        append(&mut map, b"retry-after", seconds.to_string().as_bytes());
    }
    let mut response = Response::new(ResponseBody::own(text, active));
    // 499 is for logs; a stream whose client is gone is not answered at all.
    *response.status_mut() =
        StatusCode::from_u16(error.status()).unwrap_or(StatusCode::BAD_GATEWAY);
    *response.headers_mut() = map;
    response
}
