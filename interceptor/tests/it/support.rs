//! What every test needs: a data plane, pods that follow a script, clients that see every byte,
//! and waiting for conditions.

mod backend;
mod process;
mod proxy;
mod wire;

use std::{io, time::Duration};

pub(crate) use backend::{Backend, Gate, Recorder, Reserved, ok};
pub(crate) use process::{Process, free_address};
pub(crate) use proxy::{Proxy, function, not_ready, ready};
use tokio::{io::Interest, net::TcpStream};
pub(crate) use wire::{Message, Wire};

/// Reached only when something is broken.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);
/// Between two looks at a condition.
const LOOK_AGAIN: Duration = Duration::from_millis(2);

/// Awaits `future`; panics with `what` when it does not end.
pub(crate) async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(DEADLINE, future).await {
        Ok(value) => value,
        Err(_) => panic!("did not happen: {what}"),
    }
}

/// Resolves once the other side has closed or reset the connection, whatever of it is unread.
pub(crate) async fn closed(tcp: &TcpStream) -> io::Result<()> {
    // The readiness mask of PRIORITY holds "read closed" but not "readable".
    tcp.ready(Interest::PRIORITY).await.map(drop)
}

/// Waits until `condition` holds.
pub(crate) async fn until(what: &str, condition: impl FnMut() -> bool) {
    kipper_servers::until_true(what, condition).await;
}
