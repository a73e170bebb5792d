//! The four ways to a data plane.

use std::{
    io,
    net::SocketAddr,
    os::fd::{AsFd as _, OwnedFd},
};

use rustls_pki_types::CertificateDer;
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_util::either::Either;

use crate::{support::within, tls};

/// What a client speaks, and over what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Transport {
    Http1,
    H2c,
    TlsHttp1,
    TlsH2,
}

/// What a client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    Http1,
    Http2,
}

impl Transport {
    pub(super) fn protocol(self) -> Protocol {
        match self {
            Self::Http1 | Self::TlsHttp1 => Protocol::Http1,
            Self::H2c | Self::TlsH2 => Protocol::Http2,
        }
    }

    pub(super) fn tls(self) -> bool {
        matches!(self, Self::TlsHttp1 | Self::TlsH2)
    }

    pub(super) fn scheme(self) -> &'static str {
        if self.tls() { "https" } else { "http" }
    }
}

/// How to reach a data plane.
#[derive(Clone)]
pub(super) struct Dial {
    pub(super) transport: Transport,
    pub(super) address: SocketAddr,
    pub(super) certificate: CertificateDer<'static>,
}

impl Dial {
    pub(super) async fn open(&self) -> io::Result<Stream> {
        if self.transport.tls() {
            let alpn = match self.transport.protocol() {
                Protocol::Http1 => "http/1.1",
                Protocol::Http2 => "h2",
            };
            let trusted = [&self.certificate];
            let stream = tls::connect(self.address, "f.test", &trusted, &[alpn]).await?;
            return Ok(Either::Right(Box::new(stream)));
        }
        let stream = within("connect", TcpStream::connect(self.address)).await?;
        stream.set_nodelay(true)?;
        Ok(Either::Left(stream))
    }
}

/// A client's connection.
pub(super) type Stream = Either<TcpStream, Box<TlsStream<TcpStream>>>;

/// The TCP connection underneath.
pub(super) fn tcp(stream: &Stream) -> &TcpStream {
    match stream {
        Either::Left(tcp) => tcp,
        Either::Right(tls) => tls.get_ref().0,
    }
}

/// The socket once more: it is closed when both are.
pub(super) fn socket(stream: &Stream) -> OwnedFd {
    tcp(stream).as_fd().try_clone_to_owned().unwrap()
}

/// The end of this socket will be a reset.
pub(super) fn reset_on_close(socket: &OwnedFd) {
    let linger = Some(std::time::Duration::ZERO);
    socket2::SockRef::from(socket).set_linger(linger).unwrap();
}
