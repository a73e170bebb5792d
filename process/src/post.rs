//! One request to another part of the system, over a connection of its own: for what is said now and
//! then. The caller bounds the time.

use std::{net::SocketAddr, pin::pin};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Request, StatusCode, Uri,
    header::{CONNECTION, HOST},
};
use http_body_util::Full;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum PostError {
    /// Nothing takes connections there.
    #[error("connect")]
    Connect(#[source] std::io::Error),
    /// The exchange did not come to its end.
    #[error("no answer")]
    Exchange(#[from] hyper::Error),
}

/// Posts `body` to `addr` and returns the status of the answer; its body is not read.
///
/// # Errors
/// When there is none.
pub async fn post(
    addr: SocketAddr,
    path: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Result<StatusCode, PostError> {
    let stream = TcpStream::connect(addr).await.map_err(PostError::Connect)?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let mut request = Request::new(Full::new(body));
    *request.method_mut() = http::Method::POST;
    *request.uri_mut() = path;
    *request.headers_mut() = headers;
    let host = HeaderValue::from_str(&addr.to_string());
    // The text of an address is a header's value.
    request.headers_mut().extend(host.ok().map(|host| (HOST, host)));
    request.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    let mut sent = pin!(sender.send_request(request));
    // A connection that ends with the answer has handed it over before; one that ends without has said so.
    let response = tokio::select! {
        response = &mut sent => response?,
        _ = connection => sent.await?,
    };
    Ok(response.status())
}
