//! Requests for functions without a pod: held in order and within bounds, released when a pod can
//! answer, dropped when their client leaves.

mod bounds;
mod clients_leave;
mod release;

use crate::support::{Proxy, Wire};

/// Sends one GET per target, each held before the next one is sent.
async fn hold_in_order(proxy: &Proxy, targets: &[String]) -> Vec<Wire> {
    let mut clients = Vec::new();
    for target in targets {
        let mut client = proxy.client().await;
        client.send(format!("GET {target} HTTP/1.1\r\nHost: f.test\r\n\r\n")).await;
        clients.push(client);
        proxy.held(clients.len()).await;
    }
    clients
}

/// `/0` up to `/n-1`.
fn targets(n: usize) -> Vec<String> {
    (0..n).map(|i| format!("/{i}")).collect()
}
