//! One controller at a time, by a Lease.
//!
//! The rules are those of client-go's leader election: a lease that was not renewed for its
//! duration, measured by the observer's own clock, may be taken; a leader that cannot renew within
//! the deadline stops before anybody else may start. Nothing is written unless a lease is held or
//! free.

use std::time::{Duration, Instant};

use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::MicroTime,
    jiff::Timestamp,
};
use kube::{
    Api,
    api::{ObjectMeta, PostParams},
};
use tokio::time::{sleep, timeout};

/// Name of the Lease.
pub(crate) const LEASE: &str = "kipper-controller";
/// A lease that stands still this long is free.
const DURATION: Duration = Duration::from_secs(15);
/// A leader that could not renew for this long stops.
const RENEW_DEADLINE: Duration = Duration::from_secs(10);
/// Between two tries to get or keep it.
const RETRY: Duration = Duration::from_secs(2);

/// This replica's part in the election.
pub(crate) struct Election {
    pub(crate) api: Api<Lease>,
    /// Unique among the replicas.
    pub(crate) me: String,
}

impl Election {
    /// Waits until this replica leads.
    pub(crate) async fn win(&self) {
        // Version of the lease and when it was first seen.
        let mut seen: Option<(String, Instant)> = None;
        loop {
            match self.try_win(&mut seen).await {
                Ok(true) => return,
                Ok(false) => {}
                Err(error) => tracing::warn!(%error, "leader election"),
            }
            sleep(RETRY.mul_f64(1.0 + fastrand::f64() / 5.0)).await;
        }
    }

    async fn try_win(&self, seen: &mut Option<(String, Instant)>) -> kube::Result<bool> {
        let Some(lease) = self.api.get_opt(LEASE).await? else {
            let lease = self.lease(None);
            return won(self.api.create(&PostParams::default(), &lease).await);
        };
        let version = lease.metadata.resource_version.clone().unwrap_or_default();
        let holder = lease.spec.as_ref().and_then(|spec| spec.holder_identity.as_deref());
        let free = holder.is_none_or(|holder| holder.is_empty() || holder == self.me);
        let since = match seen {
            Some((known, since)) if *known == version => *since,
            _ => {
                let now = Instant::now();
                *seen = Some((version, now));
                now
            }
        };
        if !free && since.elapsed() < DURATION {
            return Ok(false);
        }
        let mine = self.lease(Some(lease));
        won(self.api.replace(LEASE, &PostParams::default(), &mine).await)
    }

    /// Renews the lease; returns when it is lost.
    pub(crate) async fn keep(&self) {
        let mut renewed = Instant::now();
        loop {
            sleep(RETRY).await;
            let left = RENEW_DEADLINE.saturating_sub(renewed.elapsed());
            match timeout(left, self.renew()).await {
                Ok(Ok(true)) => renewed = Instant::now(),
                Ok(Ok(false)) => return,
                Ok(Err(error)) => tracing::warn!(%error, "renew the leader's lease"),
                Err(_) => {}
            }
            if renewed.elapsed() >= RENEW_DEADLINE {
                return;
            }
        }
    }

    async fn renew(&self) -> kube::Result<bool> {
        let Some(lease) = self.api.get_opt(LEASE).await? else { return Ok(false) };
        let holder = lease.spec.as_ref().and_then(|spec| spec.holder_identity.as_deref());
        if holder != Some(self.me.as_str()) {
            return Ok(false);
        }
        let mine = self.lease(Some(lease));
        self.api.replace(LEASE, &PostParams::default(), &mine).await.map(|_| true)
    }

    /// Lets the next replica start at once.
    pub(crate) async fn release(&self) {
        match timeout(RETRY, self.give_back()).await {
            Ok(Err(error)) => tracing::warn!(%error, "give the leader's lease back"),
            Err(_) => tracing::warn!("give the leader's lease back: no answer"),
            Ok(Ok(())) => {}
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

    /// `former`, renewed or taken by this replica.
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

/// A conflict means that somebody else was faster.
fn won<T>(result: kube::Result<T>) -> kube::Result<bool> {
    match result {
        Ok(_) => Ok(true),
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(false),
        Err(error) => Err(error),
    }
}
