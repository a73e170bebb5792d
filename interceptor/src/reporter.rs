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
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::{
    sync::mpsc,
    task::{self, JoinSet},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use crate::source::FunctionId;

mod config;
mod counts;
mod feed;
mod link;
mod metrics;
mod pending;
mod targets;

pub use config::{ReporterConfig, ReporterError};
pub use counts::{Counts, CountsFeed};
pub use metrics::ReporterMetrics;

use link::{Link, Tls};
use pending::{Change, MAX_FUNCTIONS, Pending};
use targets::{Target, Targets};

/// Adapter addresses reported to; further ones are left out, with a warning.
const MAX_LINKS: usize = 32;
/// How long the last reports may take after shutdown.
const FINISH_TIMEOUT: Duration = Duration::from_secs(2);

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
    let context = Arc::new(link::LinkContext {
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
        context,
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
    context: Arc<link::LinkContext<F>>,
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
        let feed = Arc::clone(&self.context.feed);
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
        let changed = self.context.feed.take_changed();
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
                context: Arc::clone(&self.context),
            };
            let task = self.tasks.spawn(link.run()).id();
            self.links.insert(addr, Slot { task, pending, listed });
        }
    }

    /// Sends the last changes and waits until the links have ended their streams.
    async fn finish(mut self) {
        self.dispatch();
        self.context.finish.cancel();
        let ended = async { while self.tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(FINISH_TIMEOUT, ended).await.is_err() {
            tracing::warn!("last counts not taken by every adapter");
        }
    }
}

#[cfg(test)]
mod tests;
