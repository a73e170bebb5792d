//! Report: tells every scaler-adapter replica what this interceptor counts.
//!
//! One task reads the data plane's changes and fans them out to one link per adapter address. It
//! stands beside the request path and never blocks it: a link that cannot send lets changes merge
//! in its own [`pending`] map, one entry per function, and after any trouble starts over with a
//! snapshot. Changes are taken at most once per flush interval; a wake from zero is taken at once, and
//! [`steady`] change of a slow function waits for a few intervals. Where nothing changes, nothing is sent.

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

mod budget;
mod config;
mod counts;
mod feed;
mod link;
mod metrics;
mod numbers;
mod pending;
mod steady;
mod targets;

pub use config::{ReporterConfig, ReporterError};
pub use counts::{Counts, CountsFeed};
pub use metrics::ReporterMetrics;

use link::{Link, Tls};
use pending::{Change, Pending};
use targets::{Target, Targets};

/// Adapter addresses reported to; further ones are left out, with a warning.
const MAX_LINKS: usize = kipper_trigger::shard::MAX_ADAPTERS;
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
        numbers: parking_lot::Mutex::default(),
        finish,
    });
    let (tx, rx) = mpsc::channel(1);
    let mut hub = Hub {
        context,
        links: HashMap::new(),
        tasks: JoinSet::new(),
        interval: config.counts_interval,
        steady: HashMap::new(),
    };
    tokio::select! {
        () = targets.watch(tx) => {}
        () = hub.run(rx, &shutdown) => {}
    }
    hub.finish().await;
    Ok(())
}

/// Fans changes out to the links.
struct Hub<F> {
    context: Arc<link::LinkContext<F>>,
    links: HashMap<SocketAddr, Slot>,
    tasks: JoinSet<()>,
    interval: Duration,
    /// Changes that can wait; functions at most.
    steady: HashMap<FunctionId, Change>,
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
                () = tokio::time::sleep_until(next), if is_changed || !self.steady.is_empty() => {}
            }
            self.dispatch(false);
            is_changed = false;
            next = Instant::now() + self.interval;
        }
    }

    /// Gives every link what changed, but for what is steady; that too when it is due or `all` is wanted.
    fn dispatch(&mut self, all: bool) {
        let taken = Instant::now();
        let changed = self.context.feed.take_changed();
        // Held until every link has heard of it, so that no snapshot gives a freed number away between.
        let mut numbers = self.context.numbers.lock();
        let mut changes = Vec::with_capacity(changed.len());
        for counts in changed {
            let number = numbers.of(&counts, taken);
            let is_steady = !all && numbers.is_steady(&counts);
            let later = Change::new(counts, number, taken);
            let change = match self.steady.remove(&later.counts.id) {
                Some(mut earlier) => {
                    earlier.merge(later);
                    earlier
                }
                None => later,
            };
            if is_steady {
                self.steady.insert(change.counts.id.clone(), change);
            } else {
                changes.push(change);
            }
        }
        let due = |id: &FunctionId| all || numbers.is_due(id, taken, self.interval);
        changes.extend(self.steady.extract_if(|id, _| due(id)).map(|(_, change)| change));
        for change in &changes {
            numbers.report(&change.counts, taken);
        }
        let freed = numbers.take_freed(taken);
        for slot in self.links.values() {
            slot.pending.add(&changes, &freed);
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
        self.dispatch(true);
        self.context.finish.cancel();
        let ended = async { while self.tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(FINISH_TIMEOUT, ended).await.is_err() {
            tracing::warn!("last counts not taken by every adapter");
        }
    }
}

#[cfg(test)]
mod tests;
