//! One adapter address: connect, snapshot, changes, and all over again.
//!
//! The adapter's welcome comes before the snapshot goes. It names the adapter's process, so that
//! two addresses of one adapter do not get two streams, of which the adapter would heed only the
//! later. HTTP/2 pings notice an adapter that hangs within two seconds, and no retry is further
//! off than that.

use std::{
    collections::HashSet,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use kipper_counts::{CountsReport, Welcome, counts_client::CountsClient};
use kipper_process::backoff::Backoff;
use kipper_trigger::shard::Shard;
use parking_lot::Mutex;
use tokio::{
    sync::mpsc,
    time::{Instant, timeout},
};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{
    Status, Streaming,
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity},
};

use super::{
    budget::{Budget, REFILL},
    config::{ReporterConfig, ReporterError},
    counts::CountsFeed,
    metrics::ReporterMetrics,
    numbers::{Named, Numbers},
    pending::{Change, MAX_FUNCTIONS, Pending, Taken},
    targets::Target,
};

/// Reports handed to the connection and not yet written. One: what waits longer should merge.
const REPORTS_IN_HAND: usize = 1;
/// Functions per report, so that a large merge does not become one large message, which an adapter would decode
/// while a wake of somebody else waits.
const FUNCTIONS_PER_REPORT: usize = 1_000;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// For the adapter's welcome, once connected.
const WELCOME_TIMEOUT: Duration = Duration::from_secs(2);
/// Ping interval and answer time: together the two seconds in which a hung adapter is noticed.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(1);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(1);
/// Pauses between streams that fail. With the time to connect, an adapter that is back has its counts
/// within two seconds.
const BACKOFF: Backoff = Backoff::new(Duration::from_millis(50), Duration::from_millis(1500));
/// Until a second address of an adapter is tried again, in case the first one is gone.
const SAME_ADAPTER_RETRY: Duration = Duration::from_secs(10);
/// A stream that lived so long was a good one: the next failure starts from the first backoff.
const LIVED: Duration = Duration::from_secs(5);

/// What all links of one reporter share.
pub(super) struct LinkContext<F> {
    pub(super) name: String,
    pub(super) epoch: u64,
    pub(super) tls: Option<Tls>,
    pub(super) feed: Arc<F>,
    pub(super) metrics: ReporterMetrics,
    /// Epochs of the adapters that have a stream.
    pub(super) adapters: Mutex<HashSet<u64>>,
    /// The same on every stream.
    pub(super) numbers: Mutex<Numbers>,
    /// Send what is pending, then end.
    pub(super) finish: CancellationToken,
}

/// One adapter address and what it has yet to hear.
pub(super) struct Link<F> {
    pub(super) target: Target,
    pub(super) pending: Arc<Pending>,
    pub(super) listed: Arc<AtomicBool>,
    pub(super) context: Arc<LinkContext<F>>,
}

/// Why a stream did not come about or ended.
#[derive(Debug, thiserror::Error)]
enum LinkError {
    #[error(transparent)]
    Config(#[from] ReporterError),
    #[error("connect")]
    Connect(#[from] tonic::transport::Error),
    #[error("stream: {0}")]
    Stream(#[from] Status),
    #[error("no welcome in time")]
    NoWelcome,
    #[error("the adapter has a stream over another of its addresses")]
    SameAdapter,
    #[error("the adapter ended the stream")]
    Ended,
    #[error("too many changes pending")]
    Overflow,
}

impl<F: CountsFeed> Link<F> {
    /// Keeps a stream up until told to finish, or until the address is no longer listed.
    pub(super) async fn run(self) {
        let mut backoff = BACKOFF;
        let adapter = self.target.addr;
        while !self.context.finish.is_cancelled() {
            let started = Instant::now();
            let Err(error) = self.stream().await else {
                return;
            };
            self.context.metrics.reconnects.inc();
            if !self.listed.load(Relaxed) {
                tracing::info!(%adapter, %error, "adapter is gone");
                return;
            }
            if started.elapsed() >= LIVED {
                backoff.reset();
            }
            tracing::debug!(%adapter, %error, "counts stream to be opened again");
            let delay = match error {
                LinkError::SameAdapter => SAME_ADAPTER_RETRY,
                _ => backoff.pause(),
            };
            tokio::select! {
                () = self.context.finish.cancelled() => return,
                () = tokio::time::sleep(delay) => {}
            }
        }
    }

    /// One stream from its connection to its end; `Ok` when told to finish.
    async fn stream(&self) -> Result<(), LinkError> {
        let opened = tokio::select! {
            () = self.context.finish.cancelled() => return Ok(()),
            opened = self.open() => opened,
        };
        let (reports, mut inbound, welcome) = opened?;
        let _only = OnlyStream::claim(&self.context.adapters, welcome.epoch)?;
        let _open = self.pending.open(shard_of(&welcome));
        let _counted = Counted::up(&self.context.metrics);
        tracing::info!(adapter = %self.target.addr, "reporting counts");
        let sent = tokio::select! {
            sent = self.send(reports, Named::new(welcome.numbers)) => sent,
            ended = inbound.message() => return Err(end_of(ended)),
        };
        sent?;
        // Everything was handed over and our side is closed; the adapter confirms by its end.
        while inbound.message().await?.is_some() {}
        Ok(())
    }

    async fn open(
        &self,
    ) -> Result<(mpsc::Sender<CountsReport>, Streaming<Welcome>, Welcome), LinkError> {
        let channel = self.connect().await?;
        let (reports, rx) = mpsc::channel(REPORTS_IN_HAND);
        let mut client = CountsClient::new(channel);
        let welcomed = async {
            let mut inbound = client.report(ReceiverStream::new(rx)).await?.into_inner();
            match inbound.message().await? {
                Some(welcome) => Ok((inbound, welcome)),
                None => Err(LinkError::Ended),
            }
        };
        let welcomed = timeout(WELCOME_TIMEOUT, welcomed).await;
        let (inbound, welcome) = welcomed.map_err(|_| LinkError::NoWelcome)??;
        Ok((reports, inbound, welcome))
    }

    async fn connect(&self) -> Result<Channel, LinkError> {
        let scheme = if self.context.tls.is_some() { "https" } else { "http" };
        let mut endpoint = Endpoint::from_shared(format!("{scheme}://{}", self.target.addr))?
            .connect_timeout(CONNECT_TIMEOUT)
            .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
            .keep_alive_timeout(KEEPALIVE_TIMEOUT)
            .keep_alive_while_idle(true);
        if let Some(tls) = &self.context.tls {
            let tls = tls.load(&self.target.server_name).await?;
            endpoint = endpoint.tls_config(tls.timeout(CONNECT_TIMEOUT))?;
        }
        Ok(endpoint.connect().await?)
    }

    /// Sends the snapshot, then changes as they come; returns when told to finish and nothing is
    /// left. A report is made only once there is room for it, so it is as fresh as can be.
    async fn send(
        &self,
        reports: mpsc::Sender<CountsReport>,
        mut named: Named,
    ) -> Result<(), LinkError> {
        let permit = reports.reserve().await.map_err(|_| LinkError::Ended)?;
        permit.send(self.report(true, self.snapshot(&mut named)));
        self.context.metrics.reports.inc();
        let mut budget = Budget::new(Instant::now());
        loop {
            let is_last = self.context.finish.is_cancelled();
            let mut permit = reports.reserve().await.map_err(|_| LinkError::Ended)?;
            let now = Instant::now();
            let room = if is_last { usize::MAX } else { budget.room(now) };
            let taken = self.pending.take(&mut named, room).map_err(|_| LinkError::Overflow)?;
            budget.spend(taken.bytes, now);
            let is_all = taken.is_all;
            for part in taken.in_parts(FUNCTIONS_PER_REPORT) {
                permit.send(self.report(false, part));
                self.context.metrics.reports.inc();
                permit = reports.reserve().await.map_err(|_| LinkError::Ended)?;
            }
            if is_last {
                return Ok(());
            }
            tokio::select! {
                () = self.pending.filled() => {}
                () = tokio::time::sleep(REFILL), if !is_all => {}
                () = self.context.finish.cancelled() => {}
            }
        }
    }

    fn snapshot(&self, named: &mut Named) -> Taken {
        let shard = self.pending.shard();
        let mut counts = self.context.feed.snapshot();
        counts.retain(|counts| shard.has(&counts.id.namespace, &counts.id.name));
        if counts.len() > MAX_FUNCTIONS {
            tracing::error!(
                functions = counts.len(),
                "only {MAX_FUNCTIONS} functions are reported"
            );
        }
        let taken = Instant::now();
        let counts = counts.into_iter().take(MAX_FUNCTIONS);
        let mut numbers = self.context.numbers.lock();
        self.pending.forget_freed();
        let changes = counts.map(|counts| {
            let number = numbers.of(&counts, taken);
            Change::new(counts, number, taken)
        });
        let functions = changes.map(|change| change.at(taken, named)).collect();
        Taken { functions, ..Taken::default() }
    }

    fn report(&self, snapshot: bool, Taken { functions, freed, .. }: Taken) -> CountsReport {
        CountsReport {
            interceptor: self.context.name.clone(),
            epoch: self.context.epoch,
            snapshot,
            functions,
            freed,
        }
    }
}

/// What the adapter wants to hear of; all, where it does not say or makes no sense.
fn shard_of(welcome: &Welcome) -> Shard {
    Shard::new(welcome.shard, welcome.shards).unwrap_or_default()
}

fn end_of(message: Result<Option<Welcome>, Status>) -> LinkError {
    match message {
        Ok(_) => LinkError::Ended,
        Err(status) => LinkError::Stream(status),
    }
}

/// The claim to be the only stream to one adapter process.
struct OnlyStream<'a> {
    adapters: &'a Mutex<HashSet<u64>>,
    epoch: u64,
}

impl<'a> OnlyStream<'a> {
    fn claim(adapters: &'a Mutex<HashSet<u64>>, epoch: u64) -> Result<Self, LinkError> {
        if adapters.lock().insert(epoch) {
            Ok(Self { adapters, epoch })
        } else {
            Err(LinkError::SameAdapter)
        }
    }
}

impl Drop for OnlyStream<'_> {
    fn drop(&mut self) {
        self.adapters.lock().remove(&self.epoch);
    }
}

/// An open stream, in the metrics.
struct Counted<'a>(&'a ReporterMetrics);

impl<'a> Counted<'a> {
    fn up(metrics: &'a ReporterMetrics) -> Self {
        metrics.streams.inc();
        Self(metrics)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.streams.dec();
    }
}

/// Files this interceptor trusts and identifies itself with.
pub(super) struct Tls {
    ca: PathBuf,
    identity: Option<(PathBuf, PathBuf)>,
}

impl Tls {
    pub(super) fn from_config(config: &ReporterConfig) -> Option<Self> {
        let identity = config.adapter_cert.clone().zip(config.adapter_key.clone());
        Some(Self { ca: config.adapter_ca.clone()?, identity })
    }

    /// Reads the files; done for every connection, so a rotated certificate is taken up.
    pub(super) async fn load(&self, server_name: &str) -> Result<ClientTlsConfig, ReporterError> {
        let ca = Certificate::from_pem(read(&self.ca).await?);
        let mut tls = ClientTlsConfig::new().ca_certificate(ca).domain_name(server_name);
        if let Some((cert, key)) = &self.identity {
            tls = tls.identity(Identity::from_pem(read(cert).await?, read(key).await?));
        }
        Ok(tls)
    }
}

async fn read(path: &PathBuf) -> Result<Vec<u8>, ReporterError> {
    let error = |source| ReporterError::TlsFile { path: path.clone(), source };
    tokio::fs::read(path).await.map_err(error)
}
