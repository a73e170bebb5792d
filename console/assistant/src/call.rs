//! One HTTP exchange with a provider, over a connection of its own, which ends with it.
//!
//! Only addresses that may be called are connected to, and only certificates that this machine trusts are
//! taken (`SSL_CERT_FILE` names others). Redirects are answers like any other. Nothing waits without a
//! bound, and no more than [`MAX_BYTES`] of a body is read.

use std::{error::Error, io, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Method, Request, StatusCode, Uri,
    header::{ACCEPT_ENCODING, CONTENT_TYPE, HOST, USER_AGENT},
};
use http_body_util::{BodyExt as _, Full};
use hyper::{body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use kipper_process::exit::plain;
use rustls::{ClientConfig, RootCertStore, crypto::ring};
use rustls_pki_types::ServerName;
use rustls_platform_verifier::BuilderVerifierExt as _;
use serde_json::Value;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, lookup_host},
    time::{Instant, timeout_at},
};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tokio_util::task::AbortOnDropHandle;

use crate::{
    address::{Reach, reach},
    event::{Code, Failure},
    provider::Provider,
    refusal::{self, Said, clean},
    settings::Settings,
};

/// Most bytes of a reply, and of a list of models.
const MAX_BYTES: usize = 10 << 20;
/// Most bytes that are read of an answer that is none.
const MAX_ERROR_BYTES: usize = 64 << 10;
/// What the standard library begins an error of DNS with.
const LOOKUP: &str = "failed to lookup address information: ";

/// What is requested.
pub(crate) struct Call<'a> {
    pub(crate) settings: &'a Settings,
    pub(crate) provider: &'static dyn Provider,
    /// When all of it has to be over.
    pub(crate) deadline: Instant,
}

/// An answer, its body still to be read.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    body: Incoming,
    idle: Duration,
    whole: Duration,
    deadline: Instant,
    left: usize,
    /// Drives the connection as long as somebody reads from it.
    _connection: AbortOnDropHandle<()>,
}

impl Call<'_> {
    /// Posts what asks for a reply.
    pub(crate) async fn post(&self, body: &Value) -> Result<Answer, Failure> {
        self.send(Method::POST, self.provider.reply_path(), Bytes::from(body.to_string())).await
    }

    /// Asks for the list of models.
    pub(crate) async fn models(&self) -> Result<Answer, Failure> {
        self.send(Method::GET, self.provider.models_path(), Bytes::new()).await
    }

    async fn send(&self, method: Method, path: &str, body: Bytes) -> Result<Answer, Failure> {
        let request = self.request(method, path, body)?;
        let connect = self.settings.bounds.connect;
        let until = self.deadline.min(Instant::now() + connect);
        let stream = timeout_at(until, Box::pin(self.connect())).await.map_err(|_| {
            let host = &self.settings.base_url.authority;
            let message =
                format!("{host} does not accept a connection within {}", seconds(connect));
            Failure::new(Code::Unreachable, message)
        })??;
        match stream {
            Stream::Plain(stream) => self.over(stream, request).await,
            Stream::Tls(stream) => self.over(stream, request).await,
        }
    }

    fn request(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<Request<Full<Bytes>>, Failure> {
        let url = &self.settings.base_url;
        let malformed =
            |_| Failure::new(Code::NotFound, format!("{url} is not a URL: set another one"));
        let path = url.path(self.provider.reply_path(), path);
        let path: Uri = path.parse().map_err(|_| malformed(()))?;
        let host = HeaderValue::from_str(&url.authority).map_err(|_| malformed(()))?;
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method;
        *request.uri_mut() = path;
        let headers = request.headers_mut();
        headers.insert(HOST, host);
        let agent = concat!("kipper/", env!("CARGO_PKG_VERSION"));
        headers.insert(USER_AGENT, HeaderValue::from_static(agent));
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        self.provider.authorize(headers, self.settings.key.as_ref());
        Ok(request)
    }

    async fn connect(&self) -> Result<Stream, Failure> {
        let url = &self.settings.base_url;
        let found = lookup_host((url.host.as_str(), url.port)).await.map_err(|error| {
            let why = error.to_string();
            let why = plain(why.strip_prefix(LOOKUP).unwrap_or(&why)).into_owned();
            Failure::new(
                Code::Dns,
                format!("the name {} cannot be resolved: {why}: check the base URL", url.host),
            )
        })?;
        let stream = self.connect_to(found).await?;
        if !url.is_tls {
            return Ok(Stream::Plain(stream));
        }
        let failed = |why: String| Failure::new(Code::Tls, why);
        let name = ServerName::try_from(url.host.clone())
            .map_err(|_| failed(format!("{} cannot be the name of a certificate", url.host)))?;
        let config = tls().map_err(|error| {
            failed(format!(
                "no certificate can be trusted: {error}: SSL_CERT_FILE can name authorities"
            ))
        })?;
        let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await;
        stream
            .map(|stream| Stream::Tls(Box::new(stream)))
            .map_err(|error| failed(self.tls_error(&error)))
    }

    /// The first address that may be called and accepts. Names are resolved here, and nowhere after.
    async fn connect_to(
        &self,
        addresses: impl Iterator<Item = SocketAddr>,
    ) -> Result<TcpStream, Failure> {
        let host = &self.settings.base_url.host;
        let mut failure = Failure::new(Code::Dns, format!("the name {host} has no address"));
        for address in addresses {
            if let Some(why) = self.refused(address) {
                // That one address cannot be reached says more than that another must not be.
                if failure.code != Code::Unreachable {
                    failure = Failure::new(Code::AddressRefused, why);
                }
                continue;
            }
            match TcpStream::connect(address).await {
                Ok(stream) => return Ok(stream),
                Err(error) => {
                    let why = error.to_string();
                    let message = format!(
                        "cannot connect to {}: {}: check the base URL, and that the provider is running",
                        self.settings.base_url.authority,
                        plain(&why)
                    );
                    failure = Failure::new(Code::Unreachable, message);
                }
            }
        }
        Err(failure)
    }

    fn refused(&self, address: SocketAddr) -> Option<String> {
        let host = &self.settings.base_url.host;
        let ip = address.ip();
        let what = if ip.to_string() == *host { host.clone() } else { format!("{host} ({ip})") };
        match reach(ip) {
            Reach::Public => None,
            Reach::Private if self.settings.allow_private => None,
            Reach::Private => Some(format!(
                "{what} is a private address: to use it, allow private addresses in the settings"
            )),
            Reach::Never => Some(format!(
                "{what} is a link-local or reserved address, and is never connected to"
            )),
        }
    }

    fn tls_error(&self, error: &io::Error) -> String {
        let url = &self.settings.base_url;
        let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
        match inner {
            Some(rustls::Error::InvalidCertificate(why)) => format!(
                "the certificate of {} is not trusted: {why}: SSL_CERT_FILE can name further authorities",
                url.authority
            ),
            Some(rustls::Error::InvalidMessage(_)) => {
                format!("{} does not speak TLS: use http://", url.authority)
            }
            _ => format!(
                "the TLS handshake with {} failed: {}",
                url.authority,
                plain(&error.to_string())
            ),
        }
    }

    async fn over<S>(&self, stream: S, request: Request<Full<Bytes>>) -> Result<Answer, Failure>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let bounds = self.settings.bounds;
        let until = self.deadline.min(Instant::now() + bounds.idle);
        let exchange = async {
            let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
            // What is read from it shows how it ends.
            let connection =
                AbortOnDropHandle::new(tokio::spawn(async move { drop(connection.await) }));
            Ok((sender.send_request(request).await?, connection))
        };
        let exchange = timeout_at(until, Box::pin(exchange)).await;
        let exchange = exchange.map_err(|_| late(bounds.idle, bounds.whole, self.deadline))?;
        let (response, connection) = exchange.map_err(|error| self.broken(&error))?;
        let (head, body) = response.into_parts();
        Ok(Answer {
            status: head.status,
            headers: head.headers,
            body,
            idle: bounds.idle,
            whole: bounds.whole,
            deadline: self.deadline,
            left: MAX_BYTES,
            _connection: connection,
        })
    }

    fn broken(&self, error: &hyper::Error) -> Failure {
        let host = &self.settings.base_url.authority;
        if error.is_parse() {
            let message = format!(
                "{host} does not speak HTTP: check the port, and whether the URL begins with https:// or http://"
            );
            return Failure::new(Code::WrongProtocol, message);
        }
        let why = if error.is_incomplete_message() {
            "it was closed before an answer came".to_owned()
        } else {
            plain(&cause(error)).into_owned()
        };
        Failure::new(Code::CutOff, format!("the connection to {host} broke: {why}: try again"))
    }

    /// What an answer that is no reply means.
    pub(crate) fn failure(&self, answer: &Answer, said: &Said) -> Failure {
        refusal::failure(answer.status, &answer.headers, said, self.settings.key.as_ref())
    }

    /// An answer that is not what this protocol says.
    pub(crate) fn wrong_protocol(&self, what: &str) -> Failure {
        let message = format!(
            "{} answers with {what}: check the base URL and the protocol",
            clean(&self.settings.base_url.to_string(), self.settings.key.as_ref())
        );
        Failure::new(Code::WrongProtocol, message)
    }
}

impl Answer {
    /// The next part of the body; `None` at its end.
    pub(crate) async fn chunk(&mut self) -> Result<Option<Bytes>, Failure> {
        loop {
            // Data that is there already comes before a time that is over.
            if Instant::now() >= self.deadline {
                return Err(late(self.idle, self.whole, self.deadline));
            }
            let until = self.deadline.min(Instant::now() + self.idle);
            let frame = timeout_at(until, self.body.frame()).await;
            let Some(frame) = frame.map_err(|_| late(self.idle, self.whole, self.deadline))? else {
                return Ok(None);
            };
            let frame = frame.map_err(|_| Failure::cut_off())?;
            let Ok(data) = frame.into_data() else { continue };
            self.left = self.left.checked_sub(data.len()).ok_or_else(|| {
                Failure::new(
                    Code::TooLarge,
                    format!("the reply is larger than {} MiB", MAX_BYTES >> 20),
                )
            })?;
            return Ok(Some(data));
        }
    }

    /// The whole body.
    pub(crate) async fn bytes(&mut self) -> Result<Vec<u8>, Failure> {
        let mut body = Vec::new();
        while let Some(chunk) = self.chunk().await? {
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    /// The provider's words in an answer that is no reply; none where there are none, or too many.
    pub(crate) async fn said(&mut self) -> Said {
        let mut body = Vec::new();
        while let Ok(Some(chunk)) = self.chunk().await {
            body.extend_from_slice(&chunk);
            if body.len() > MAX_ERROR_BYTES {
                return Said::default();
            }
        }
        let body = serde_json::from_slice(&body).unwrap_or_default();
        Said::of(&body).unwrap_or_default()
    }

    /// Is this content type that of the body?
    pub(crate) fn is(&self, content_type: &str) -> bool {
        let value = self.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let essence = value.and_then(|value| value.split(';').next()).unwrap_or_default();
        essence.trim().eq_ignore_ascii_case(content_type)
    }
}

enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

fn tls() -> Result<ClientConfig, rustls::Error> {
    let provider = Arc::new(ring::default_provider());
    let builder =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let builder = match builder.clone().with_platform_verifier() {
        Ok(builder) => builder,
        // A container often has no store of its own.
        Err(_) => {
            let roots: RootCertStore = webpki_roots::TLS_SERVER_ROOTS.iter().cloned().collect();
            builder.with_root_certificates(roots)
        }
    };
    Ok(builder.with_no_client_auth())
}

/// Which of the two bounds was reached.
fn late(idle: Duration, whole: Duration, deadline: Instant) -> Failure {
    if Instant::now() >= deadline {
        let message = format!("the reply was not complete within {}: ask for less", seconds(whole));
        return Failure::new(Code::TookTooLong, message);
    }
    let message = format!(
        "the provider sent nothing for {}; it may have been loading the model: try again",
        seconds(idle)
    );
    Failure::new(Code::Silent, message)
}

fn seconds(time: Duration) -> String {
    format!("{} s", time.as_secs_f64())
}

/// The innermost cause: what hyper says around it is about hyper.
fn cause(error: &hyper::Error) -> String {
    let mut innermost: &dyn Error = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}
