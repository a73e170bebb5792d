//! Opening TCP connections to pods.

use std::{io, net::SocketAddr, time::Duration};

use tokio::net::TcpStream;

/// Why no connection could be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    /// Refused, reset or unreachable.
    #[error("cannot connect: {0}")]
    Refused(#[source] io::Error),
    /// It failed on this side: no descriptor or no port is left. Says nothing about the pod.
    #[error("cannot open a connection: {0}")]
    Local(#[source] io::Error),
    /// No answer in time.
    #[error("connecting timed out")]
    TimedOut,
}

/// Opens a TCP connection to `address`.
pub(super) async fn dial(
    address: SocketAddr,
    timeout: Duration,
) -> Result<TcpStream, ConnectError> {
    use rustix::io::Errno;
    let tcp = match tokio::time::timeout(timeout, TcpStream::connect(address)).await {
        Ok(Ok(tcp)) => tcp,
        Ok(Err(e)) => {
            let local = [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::ADDRNOTAVAIL];
            let ours = local.iter().any(|l| e.raw_os_error() == Some(l.raw_os_error()));
            return Err(if ours { ConnectError::Local(e) } else { ConnectError::Refused(e) });
        }
        Err(_) => return Err(ConnectError::TimedOut),
    };
    let _ = tcp.set_nodelay(true);
    Ok(tcp)
}
