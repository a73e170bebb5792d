//! One request to a function, the way users' requests reach it.
//!
//! To its URL, or straight to an interceptor with the function's host, where no ingress leads there.
//! Redirects are returned, not followed. The answer's body is handed out as it arrives.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri,
    header::{HOST, USER_AGENT},
    uri::Scheme,
};
use http_body_util::{BodyExt as _, Full};
use hyper::{body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use kipper_process::exit::plain;
use rustls::{ClientConfig, crypto::ring};
use rustls_pki_types::ServerName;
use rustls_platform_verifier::BuilderVerifierExt as _;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    task::JoinHandle,
    time::{Instant, timeout},
};
use tokio_rustls::TlsConnector;

use crate::error::cause;

/// What the standard library begins an error of DNS with.
const LOOKUP: &str = "failed to lookup address information: ";
/// How long a connection may take to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Most phases of a `Server-Timing` that are read.
const MAX_PHASES: usize = 32;

/// How requests reach functions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Gateway {
    /// Address of an interceptor, `http://10.0.0.7:8080`; absent, requests go to the function's URL.
    pub interceptor: Option<Uri>,
}

/// A request.
#[derive(Clone, Debug)]
pub struct Request {
    /// Its method.
    pub method: Method,
    /// Path and query.
    pub path: String,
    /// Header fields beside those that every request has.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
    /// How long the answer's head, and each part of its body, may take.
    pub timeout: Duration,
}

impl Request {
    /// A request without a body.
    pub fn new(method: Method, path: &str) -> Self {
        Self {
            method,
            path: path.to_owned(),
            headers: HeaderMap::new(),
            body: Bytes::new(),
            timeout: Duration::from_secs(60),
        }
    }

    /// What stands in its first line: the path begins with a slash, whether it was given one or not.
    fn target(&self) -> String {
        let slash = if self.path.starts_with('/') { "" } else { "/" };
        format!("{slash}{}", self.path)
    }

    /// What is requested of the function with this URL, as a user would type it.
    pub fn url(&self, function: &str) -> String {
        let target = self.target();
        let target = if target == "/" { "" } else { target.as_str() };
        format!("{}{target}", function.trim_end_matches('/'))
    }
}

/// Where a request was to go, as users know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct To {
    /// Host of the function, with a port.
    pub host: String,
    /// Address of the interceptor by which it was to go there.
    pub interceptor: Option<String>,
}

impl std::fmt::Display for To {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.host)?;
        match &self.interceptor {
            Some(address) => write!(f, " through the interceptor {address}"),
            None => Ok(()),
        }
    }
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum InvokeError {
    /// The function has no URL.
    #[error("invalid URL {0:?}")]
    BadUrl(String),
    /// The path is none.
    #[error("invalid request path {0:?}")]
    BadPath(String),
    /// Nobody accepts the connection.
    #[error("cannot connect to {to}: {reason}")]
    Connect {
        /// What was to be reached.
        to: To,
        /// Why.
        reason: String,
    },
    /// The connection broke.
    #[error("the connection to {to} broke: {reason}")]
    Broken {
        /// What was to be reached.
        to: To,
        /// Why.
        reason: String,
    },
    /// Nothing came in time.
    #[error("no answer from {to} within {}", seconds(*after))]
    Timeout {
        /// What was to be reached.
        to: To,
        /// How long was waited.
        after: Duration,
    },
}

fn seconds(time: Duration) -> String {
    format!("{:.0} s", time.as_secs_f64())
}

/// One phase of a cold start, from `Server-Timing`.
#[derive(Clone, Debug, PartialEq)]
pub struct Phase {
    /// `queue`, `wake`, `ready`, `connect` or `ttfb`.
    pub name: String,
    /// How long it took, in milliseconds.
    pub milliseconds: f64,
}

/// An answer, its body still to be read.
#[derive(Debug)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its header.
    pub headers: HeaderMap,
    /// From the begin of the connection to the answer's head.
    pub took: Duration,
    /// The phases of a cold start; none of a warm one.
    pub phases: Vec<Phase>,
    body: Incoming,
    to: To,
    timeout: Duration,
    _connection: Connection,
}

/// Drives the connection as long as somebody reads from it.
#[derive(Debug)]
struct Connection(JoinHandle<()>);

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Answer {
    /// The next part of the body; `None` at its end.
    ///
    /// # Errors
    /// When the connection breaks or is silent for too long.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, InvokeError> {
        loop {
            let to = || self.to.clone();
            let frame = timeout(self.timeout, self.body.frame()).await;
            let frame =
                frame.map_err(|_| InvokeError::Timeout { to: to(), after: self.timeout })?;
            let Some(frame) = frame else { return Ok(None) };
            let broken = |error| InvokeError::Broken { to: to(), reason: how(&error) };
            let frame = frame.map_err(broken)?;
            if let Ok(data) = frame.into_data() {
                return Ok(Some(data));
            }
        }
    }
}

/// What an interceptor says in place of a function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// In words.
    pub error: String,
    /// In one word.
    pub reason: String,
}

/// Reads an answer that an interceptor made itself: its body names the request as its header does.
/// `None` for an answer of a function.
pub fn refusal(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Option<Refusal> {
    if !status.is_client_error() && !status.is_server_error() {
        return None;
    }
    let body: serde_json::Value = serde_json::from_slice(body).ok()?;
    let text = |key: &str| body.get(key).and_then(|value| value.as_str()).map(str::to_owned);
    let id = text("requestId")?;
    if headers.get("x-request-id").is_none_or(|reported| reported.as_bytes() != id.as_bytes()) {
        return None;
    }
    Some(Refusal { error: text("error")?, reason: text("reason")? })
}

/// Sends a request to the function of this URL.
///
/// # Errors
/// When no head of an answer arrives.
pub async fn send(gateway: &Gateway, url: &str, request: &Request) -> Result<Answer, InvokeError> {
    let route = Route::new(gateway, url)?;
    let head = head(&route, request)?;
    let answer = exchange(&route, head, request.timeout);
    timeout(request.timeout, answer)
        .await
        .map_err(|_| InvokeError::Timeout { to: route.to.clone(), after: request.timeout })?
}

/// Where a request goes, and what it says.
struct Route {
    /// `Host` of the function.
    host: HeaderValue,
    /// Host and port to connect to.
    address: String,
    /// The same as users know it.
    to: To,
    /// Name in the certificate; `None` for a connection in the clear.
    tls: Option<ServerName<'static>>,
}

impl Route {
    fn new(gateway: &Gateway, url: &str) -> Result<Self, InvokeError> {
        let bad = |text: &str| InvokeError::BadUrl(text.to_owned());
        let function: Uri = url.parse().map_err(|_| bad(url))?;
        let authority = function.authority().ok_or_else(|| bad(url))?;
        let host = HeaderValue::from_str(authority.as_str()).map_err(|_| bad(url))?;
        let to = gateway.interceptor.as_ref().unwrap_or(&function);
        let reported = to.to_string();
        let is_tls = match to.scheme() {
            Some(scheme) if *scheme == Scheme::HTTPS => true,
            Some(scheme) if *scheme == Scheme::HTTP => false,
            _ => return Err(bad(&reported)),
        };
        let name = to.host().ok_or_else(|| bad(&reported))?;
        let port = to.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
        let server = || ServerName::try_from(name.to_owned()).map_err(|_| bad(&reported));
        let tls = if is_tls { Some(server()?) } else { None };
        let address = format!("{name}:{port}");
        let to = match &gateway.interceptor {
            Some(_) => To { host: authority.to_string(), interceptor: Some(address.clone()) },
            None => To { host: address.clone(), interceptor: None },
        };
        Ok(Self { host, address, to, tls })
    }

    fn refused(&self, reason: impl ToString) -> InvokeError {
        let reason = reason.to_string();
        let reason = match reason.strip_prefix(LOOKUP) {
            Some(why) => format!("the name cannot be resolved: {why}"),
            None => plain(&reason).into_owned(),
        };
        InvokeError::Connect { to: self.to.clone(), reason }
    }

    fn broken(&self, error: &hyper::Error) -> InvokeError {
        InvokeError::Broken { to: self.to.clone(), reason: how(error) }
    }
}

/// How a connection broke.
fn how(error: &hyper::Error) -> String {
    if error.is_incomplete_message() {
        return "it was closed before the answer was complete".to_owned();
    }
    if error.is_parse() {
        return "what came is not an HTTP answer".to_owned();
    }
    plain(&cause(error)).into_owned()
}

async fn exchange(
    route: &Route,
    head: http::Request<Full<Bytes>>,
    timeout: Duration,
) -> Result<Answer, InvokeError> {
    let started = Instant::now();
    let connecting = tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(&route.address));
    let silent = || format!("no answer within {}", seconds(CONNECT_TIMEOUT));
    let stream = connecting.await.map_err(|_| route.refused(silent()))?;
    let stream = stream.map_err(|e| route.refused(e))?;
    match &route.tls {
        None => over(stream, route, head, timeout, started).await,
        Some(name) => {
            let config = tls().map_err(|error| route.refused(error))?;
            let stream = TlsConnector::from(Arc::new(config)).connect(name.clone(), stream).await;
            over(stream.map_err(|e| route.refused(e))?, route, head, timeout, started).await
        }
    }
}

fn tls() -> Result<ClientConfig, rustls::Error> {
    let provider = Arc::new(ring::default_provider());
    let builder =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(builder.with_platform_verifier()?.with_no_client_auth())
}

async fn over<S>(
    stream: S,
    route: &Route,
    head: http::Request<Full<Bytes>>,
    timeout: Duration,
    started: Instant,
) -> Result<Answer, InvokeError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let handshake = http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(|error| route.broken(&error))?;
    // What is read from it shows how it ends.
    let connection = Connection(tokio::spawn(async move { drop(connection.await) }));
    let response = sender.send_request(head).await;
    let (head, body) = response.map_err(|error| route.broken(&error))?.into_parts();
    Ok(Answer {
        status: head.status,
        took: started.elapsed(),
        phases: phases(&head.headers),
        headers: head.headers,
        body,
        to: route.to.clone(),
        timeout,
        _connection: connection,
    })
}

fn head(route: &Route, request: &Request) -> Result<http::Request<Full<Bytes>>, InvokeError> {
    let bad = || InvokeError::BadPath(request.path.clone());
    let path: Uri = request.target().parse().map_err(|_| bad())?;
    let mut built = http::Request::new(Full::new(request.body.clone()));
    *built.method_mut() = request.method.clone();
    *built.uri_mut() = path;
    let headers = built.headers_mut();
    headers
        .insert(USER_AGENT, HeaderValue::from_static(concat!("kip/", env!("CARGO_PKG_VERSION"))));
    headers.insert(HOST, route.host.clone());
    for name in request.headers.keys() {
        headers.remove(name);
    }
    headers.extend(request.headers.clone());
    Ok(built)
}

/// The phases of `Server-Timing`, in their order; entries without a duration are left out.
fn phases(headers: &HeaderMap) -> Vec<Phase> {
    let name = HeaderName::from_static("server-timing");
    let values = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).filter_map(phase).take(MAX_PHASES).collect()
}

fn phase(entry: &str) -> Option<Phase> {
    let mut parts = entry.split(';').map(str::trim);
    let name = parts.next().filter(|name| !name.is_empty())?.to_owned();
    let duration = parts.find_map(|part| part.strip_prefix("dur="))?;
    Some(Phase { name, milliseconds: duration.parse().ok()? })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[track_caller]
    fn check(interceptor: Option<&str>, url: &str, expected: Result<(&str, &str, bool), &str>) {
        let interceptor = interceptor.map(|uri| uri.parse().unwrap());
        let route = Route::new(&Gateway { interceptor }, url);
        let reported = route.as_ref().map(|route| {
            (route.host.to_str().unwrap(), route.address.as_str(), route.tls.is_some())
        });
        assert_eq!(reported.map_err(ToString::to_string), expected.map_err(str::to_owned));
    }

    #[test]
    fn a_request_goes_to_the_url_or_the_interceptor() {
        let url = "https://fn-hello.example.com";
        let host = "fn-hello.example.com";
        check(None, url, Ok((host, "fn-hello.example.com:443", true)));
        check(Some("http://10.0.0.7"), url, Ok((host, "10.0.0.7:80", false)));
        check(Some("http://[::1]:8080/"), url, Ok((host, "[::1]:8080", false)));
        check(None, "", Err("invalid URL \"\""));
        check(Some("10.0.0.7:80"), url, Err("invalid URL \"10.0.0.7:80\""));
    }

    #[test]
    fn an_error_names_the_functions_host() {
        let url = "https://fn-hello.example.com";
        let check = |interceptor: Option<&str>, reason: &str, expected: &str| {
            let interceptor = interceptor.map(|uri| uri.parse().unwrap());
            let route = Route::new(&Gateway { interceptor }, url).unwrap();
            assert_eq!(route.refused(reason).to_string(), expected);
        };
        check(
            None,
            "Connection refused (os error 111)",
            "cannot connect to fn-hello.example.com:443: Connection refused",
        );
        check(
            Some("http://10.0.0.7"),
            "failed to lookup address information: Name or service not known",
            "cannot connect to fn-hello.example.com through the interceptor 10.0.0.7:80: the name \
             cannot be resolved: Name or service not known",
        );
    }

    #[test]
    fn what_is_requested_has_its_path() {
        let url = |path: &str| Request::new(Method::GET, path).url("https://fn.test");
        assert_eq!(url("/"), "https://fn.test");
        assert_eq!(url("/x?a=b"), "https://fn.test/x?a=b");
        assert_eq!(url("x"), "https://fn.test/x");
    }

    #[test]
    fn the_users_header_wins() {
        let route = Route::new(&Gateway::default(), "http://fn.test").unwrap();
        let mut request = Request::new(Method::GET, "a?b=c");
        request.headers.append("user-agent", HeaderValue::from_static("me"));
        request.headers.append("x", HeaderValue::from_static("1"));
        request.headers.append("x", HeaderValue::from_static("2"));
        let built = head(&route, &request).unwrap();
        assert_eq!(built.uri(), "/a?b=c");
        let values = |name: &str| {
            let all = built.headers().get_all(name);
            all.iter().map(|value| value.to_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(values("host"), ["fn.test"]);
        assert_eq!(values("user-agent"), ["me"]);
        assert_eq!(values("x"), ["1", "2"]);
        request.path = "/a b".to_owned();
        assert!(matches!(head(&route, &request), Err(InvokeError::BadPath(_))));
    }

    #[test]
    fn phases_are_those_with_a_duration() {
        let mut headers = HeaderMap::new();
        let value = "queue;dur=12.5, cache, wake;desc=\"x\";dur=3, bad;dur=x";
        headers.append("server-timing", HeaderValue::from_static(value));
        headers.append("server-timing", HeaderValue::from_static("ttfb;dur=1"));
        let found: Vec<_> =
            phases(&headers).into_iter().map(|p| (p.name, p.milliseconds)).collect();
        let expected = [("queue", 12.5), ("wake", 3.0), ("ttfb", 1.0)];
        assert_eq!(found, expected.map(|(name, took)| (name.to_owned(), took)));
    }

    #[test]
    fn an_interceptor_is_told_from_a_function() {
        let body = br#"{"error":"shutting down","reason":"shutting_down","requestId":"7"}"#;
        let mut headers = HeaderMap::new();
        let read = |headers: &HeaderMap, status| refusal(status, headers, body);
        assert_eq!(read(&headers, StatusCode::SERVICE_UNAVAILABLE), None);
        headers.insert("x-request-id", HeaderValue::from_static("7"));
        let reported = read(&headers, StatusCode::SERVICE_UNAVAILABLE).unwrap();
        assert_eq!(
            (reported.error.as_str(), reported.reason.as_str()),
            ("shutting down", "shutting_down")
        );
        assert_eq!(read(&headers, StatusCode::OK), None);
        assert_eq!(refusal(StatusCode::NOT_FOUND, &headers, b"gone"), None);
    }
}
