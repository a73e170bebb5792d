//! Which adapter watches buckets: one at a time, by a Lease.
//!
//! The holder's identity begins with the address of its webhook port, where the others hand on what
//! they get. A leader that was thought dead does no harm: the journals show it.

use std::net::SocketAddr;

use k8s_openapi::api::coordination::v1::Lease;
use kipper_kubernetes::{Election, Leader as Elected};
use kube::Api;
use tokio::sync::watch;

/// Name of the Lease.
const LEASE: &str = "kipper-bucket-watcher";

/// Who watches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leader {
    /// This adapter.
    Me,
    /// Another one, and where its webhook port is, if that is known.
    Other(Option<SocketAddr>),
}

impl From<&Elected> for Leader {
    fn from(elected: &Elected) -> Self {
        match elected {
            Elected::Me => Self::Me,
            Elected::Other(identity) => {
                Self::Other(identity.split('/').next().and_then(|address| address.parse().ok()))
            }
            Elected::Unknown => Self::Other(None),
        }
    }
}

/// The election. `address` is where other adapters reach this one's webhook port, if it has one.
pub(crate) fn election(leases: Api<Lease>, address: Option<SocketAddr>) -> Election {
    let address = address.map(|address| address.to_string()).unwrap_or_default();
    Election::new(leases, LEASE, format!("{address}/{}", kipper_bucket::nonce()))
}

/// Passes on who was elected, until the election ends.
pub(crate) async fn pass_on(mut elected: watch::Receiver<Elected>, leader: watch::Sender<Leader>) {
    loop {
        let now = Leader::from(&*elected.borrow_and_update());
        leader.send_if_modified(|former| std::mem::replace(former, now) != now);
        if elected.changed().await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_begins_with_the_webhook_address() {
        let leader = |identity: &str| Leader::from(&Elected::Other(identity.to_owned()));
        let address = SocketAddr::from(([10, 0, 0, 7], 9092));
        assert_eq!(leader("10.0.0.7:9092/3f"), Leader::Other(Some(address)));
        assert_eq!(leader("/3f"), Leader::Other(None));
        assert_eq!(Leader::from(&Elected::Me), Leader::Me);
    }
}
