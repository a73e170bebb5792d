//! The two gRPC servers: bounds, keepalive and TLS of each.

use std::{future::Future, io, path::PathBuf, time::Duration};

use kipper_counts::counts_server::CountsServer;
use kipper_externalscaler::external_scaler_server::ExternalScalerServer;
use tokio::net::TcpListener;
use tonic::transport::{
    Certificate, Identity, Server, ServerTlsConfig,
    server::{Router, TcpIncoming},
};
use tonic_health::pb::health_server::{Health, HealthServer};

use crate::{collector::Collector, config::TlsFiles, error::Error, external_scaler::Scaler};

/// KEDA shares one connection per address among all its objects, with a stream for each; HTTP/2's
/// customary 100 would block the others silently.
const MAX_KEDA_STREAMS: u32 = 200_000;
/// Interceptors need one.
const MAX_COUNTS_STREAMS: u32 = 16;
/// A `ScaledObjectRef` with its metadata.
const MAX_KEDA_MESSAGE_BYTES: usize = 256 << 10;
/// A snapshot of as many functions as an adapter knows, at about 150 bytes each.
const MAX_REPORT_BYTES: usize = 32 << 20;
/// KEDA is silent for long; this is how its death is noticed.
const KEDA_KEEPALIVE: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(20));
/// What an interceptor may send ahead: a second of its budget would be a megabyte.
const COUNTS_WINDOW: u32 = 256 << 10;
/// An interceptor that died without a word is noticed within ten seconds.
const COUNTS_KEEPALIVE: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(5));
/// A TLS handshake that takes longer is given up.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// KEDA's server.
pub(crate) fn external_scaler(
    scaler: Scaler,
    health: HealthServer<impl Health>,
    tls: Option<ServerTlsConfig>,
) -> Result<Router, Error> {
    let scaler =
        ExternalScalerServer::new(scaler).max_decoding_message_size(MAX_KEDA_MESSAGE_BYTES);
    let mut server = secured(with_keepalive(KEDA_KEEPALIVE), tls, "grpc")?
        .max_concurrent_streams(MAX_KEDA_STREAMS);
    Ok(server.add_service(scaler).add_service(health))
}

/// The interceptors' server.
pub(crate) fn counts(collector: Collector, tls: Option<ServerTlsConfig>) -> Result<Router, Error> {
    let collector = CountsServer::new(collector).max_decoding_message_size(MAX_REPORT_BYTES);
    let mut server = secured(with_keepalive(COUNTS_KEEPALIVE), tls, "counts")?
        .max_concurrent_streams(MAX_COUNTS_STREAMS)
        .initial_stream_window_size(COUNTS_WINDOW)
        .initial_connection_window_size(COUNTS_WINDOW);
    Ok(server.add_service(collector))
}

/// Serves until `shutdown`, then until every connection has ended.
pub(crate) async fn serve(
    router: Router,
    listener: TcpListener,
    what: &'static str,
    shutdown: impl Future<Output = ()>,
) -> Result<(), Error> {
    // A wake is a few bytes; they must not wait for an acknowledgement.
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    let served = router.serve_with_incoming_shutdown(incoming, shutdown).await;
    served.map_err(|source| Error::Serve { what, source })
}

/// Reads keys and certificates. With a client CA, a client without a certificate of it is refused
/// in the handshake.
pub(crate) fn tls_config(files: Option<TlsFiles<'_>>) -> Result<Option<ServerTlsConfig>, Error> {
    let Some(files) = files else { return Ok(None) };
    let identity = Identity::from_pem(read(files.cert)?, read(files.key)?);
    let mut tls = ServerTlsConfig::new().identity(identity).timeout(HANDSHAKE_TIMEOUT);
    if let Some(client_ca) = files.client_ca {
        tls = tls.client_ca_root(Certificate::from_pem(read(client_ca)?));
    }
    Ok(Some(tls))
}

pub(crate) fn read(path: &PathBuf) -> Result<Vec<u8>, Error> {
    let error = |source: io::Error| Error::TlsFile { path: path.clone(), source };
    std::fs::read(path).map_err(error)
}

fn with_keepalive((interval, timeout): (Duration, Duration)) -> Server {
    Server::builder()
        .http2_keepalive_interval(Some(interval))
        .http2_keepalive_timeout(Some(timeout))
}

fn secured(
    server: Server,
    tls: Option<ServerTlsConfig>,
    what: &'static str,
) -> Result<Server, Error> {
    match tls {
        Some(tls) => server.tls_config(tls).map_err(|source| Error::Tls { what, source }),
        None => Ok(server),
    }
}
