//! When a peer that says nothing any more is taken to be gone.

use std::{io, time::Duration};

use socket2::{SockRef, TcpKeepalive};

/// Probes without an answer after which a connection ends.
const PROBES: u32 = 3;

/// Probes a peer once nothing came for `after`, and then [`PROBES`] times within as long again: what
/// has vanished without a FIN or RST is noticed. Zero = never.
pub(crate) fn keep_alive<'s>(socket: impl Into<SockRef<'s>>, after: Duration) -> io::Result<()> {
    if after.is_zero() {
        return Ok(());
    }
    let interval = (after / PROBES).max(Duration::from_secs(1));
    let keepalive = TcpKeepalive::new().with_time(after).with_interval(interval);
    socket.into().set_tcp_keepalive(&keepalive.with_retries(PROBES))
}

/// How long sent bytes may stay unacknowledged, or the peer's window closed (RFC 5482); Linux lets it
/// decide for keep-alive probes, too. Zero = as long as the kernel tries.
pub(crate) fn user_timeout<'s>(socket: impl Into<SockRef<'s>>, limit: Duration) -> io::Result<()> {
    if limit.is_zero() {
        return Ok(());
    }
    socket.into().set_tcp_user_timeout(Some(limit))
}
