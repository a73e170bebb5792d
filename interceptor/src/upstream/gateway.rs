//! HTTP/1.1 requests for pods that speak HTTP/2 only (`protocol: h2c`).
//!
//! The exchange keeps speaking HTTP/1.1, to one end of an in-memory pipe; at the other end hyper
//! reads the head this proxy wrote itself, and sends the request on the endpoint's multiplexed
//! connection. So holds, timers and framing are those of every other request. One pipe serves one
//! request.

use std::{io, sync::Arc, time::Duration};

use http::{HeaderName, HeaderValue, Request, Response, Version, header};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::io::DuplexStream;

use super::{
    ConnectError, Pool,
    h2::{self, Replayable, SendError},
};
use crate::balancer::Endpoint;

/// Bytes in the pipe, each way.
const PIPE: usize = 64 << 10;
/// Sent again this often when the pod refuses the stream.
const MAX_ATTEMPTS: u32 = 3;

/// Our end of a pipe to `endpoint`, once its connection stands.
pub(crate) async fn open(
    pool: &Arc<Pool>,
    endpoint: &Arc<Endpoint>,
    timeout: Duration,
) -> Result<DuplexStream, ConnectError> {
    h2::connect(pool, endpoint, timeout).await?;
    let (ours, theirs) = tokio::io::duplex(PIPE);
    let (pool, endpoint) = (Arc::clone(pool), Arc::clone(endpoint));
    let service = service_fn(move |request| {
        let (pool, endpoint) = (Arc::clone(&pool), Arc::clone(&endpoint));
        async move { translate(&pool, &endpoint, timeout, request).await }
    });
    // It ends with the pipe: when our end is dropped, the stream to the pod is reset.
    tokio::spawn(async move {
        let serving =
            http1::Builder::new().keep_alive(false).serve_connection(TokioIo::new(theirs), service);
        if let Err(error) = serving.await {
            tracing::debug!(%error, "gateway to an HTTP/2 pod ended");
        }
    });
    Ok(ours)
}

/// The pod's response. An error closes the pipe, which the exchange takes for a pod that closed.
async fn translate(
    pool: &Pool,
    endpoint: &Endpoint,
    timeout: Duration,
    request: Request<Incoming>,
) -> io::Result<Response<Incoming>> {
    let (mut parts, body) = request.into_parts();
    to_h2(&mut parts).map_err(io::Error::other)?;
    let body = Replayable::new(body);
    for _ in 0..MAX_ATTEMPTS {
        let Some(view) = body.view() else { break };
        match h2::send(pool, endpoint, timeout, parts.clone(), view).await {
            Ok(mut response) => {
                body.settle();
                *response.version_mut() = Version::HTTP_11;
                return Ok(response);
            }
            Err(SendError::NotProcessed(_)) => {}
            Err(SendError::Failed(error)) => return Err(io::Error::other(error)),
        }
    }
    Err(io::Error::other("the pod refused the stream"))
}

/// RFC 9113 section 8.2.2: no connection-specific fields; the authority stands in the target.
fn to_h2(parts: &mut http::request::Parts) -> Result<(), http::Error> {
    let host = parts.headers.remove(header::HOST);
    let target = parts.uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
    let authority = host.as_ref().map(HeaderValue::as_bytes).unwrap_or_default();
    parts.uri = http::Uri::builder()
        .scheme("http")
        .authority(authority)
        .path_and_query(target.to_owned())
        .build()?;
    let keep_alive = HeaderName::from_static("keep-alive");
    for name in [header::CONNECTION, header::TRANSFER_ENCODING, header::UPGRADE, keep_alive] {
        parts.headers.remove(name);
    }
    parts.version = Version::HTTP_2;
    Ok(())
}
