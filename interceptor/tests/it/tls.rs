//! TLS towards clients: protocol by ALPN, certificate by name, changed while running.

use std::{path::Path, sync::Arc};

use kipper_interceptor::config::ProxyConfig;
use rcgen::{CertifiedKey, KeyPair, generate_simple_self_signed};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, ServerName};
use serde_json::json;
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::support::{Backend, Process, Proxy, Recorder, Wire, function, ok, ready, within};

/// A new self-signed certificate for `host`, as `<name>.crt` and `<name>.key`.
fn certificate(directory: &Path, name: &str, host: &str) -> CertificateDer<'static> {
    let CertifiedKey { cert, signing_key }: CertifiedKey<KeyPair> =
        generate_simple_self_signed([host.to_owned()]).unwrap();
    // The key first: a certificate without its key is not a pair yet.
    std::fs::write(directory.join(name).with_extension("key"), signing_key.serialize_pem())
        .unwrap();
    std::fs::write(directory.join(name).with_extension("crt"), cert.pem()).unwrap();
    cert.der().clone()
}

pub(crate) struct Secure {
    pub(crate) directory: TempDir,
    pub(crate) certificate: CertificateDer<'static>,
}

impl Secure {
    /// A directory with a certificate for `f.test`.
    pub(crate) fn new() -> Self {
        let directory = TempDir::new().unwrap();
        let certificate = certificate(directory.path(), "f", "f.test");
        Self { directory, certificate }
    }

    pub(crate) fn config(&self) -> ProxyConfig {
        ProxyConfig {
            tls_listen: Some(([127, 0, 0, 1], 0).into()),
            tls_cert_dir: Some(self.directory.path().to_owned()),
            ..ProxyConfig::default()
        }
    }
}

/// A connection to `host` that trusts these certificates and offers these protocols.
pub(crate) async fn connect(
    address: std::net::SocketAddr,
    host: &str,
    trusted: &[&CertificateDer<'static>],
    alpn: &[&str],
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    for certificate in trusted {
        roots.add((*certificate).clone()).unwrap();
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|p| p.as_bytes().to_vec()).collect();
    let tcp = TcpStream::connect(address).await?;
    let name = ServerName::try_from(host.to_owned()).unwrap();
    let shaking = TlsConnector::from(Arc::new(config)).connect(name, tcp);
    within("the TLS handshake ends", shaking).await
}

#[tokio::test(flavor = "multi_thread")]
async fn http1_and_h2_by_alpn() {
    let secure = Secure::new();
    let pod = Backend::answering(|request| ok(request.field("x-forwarded-proto").unwrap()));
    let proxy = Proxy::with(secure.config()).await;
    proxy.add(function("f"), &[ready(pod.address)]).await;
    let address = proxy.tls.unwrap();
    let trusted = [&secure.certificate];
    for alpn in [&["http/1.1"][..], &[]] {
        let stream = connect(address, "f.test", &trusted, alpn).await.unwrap();
        let answer = Wire::new(stream).get("f.test", "/").await;
        assert_eq!(answer.text(), "https");
        assert!(answer.field("strict-transport-security").is_some());
    }
    let stream = connect(address, "f.test", &trusted, &["h2", "http/1.1"]).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let mut client = crate::http2::Client::handshake(stream).await;
    let answer = client.get("f.test", "/").await;
    assert_eq!((answer.status, answer.body.as_slice()), (200, &b"https"[..]));
    assert!(answer.fields.contains_key("strict-transport-security"));
}

#[tokio::test(flavor = "multi_thread")]
async fn certificate_by_server_name() {
    let secure = Secure::new();
    let other = certificate(secure.directory.path(), "g", "*.wild.test");
    let proxy = Proxy::with(secure.config()).await;
    let address = proxy.tls.unwrap();
    for (host, expected) in [
        ("f.test", &secure.certificate),
        ("F.Test", &secure.certificate),
        ("any.wild.test", &other),
    ] {
        let stream = connect(address, host, &[&secure.certificate, &other], &[]).await.unwrap();
        let served = stream.get_ref().1.peer_certificates().unwrap();
        assert_eq!(&served[0], expected, "{host}");
    }
    // A name that no certificate is for gets one all the same, which its client refuses.
    let refused = connect(address, "x.y.test", &[&secure.certificate, &other], &[]).await;
    assert!(refused.is_err());
}

/// A TLS client on the plain port and a plain one on the TLS port get no further.
#[tokio::test(flavor = "multi_thread")]
async fn ports_do_not_mix() {
    let secure = Secure::new();
    let proxy = Proxy::with(secure.config()).await;
    let mut plain = Wire::connect(proxy.tls.unwrap()).await;
    plain.send("GET / HTTP/1.1\r\nHost: f.test\r\n\r\n").await;
    let answer = plain.rest().await.unwrap_or_default();
    assert!(!answer.starts_with(b"HTTP/"));
    let trusted = [&secure.certificate];
    assert!(connect(proxy.address, "f.test", &trusted, &[]).await.is_err());
}

/// Connects until `expected` is the certificate that is served.
async fn serves(address: std::net::SocketAddr, expected: &CertificateDer<'static>) {
    let waiting = async {
        loop {
            if connect(address, "f.test", &[expected], &[]).await.is_ok() {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    within("the certificate is served", waiting).await;
}

/// A changed certificate is served without a restart; one that cannot be read changes nothing.
#[tokio::test(flavor = "multi_thread")]
async fn certificates_are_reloaded() {
    let secure = Secure::new();
    let directory = secure.directory.path();
    let pod = Recorder::new().start_open();
    let routes = json!([{
        "namespace": "it", "name": "f", "hosts": ["f.test"], "endpoints": [pod.address],
    }]);
    let tls = crate::support::free_address();
    let flags = ["--tls-listen", &tls.to_string(), "--tls-cert-dir", directory.to_str().unwrap()];
    let process = Process::start(&routes, &flags).await;
    serves(tls, &secure.certificate).await;
    let running = connect(tls, "f.test", &[&secure.certificate], &[]).await.unwrap();

    let renewed = certificate(directory, "f", "f.test");
    serves(tls, &renewed).await;
    assert!(connect(tls, "f.test", &[&secure.certificate], &[]).await.is_err());
    // A connection made before goes on.
    assert_eq!(Wire::new(running).get("f.test", "/").await.status(), 200);

    std::fs::write(directory.join("f.crt"), "not a certificate").unwrap();
    process.logged("certificates not reloaded").await;
    serves(tls, &renewed).await;

    let mended = certificate(directory, "f", "f.test");
    serves(tls, &mended).await;
}
