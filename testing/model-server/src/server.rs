//! The server: sockets, with or without TLS, and requests.

use std::{net::SocketAddr, sync::Arc};

use kipper_servers::{CertificateFor, issue};
use rustls::{ServerConfig, crypto::ring};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::mpsc,
    task::JoinSet,
};
use tokio_rustls::TlsAcceptor;

use crate::{
    request::{self, Asked},
    stream::{DEADLINE, Socket},
};

/// The server; it ends with the test.
pub struct ModelServer {
    address: SocketAddr,
    authority: Option<String>,
    asked: mpsc::UnboundedReceiver<Asked>,
    _serving: JoinSet<()>,
}

impl ModelServer {
    /// On a free port of this machine.
    pub async fn start() -> Self {
        Self::with(None, None).await
    }

    /// The same with a certificate for `localhost`, of an authority that nobody knows.
    pub async fn start_tls() -> Self {
        let issued = issue(CertificateFor::NameOnly).unwrap();
        let certificate = CertificateDer::from_pem_slice(issued.certificate.as_bytes()).unwrap();
        let key = PrivateKeyDer::from_pem_slice(issued.key.as_bytes()).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .unwrap();
        Self::with(Some(TlsAcceptor::from(Arc::new(config))), Some(issued.ca)).await
    }

    async fn with(tls: Option<TlsAcceptor>, authority: Option<String>) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (requests, asked) = mpsc::unbounded_channel();
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serve(stream, tls.clone(), requests.clone()));
            }
        });
        Self { address, authority, asked, _serving: serving }
    }

    /// Where it listens.
    pub fn url(&self) -> String {
        match self.authority {
            None => format!("http://{}", self.address),
            Some(_) => format!("https://localhost:{}", self.address.port()),
        }
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// The authority of its certificate, in PEM.
    pub fn authority(&self) -> &str {
        self.authority.as_deref().unwrap()
    }

    /// The next request.
    pub async fn asked(&mut self) -> Asked {
        tokio::time::timeout(DEADLINE, self.asked.recv()).await.expect("a request").unwrap()
    }

    /// No request has come that was not taken.
    pub fn is_idle(&mut self) -> bool {
        self.asked.try_recv().is_err()
    }
}

async fn serve(
    stream: TcpStream,
    tls: Option<TlsAcceptor>,
    requests: mpsc::UnboundedSender<Asked>,
) {
    // Every write is a packet of its own, so that a client meets it alone.
    stream.set_nodelay(true).unwrap();
    let stream: Box<dyn Socket> = match tls {
        None => Box::new(stream),
        // A client that does not trust it goes.
        Some(tls) => match tls.accept(stream).await {
            Ok(stream) => Box::new(stream),
            Err(_) => return,
        },
    };
    if let Some(asked) = request::read(stream).await {
        let _ = requests.send(asked);
    }
}
