//! Requests to the identity provider: HTTPS alone, one answer of a bounded length within a bounded time,
//! and no redirect is followed.

use std::{io, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{HeaderValue, Request, Response, StatusCode, Uri, header::HOST};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use oauth2::AsyncHttpClient;
use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, ServerName, pem::PemObject as _},
};
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::TlsConnector;
use tokio_util::task::AbortOnDropHandle;

/// How long an answer may take, from the connection to its last byte.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Longest answer.
const MAX_ANSWER: usize = 64 << 10;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum HttpError {
    #[error("no answer within {} s", TIMEOUT.as_secs())]
    Timeout,
    #[error("{0} is not an https:// URL")]
    Url(Uri),
    #[error("{0}")]
    Connection(#[from] io::Error),
    #[error("{0}")]
    Exchange(#[from] hyper::Error),
    #[error("it is longer than {} KiB", MAX_ANSWER >> 10)]
    Long,
    #[error("the connection broke before the answer was complete")]
    Incomplete,
    /// Whatever stands before the provider, or the provider itself, says that it is away.
    #[error("it answers with status {0}")]
    Away(StatusCode),
}

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TlsError {
    #[error("has no certificates in PEM")]
    Authorities,
    #[error(transparent)]
    Provider(#[from] rustls::Error),
}

/// The client.
pub(super) struct Http(TlsConnector);

impl Http {
    /// One that trusts these authorities (PEM) and no others, or the public ones.
    pub(super) fn new(authorities: Option<&[u8]>) -> Result<Self, TlsError> {
        let roots = match authorities {
            Some(pem) => read(pem)?,
            None => webpki_roots::TLS_SERVER_ROOTS.iter().cloned().collect(),
        };
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self(TlsConnector::from(Arc::new(config))))
    }

    /// Sends a request with an absolute URL.
    pub(super) async fn send(
        &self,
        request: Request<Vec<u8>>,
    ) -> Result<Response<Vec<u8>>, HttpError> {
        timeout(TIMEOUT, self.exchange(request)).await.map_err(|_| HttpError::Timeout)?
    }

    async fn exchange(&self, request: Request<Vec<u8>>) -> Result<Response<Vec<u8>>, HttpError> {
        let (mut head, body) = request.into_parts();
        let url = head.uri.clone();
        let bad = || HttpError::Url(url.clone());
        let host = url.host().filter(|_| url.scheme_str() == Some("https")).ok_or_else(bad)?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let authority = url.authority().map_or("", |authority| authority.as_str());
        head.headers.insert(HOST, HeaderValue::from_str(authority).map_err(|_| bad())?);
        let path = url.path_and_query().map_or("/", |path| path.as_str());
        head.uri = path.parse().map_err(|_| bad())?;
        let name = ServerName::try_from(host.to_owned()).map_err(|_| bad())?;

        let stream = TcpStream::connect((host, url.port_u16().unwrap_or(443))).await?;
        let stream = self.0.connect(name, stream).await?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let _connection = AbortOnDropHandle::new(tokio::spawn(connection));
        let request = Request::from_parts(head, Full::new(Bytes::from(body)));
        let (head, body) = sender.send_request(request).await?.into_parts();
        if is_away(head.status) {
            return Err(HttpError::Away(head.status));
        }
        let body = Limited::new(body, MAX_ANSWER).collect().await.map_err(|error| {
            if error.is::<LengthLimitError>() { HttpError::Long } else { HttpError::Incomplete }
        })?;
        Ok(Response::from_parts(head, body.to_bytes().to_vec()))
    }
}

impl<'c> AsyncHttpClient<'c> for Http {
    type Error = HttpError;
    type Future = BoxFuture<'c, Result<Response<Vec<u8>>, HttpError>>;

    fn call(&'c self, request: Request<Vec<u8>>) -> Self::Future {
        Box::pin(self.send(request))
    }
}

/// An answer of these is about no request in particular (RFC 9110, 15.6.3 to 15.6.5).
fn is_away(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT
    )
}

fn read(pem: &[u8]) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|_| TlsError::Authorities)?;
        roots.add(certificate).map_err(|_| TlsError::Authorities)?;
    }
    if roots.is_empty() { Err(TlsError::Authorities) } else { Ok(roots) }
}
