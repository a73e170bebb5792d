//! Which adapter watches buckets: one at a time, by a Lease.
//!
//! The rules are client-go's leader election's: a Lease that stood still for its duration, by the
//! observer's own clock, may be taken, and who cannot renew for the deadline stops before that. The
//! holder's identity begins with the address of its webhook port, where the others hand on what they
//! get. A leader that was thought dead does no harm: the journals tell it.

use std::{net::SocketAddr, time::Duration};

use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::MicroTime,
    jiff::Timestamp,
};
use kube::{
    Api,
    api::{ObjectMeta, PostParams},
};
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};

/// Name of the Lease.
const LEASE: &str = "kipper-bucket-watcher";
/// A lease that stands still this long is free.
const DURATION: Duration = Duration::from_secs(15);
/// A leader that could not renew for this long stops.
const RENEW_DEADLINE: Duration = Duration::from_secs(10);
/// Between two looks at it.
const RETRY: Duration = Duration::from_secs(2);
/// One request of the election.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// Who watches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leader {
    /// This adapter.
    Me,
    /// Another one, and where its webhook port is, or nobody.
    Other(Option<SocketAddr>),
}

/// This adapter's part in the election.
#[derive(Clone)]
pub(crate) struct Election {
    api: Api<Lease>,
    /// Unique among the adapters; the part before the slash is an address.
    me: String,
}

/// What one look at the Lease showed.
struct Look {
    leader: Leader,
    version: String,
}

impl Election {
    /// `address` is where other adapters reach this one's webhook port, if it has one.
    pub(crate) fn new(api: Api<Lease>, address: Option<SocketAddr>) -> Self {
        let address = address.map(|address| address.to_string()).unwrap_or_default();
        Self { api, me: format!("{address}/{}", kipper_bucket::nonce()) }
    }

    /// Tells who leads, until it is dropped.
    pub(crate) async fn run(self, leader: watch::Sender<Leader>) {
        // The Lease's version, and since when it stands.
        let mut seen = (String::new(), Instant::now());
        let mut renewed = None;
        loop {
            let asked = Instant::now();
            let look = tokio::time::timeout(REQUEST_TIMEOUT, self.look(&seen)).await;
            match look {
                Ok(Ok(look)) => {
                    renewed = (look.leader == Leader::Me).then_some(asked);
                    if look.version != seen.0 {
                        seen = (look.version, Instant::now());
                    }
                    tell(&leader, look.leader);
                }
                Ok(Err(error)) => tracing::warn!(%error, "bucket watcher's lease"),
                Err(_) => tracing::warn!("bucket watcher's lease: no answer"),
            }
            if renewed.is_some_and(|renewed: Instant| renewed.elapsed() >= RENEW_DEADLINE) {
                renewed = None;
                tell(&leader, Leader::Other(None));
            }
            sleep(RETRY.mul_f64(1.0 + fastrand::f64() / 5.0)).await;
        }
    }

    /// Lets another adapter lead at once, if this one does. Nothing may be watched any more.
    pub(crate) async fn release(&self) {
        match tokio::time::timeout(RETRY, self.give_back()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "give the bucket watcher's lease back"),
            Err(_) => tracing::warn!("give the bucket watcher's lease back: no answer"),
        }
    }

    async fn give_back(&self) -> kube::Result<()> {
        let Some(mut lease) = self.api.get_opt(LEASE).await? else { return Ok(()) };
        let spec = lease.spec.get_or_insert_default();
        if spec.holder_identity.as_deref() == Some(self.me.as_str()) {
            spec.holder_identity = None;
            self.api.replace(LEASE, &PostParams::default(), &lease).await?;
        }
        Ok(())
    }

    /// Takes or renews the Lease if that may be, else reads who has it.
    async fn look(&self, seen: &(String, Instant)) -> kube::Result<Look> {
        let Some(lease) = self.api.get_opt(LEASE).await? else {
            let lease = self.lease(None);
            return self.written(self.api.create(&PostParams::default(), &lease).await);
        };
        let version = lease.metadata.resource_version.clone().unwrap_or_default();
        let holder = lease.spec.as_ref().and_then(|spec| spec.holder_identity.as_deref());
        let holder = holder.unwrap_or_default();
        let stands = version == seen.0 && seen.1.elapsed() >= DURATION;
        if holder.is_empty() || holder == self.me || stands {
            let mine = self.lease(Some(lease));
            return self.written(self.api.replace(LEASE, &PostParams::default(), &mine).await);
        }
        let address = holder.split('/').next().and_then(|address| address.parse().ok());
        Ok(Look { leader: Leader::Other(address), version })
    }

    /// A conflict means that somebody else was faster.
    fn written(&self, result: kube::Result<Lease>) -> kube::Result<Look> {
        match result {
            Ok(lease) => {
                let version = lease.metadata.resource_version.unwrap_or_default();
                Ok(Look { leader: Leader::Me, version })
            }
            Err(kube::Error::Api(status)) if status.code == 409 => {
                Ok(Look { leader: Leader::Other(None), version: String::new() })
            }
            Err(error) => Err(error),
        }
    }

    /// `former`, renewed or taken by this adapter.
    fn lease(&self, former: Option<Lease>) -> Lease {
        let now = MicroTime(Timestamp::now());
        let mut lease = former.unwrap_or_else(|| Lease {
            metadata: ObjectMeta { name: Some(LEASE.to_owned()), ..ObjectMeta::default() },
            spec: Some(LeaseSpec::default()),
        });
        let spec = lease.spec.get_or_insert_default();
        if spec.holder_identity.as_deref() != Some(self.me.as_str()) {
            spec.holder_identity = Some(self.me.clone());
            spec.acquire_time = Some(now.clone());
            spec.lease_transitions = Some(spec.lease_transitions.unwrap_or(0).saturating_add(1));
        }
        spec.lease_duration_seconds = i32::try_from(DURATION.as_secs()).ok();
        spec.renew_time = Some(now);
        lease
    }
}

fn tell(leader: &watch::Sender<Leader>, now: Leader) {
    leader.send_if_modified(|told| {
        let is_news = *told != now;
        if is_news {
            tracing::info!(leader = ?now, "bucket watcher");
        }
        *told = now;
        is_news
    });
}
