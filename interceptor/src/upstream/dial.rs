//! Opening TCP connections to pods.

use std::{io, net::SocketAddr};

use tokio::net::TcpStream;

use crate::{limits::PodLimits, wire::tcp};

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

/// Opens a TCP connection to `address`, which shows when the pod vanishes without a word: bytes that
/// it does not take are another matter, for which a request has its own clock.
pub(super) async fn dial(
    address: SocketAddr,
    limits: PodLimits,
) -> Result<TcpStream, ConnectError> {
    use rustix::io::Errno;
    let tcp = match tokio::time::timeout(limits.connect, TcpStream::connect(address)).await {
        Ok(Ok(tcp)) => tcp,
        Ok(Err(e)) => {
            let local = [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::ADDRNOTAVAIL];
            let ours = local.iter().any(|l| e.raw_os_error() == Some(l.raw_os_error()));
            return Err(if ours { ConnectError::Local(e) } else { ConnectError::Refused(e) });
        }
        Err(_) => return Err(ConnectError::TimedOut),
    };
    let _ = tcp.set_nodelay(true);
    let _ = tcp::keep_alive(&tcp, limits.keep_alive);
    Ok(tcp)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn connections_to_pods_notice_silence() {
        let pod = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let keep_alive = Duration::from_secs(30);
        let limits = PodLimits { connect: Duration::from_secs(60), keep_alive, header_list: 1 };
        let tcp = dial(pod.local_addr().unwrap(), limits).await.unwrap();
        let socket = socket2::SockRef::from(&tcp);
        assert!(socket.keepalive().unwrap() && socket.tcp_nodelay().unwrap());
        assert_eq!(socket.tcp_keepalive_time().unwrap(), keep_alive);
        assert_eq!(socket.tcp_keepalive_retries().unwrap(), 3);
        // A pod may leave an upload unread for as long as its function's deadline allows.
        assert_eq!(socket.tcp_user_timeout().unwrap(), None);
        let limits = PodLimits { keep_alive: Duration::ZERO, ..limits };
        let tcp = dial(pod.local_addr().unwrap(), limits).await.unwrap();
        assert!(!socket2::SockRef::from(&tcp).keepalive().unwrap());
    }
}
