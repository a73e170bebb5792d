//! Report: tells every scaler-adapter replica what this interceptor counts.
//!
//! One task reads the data plane's changes and fans them out to one link per adapter address. It
//! stands beside the request path and never blocks it: a link that cannot send lets changes merge
//! in its own [`pending`] map, one entry per function, and after any trouble starts over with a
//! snapshot. Changes are taken at most once per flush interval; a wake from zero is taken at once.
//! Where nothing changes, nothing is sent.

use std::{
    collections::{HashMap, HashSet},
    net::SocketAddr,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use clap::Args;
use prometheus::{IntCounter, IntGauge, Registry};
use tokio::{
    sync::mpsc,
    task::{self, JoinSet},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use crate::source::FunctionId;

mod feed;
mod link;
mod pending;
mod targets;

use link::{Link, Tls};
use pending::{Change, MAX_FUNCTIONS, Pending};
use targets::{Target, Targets};

/// Adapter addresses reported to; further ones are left out, with a warning.
const MAX_LINKS: usize = 32;
/// How long the last reports may take after shutdown.
const FINISH_TIMEOUT: Duration = Duration::from_secs(2);

/// What the reporter reads; implemented by the data plane's counters.
pub trait CountsFeed: Send + Sync + 'static {
    /// Resolves when at least one function changed since the last `take_changed`.
    fn changed(&self) -> impl Future<Output = ()> + Send;
    /// Resolves when a function began to wait for a wake from zero since the last `take_changed`.
    fn urgent(&self) -> impl Future<Output = ()> + Send;
    /// Functions changed since the last call (each once), with their present counts.
    fn take_changed(&self) -> Vec<Counts>;
    /// Every function that is not idle, or had a request within the last hour.
    fn snapshot(&self) -> Vec<Counts>;
}

/// What one function has accepted and open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counts {
    /// The function.
    pub id: FunctionId,
    /// Requests accepted since the process started.
    pub total: u64,
    /// Forwarded and not finished.
    pub in_flight: u32,
    /// In the hold queue.
    pub held: u32,
    /// Those of `held` that wait while the function has no ready endpoint.
    pub waiting: u32,
    /// Since the last request was accepted.
    pub idle: Duration,
}

/// Where and how to report.
#[derive(Clone, Debug, Args)]
pub struct ReporterConfig {
    /// Scaler-adapter to report to; every address of its name gets a stream. May be repeated
    #[arg(
        long = "adapter",
        env = "KIPPER_INTERCEPTOR_ADAPTERS",
        value_name = "HOST:PORT",
        value_delimiter = ','
    )]
    pub adapters: Vec<String>,

    /// Name of this interceptor, unique in the fleet: the pod's name [default: a random one]
    #[arg(long = "name", env = "KIPPER_INTERCEPTOR_NAME")]
    pub name: Option<String>,

    /// CA of the adapters' certificates (PEM); without it counts are sent in plaintext
    #[arg(long, env = "KIPPER_INTERCEPTOR_ADAPTER_CA")]
    pub adapter_ca: Option<PathBuf>,

    /// Certificate to show to adapters (PEM); read anew for every connection
    #[arg(long, env = "KIPPER_INTERCEPTOR_ADAPTER_CERT", requires_all = ["adapter_key", "adapter_ca"])]
    pub adapter_cert: Option<PathBuf>,

    /// Its private key (PEM)
    #[arg(long, env = "KIPPER_INTERCEPTOR_ADAPTER_KEY", requires = "adapter_cert")]
    pub adapter_key: Option<PathBuf>,

    /// Name in the adapters' certificates [default: the host of `--adapter`]
    #[arg(long, env = "KIPPER_INTERCEPTOR_ADAPTER_SERVER_NAME", requires = "adapter_ca")]
    pub adapter_server_name: Option<String>,

    /// How often changes are reported while they keep coming
    #[arg(long, env = "KIPPER_INTERCEPTOR_COUNTS_INTERVAL", default_value = "200ms", value_parser = humantime::parse_duration)]
    pub counts_interval: Duration,
}

impl Default for ReporterConfig {
    fn default() -> Self {
        Self {
            adapters: Vec::new(),
            name: None,
            adapter_ca: None,
            adapter_cert: None,
            adapter_key: None,
            adapter_server_name: None,
            counts_interval: Duration::from_millis(200),
        }
    }
}

/// Why counts cannot be reported at all.
#[derive(Debug, thiserror::Error)]
pub enum ReporterError {
    /// A file of a key or certificate could not be read.
    #[error("read {path}")]
    TlsFile {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// An adapter's address has no port.
    #[error("adapter {0:?} is not host:port")]
    Address(String),
}

/// Metrics of the reporter; clones share their values.
#[derive(Clone)]
pub struct ReporterMetrics {
    streams: IntGauge,
    reports: IntCounter,
    reconnects: IntCounter,
}

impl ReporterMetrics {
    /// Creates and registers them.
    ///
    /// # Errors
    /// When the registry holds one of the names already.
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let metrics = Self {
            streams: IntGauge::new(
                "kipper_interceptor_counts_streams",
                "Open counts streams to scaler-adapters.",
            )?,
            reports: IntCounter::new(
                "kipper_interceptor_counts_reports_total",
                "Counts reports sent to scaler-adapters.",
            )?,
            reconnects: IntCounter::new(
                "kipper_interceptor_counts_reconnects_total",
                "Counts streams that failed or ended and are opened again.",
            )?,
        };
        registry.register(Box::new(metrics.streams.clone()))?;
        registry.register(Box::new(metrics.reports.clone()))?;
        registry.register(Box::new(metrics.reconnects.clone()))?;
        Ok(metrics)
    }
}

/// Reports until `shutdown`, then sends what has changed last and ends the streams cleanly.
/// To be run once per process: it draws the epoch under which the feed's totals count.
///
/// # Errors
/// At once, when an address or a TLS file is unusable. Adapters that cannot be reached are no
/// error; they are tried for as long as they are listed.
pub async fn run<F: CountsFeed>(
    config: ReporterConfig,
    feed: Arc<F>,
    metrics: ReporterMetrics,
    shutdown: CancellationToken,
) -> Result<(), ReporterError> {
    let targets = Targets::parse(&config)?;
    let tls = Tls::from_config(&config);
    if let Some(tls) = &tls {
        tls.load("localhost").await?;
    }
    let epoch = fastrand::u64(1..);
    let name = config.name.unwrap_or_else(|| format!("interceptor-{epoch:016x}"));
    let finish = CancellationToken::new();
    let shared = Arc::new(link::Shared {
        name,
        epoch,
        tls,
        feed,
        metrics,
        adapters: parking_lot::Mutex::default(),
        finish,
    });
    let (tx, rx) = mpsc::channel(1);
    let mut hub = Hub {
        shared,
        links: HashMap::new(),
        tasks: JoinSet::new(),
        totals: HashMap::new(),
        forgot_totals: false,
    };
    tokio::select! {
        () = targets.watch(tx) => {}
        () = hub.run(rx, config.counts_interval, &shutdown) => {}
    }
    hub.finish().await;
    Ok(())
}

/// Fans changes out to the links.
struct Hub<F> {
    shared: Arc<link::Shared<F>>,
    links: HashMap<SocketAddr, Slot>,
    tasks: JoinSet<()>,
    /// What each function's total was when its change was last taken.
    totals: HashMap<FunctionId, u64>,
    /// `totals` was full once and does not know every function any more.
    forgot_totals: bool,
}

/// One adapter address.
struct Slot {
    task: task::Id,
    pending: Arc<Pending>,
    /// Still among the targets; a link that is not ends with its stream.
    listed: Arc<AtomicBool>,
}

impl<F: CountsFeed> Hub<F> {
    async fn run(
        &mut self,
        mut targets: mpsc::Receiver<Vec<Target>>,
        interval: Duration,
        shutdown: &CancellationToken,
    ) {
        let feed = Arc::clone(&self.shared.feed);
        let mut next = Instant::now();
        let mut is_changed = false;
        loop {
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return,
                Some(targets) = targets.recv() => {
                    self.update(targets);
                    continue;
                }
                Some(ended) = self.tasks.join_next_with_id() => {
                    let id = ended.map_or_else(|error| error.id(), |(id, ())| id);
                    self.links.retain(|_, slot| slot.task != id);
                    continue;
                }
                () = feed.urgent() => {}
                () = feed.changed(), if !is_changed => {
                    is_changed = true;
                    continue;
                }
                () = tokio::time::sleep_until(next), if is_changed => {}
            }
            self.dispatch();
            is_changed = false;
            next = Instant::now() + interval;
        }
    }

    /// Gives every link what changed.
    fn dispatch(&mut self) {
        let taken = Instant::now();
        let changed = self.shared.feed.take_changed();
        if self.totals.len() + changed.len() > MAX_FUNCTIONS {
            self.totals.clear();
            self.forgot_totals = true;
        }
        let changes: Vec<Change> = changed
            .into_iter()
            .map(|counts| {
                let base = self.base(&counts);
                self.totals.insert(counts.id.clone(), counts.total);
                Change { counts, base, taken }
            })
            .collect();
        for slot in self.links.values() {
            slot.pending.add(&changes);
        }
    }

    /// The function's total before this change.
    fn base(&self, counts: &Counts) -> u64 {
        match self.totals.get(&counts.id) {
            Some(&total) if total <= counts.total => total,
            // The function was deleted and made again: its counter started anew.
            Some(_) => 0,
            // Its first request, or one more of a forgotten number.
            None if self.forgot_totals => counts.total.saturating_sub(1),
            None => 0,
        }
    }

    /// Opens links to new addresses. Links to addresses no longer listed live on until their
    /// stream ends: a name may miss an address for a moment.
    fn update(&mut self, targets: Vec<Target>) {
        let listed: HashSet<SocketAddr> = targets.iter().map(|target| target.addr).collect();
        for (addr, slot) in &self.links {
            slot.listed.store(listed.contains(addr), Relaxed);
        }
        for target in targets {
            if self.links.contains_key(&target.addr) {
                continue;
            }
            if self.links.len() >= MAX_LINKS {
                tracing::warn!(adapter = %target.addr, "more than {MAX_LINKS} adapters; not reporting to this one");
                continue;
            }
            let addr = target.addr;
            let pending = Arc::new(Pending::default());
            let listed = Arc::new(AtomicBool::new(true));
            let link = Link {
                target,
                pending: Arc::clone(&pending),
                listed: Arc::clone(&listed),
                shared: Arc::clone(&self.shared),
            };
            let task = self.tasks.spawn(link.run()).id();
            self.links.insert(addr, Slot { task, pending, listed });
        }
    }

    /// Sends the last changes and waits until the links have ended their streams.
    async fn finish(mut self) {
        self.dispatch();
        self.shared.finish.cancel();
        let ended = async { while self.tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(FINISH_TIMEOUT, ended).await.is_err() {
            tracing::warn!("last counts not taken by every adapter");
        }
    }
}

#[cfg(test)]
mod tests;
