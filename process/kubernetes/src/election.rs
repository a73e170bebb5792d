//! One leader among replicas, by a Lease.
//!
//! The rules are those of client-go's leader election (`tools/leaderelection`): a Lease that was not
//! renewed for its duration, measured by the observer's own clock, may be taken; a leader that cannot
//! renew before the deadline stops leading before any other replica may start. Nothing is written
//! while another replica holds the Lease. A leader that steps down gives it back, so that the next
//! one starts at once.

use std::time::Duration;

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
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};

/// A Lease that was not renewed for so long may be taken.
const DURATION: Duration = Duration::from_secs(15);
/// A leader that could not renew for so long stops leading.
const RENEW_DEADLINE: Duration = Duration::from_secs(10);
/// Between two tries to acquire or renew; up to a fifth longer at random, as in client-go.
const RETRY_PERIOD: Duration = Duration::from_secs(2);
/// One request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// Who leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Leader {
    /// This replica.
    Me,
    /// Another one, by its identity.
    Other(String),
    /// No replica, or it is unknown which.
    Unknown,
}

/// A replica's part in the election of one Lease.
#[derive(Clone, Debug)]
pub struct Election {
    api: Api<Lease>,
    lease: String,
    me: String,
}

/// Takes part in an election until it is dropped. A leader should [`Candidacy::give_back`] instead.
#[derive(Debug)]
pub struct Candidacy {
    election: Election,
    leader: watch::Receiver<Leader>,
    task: JoinHandle<()>,
}

impl Drop for Candidacy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Candidacy {
    /// Who leads, as it changes.
    pub fn leader(&self) -> watch::Receiver<Leader> {
        self.leader.clone()
    }

    /// Ends the part in the election and, if this replica leads, lets another one lead at once. What
    /// only a leader may do must have ended before.
    pub async fn give_back(mut self) {
        self.task.abort();
        // Aborted, or it had panicked, which was logged.
        let _ = (&mut self.task).await;
        let lease = &self.election.lease;
        match timeout(RETRY_PERIOD, self.election.give_back()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(lease, %error, "lease not given back"),
            Err(_) => tracing::warn!(lease, "lease not given back: no answer"),
        }
    }
}

/// The Lease's version and since when it has not changed.
#[derive(Debug, Default)]
struct Observed {
    version: String,
    since: Option<Instant>,
}

impl Observed {
    fn note(&mut self, version: String) {
        if version != self.version || self.since.is_none() {
            *self = Self { version, since: Some(Instant::now()) };
        }
    }

    /// Whether the Lease of this version has expired.
    fn has_expired(&self, version: &str) -> bool {
        self.version == version && self.since.is_some_and(|since| since.elapsed() >= DURATION)
    }
}

impl Election {
    /// The election whose Lease is `lease`. `identity` is unique among the replicas; others read it
    /// as [`Leader::Other`].
    pub fn new(api: Api<Lease>, lease: &str, identity: String) -> Self {
        Self { api, lease: lease.to_owned(), me: identity }
    }

    /// Takes part from now on. Must be called inside a tokio runtime.
    pub fn start(self) -> Candidacy {
        let (sender, leader) = watch::channel(Leader::Unknown);
        let election = self.clone();
        let task = tokio::spawn(async move { election.run(&sender).await });
        Candidacy { election: self, leader, task }
    }

    async fn run(&self, leader: &watch::Sender<Leader>) {
        let mut observed = Observed::default();
        // When the request of the last renewal was sent.
        let mut renewed: Option<Instant> = None;
        loop {
            let asked = Instant::now();
            let left = renewed.map(|at| RENEW_DEADLINE.saturating_sub(at.elapsed()));
            let limit = left.map_or(REQUEST_TIMEOUT, |left| left.min(REQUEST_TIMEOUT));
            match timeout(limit, self.acquire_or_renew(&observed)).await {
                Ok(Ok((now, version))) => {
                    renewed = (now == Leader::Me).then_some(asked);
                    observed.note(version);
                    self.announce(leader, now);
                }
                Ok(Err(error)) => tracing::warn!(lease = self.lease, %error, "leader election"),
                Err(_) => tracing::warn!(lease = self.lease, "leader election: no answer"),
            }
            let left = renewed.map(|at| RENEW_DEADLINE.saturating_sub(at.elapsed()));
            if left.is_some_and(|left| left.is_zero()) {
                renewed = None;
                self.announce(leader, Leader::Unknown);
            }
            let pause = RETRY_PERIOD.mul_f64(1.0 + fastrand::f64() / 5.0);
            sleep(left.filter(|left| !left.is_zero()).map_or(pause, |left| left.min(pause))).await;
        }
    }

    fn announce(&self, leader: &watch::Sender<Leader>, now: Leader) {
        let former = leader.borrow().clone();
        if former != now {
            tracing::info!(lease = self.lease, leader = ?now, "leader changed");
            leader.send_replace(now);
        }
    }

    /// Acquires or renews the Lease if that is allowed, else reads who holds it.
    async fn acquire_or_renew(&self, observed: &Observed) -> kube::Result<(Leader, String)> {
        let Some(lease) = self.api.get_opt(&self.lease).await? else {
            let lease = self.held(None);
            return written(self.api.create(&PostParams::default(), &lease).await);
        };
        let version = lease.metadata.resource_version.clone().unwrap_or_default();
        let holder = lease.spec.as_ref().and_then(|spec| spec.holder_identity.clone());
        match holder.filter(|holder| !holder.is_empty() && *holder != self.me) {
            Some(holder) if !observed.has_expired(&version) => Ok((Leader::Other(holder), version)),
            _ => {
                let lease = self.held(Some(lease));
                let params = PostParams::default();
                written(self.api.replace(&self.lease, &params, &lease).await)
            }
        }
    }

    /// `former`, acquired or renewed by this replica.
    fn held(&self, former: Option<Lease>) -> Lease {
        let now = MicroTime(Timestamp::now());
        let mut lease = former.unwrap_or_else(|| Lease {
            metadata: ObjectMeta { name: Some(self.lease.clone()), ..ObjectMeta::default() },
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

    async fn give_back(&self) -> kube::Result<()> {
        loop {
            let Some(mut lease) = self.api.get_opt(&self.lease).await? else { return Ok(()) };
            let spec = lease.spec.get_or_insert_default();
            if spec.holder_identity.as_deref() != Some(self.me.as_str()) {
                return Ok(());
            }
            spec.holder_identity = None;
            match self.api.replace(&self.lease, &PostParams::default(), &lease).await {
                // The last renewal, which arrived after this was read.
                Err(kube::Error::Api(status)) if status.code == 409 => {}
                other => return other.map(drop),
            }
        }
    }
}

/// A conflict means that another replica was faster.
fn written(result: kube::Result<Lease>) -> kube::Result<(Leader, String)> {
    match result {
        Ok(lease) => Ok((Leader::Me, lease.metadata.resource_version.unwrap_or_default())),
        Err(kube::Error::Api(status)) if status.code == 409 => Ok((Leader::Unknown, String::new())),
        Err(error) => Err(error),
    }
}
