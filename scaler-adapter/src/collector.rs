//! Collect: the Counts service, one stream per interceptor.
//!
//! A stream's first report is a snapshot: it replaces whatever its interceptor said before, and a
//! newer stream of an interceptor silences an older one. A report is taken in synchronously, so a
//! wake is on KEDA's stream before the next report is read. When a stream ends, its interceptor's
//! counts stay for a TTL, because it will reconnect and a running request must not look finished.

use std::{sync::Arc, time::Duration};

use kipper_counts::{CountsReport, FunctionCounts, Welcome, counts_server::Counts};
use kipper_trigger::shard::Shard;
use tokio::sync::{Semaphore, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

mod error;
mod roster;
mod table;

pub(crate) use error::ReportError;
use error::{FIRST_REPORT_TIMEOUT, MAX_STREAMS};
use roster::{Current, Member, Roster};

use crate::{
    aggregate::Report, functions::Functions, metadata::MAX_NAME_BYTES, metrics::Metrics,
    warmup::Warmup,
};

/// Functions of a report taken in before other tasks get a turn.
const CHUNK: usize = 512;

/// Takes counts in. Clones share everything.
#[derive(Clone)]
pub(crate) struct Collector {
    shared: Arc<Shared>,
}

struct Shared {
    functions: Arc<Functions>,
    warmup: Arc<Warmup>,
    roster: Roster,
    streams: Arc<Semaphore>,
    shutdown: CancellationToken,
    metrics: Metrics,
    epoch: u64,
    shard: Shard,
    interceptor_ttl: Duration,
}

impl Collector {
    pub(crate) fn new(
        functions: Arc<Functions>,
        warmup: Arc<Warmup>,
        metrics: Metrics,
        shard: Shard,
        interceptor_ttl: Duration,
        shutdown: CancellationToken,
    ) -> Self {
        let shared = Shared {
            functions,
            warmup,
            roster: Roster::default(),
            streams: Arc::new(Semaphore::new(MAX_STREAMS)),
            shutdown,
            metrics,
            epoch: fastrand::u64(1..),
            shard,
            interceptor_ttl,
        };
        Self { shared: Arc::new(shared) }
    }
}

#[tonic::async_trait]
impl Counts for Collector {
    type ReportStream = ReceiverStream<Result<Welcome, Status>>;

    async fn report(
        &self,
        request: Request<Streaming<CountsReport>>,
    ) -> Result<Response<Self::ReportStream>, Status> {
        let shared = Arc::clone(&self.shared);
        let permit = Arc::clone(&shared.streams).try_acquire_owned();
        let permit = permit.map_err(|_| shared.refuse(ReportError::TooManyStreams))?;
        let (tx, rx) = mpsc::channel(2);
        // The channel was made with room for the welcome and one error.
        let (shard, shards) = (shared.shard.index(), shared.shard.of());
        let _ = tx.try_send(Ok(Welcome { epoch: shared.epoch, numbers: true, shard, shards }));
        tokio::spawn(async move {
            let _permit = permit;
            if let Err(error) = shared.serve(request.into_inner()).await {
                let _ = tx.try_send(Err(shared.refuse(error)));
            }
        });
        Ok(Response::new(ReceiverStream::new(rx)))
    }
}

impl Shared {
    fn refuse(&self, error: ReportError) -> Status {
        // A newer stream is how interceptors reconnect; all else should not happen.
        if error != ReportError::Superseded {
            self.metrics.refused_reports.inc();
            tracing::warn!(%error, "counts stream refused");
        }
        error.into()
    }

    /// Reads one stream to its end. `Ok` also when the connection broke: that is how streams end.
    async fn serve(
        self: &Arc<Self>,
        mut inbound: Streaming<CountsReport>,
    ) -> Result<(), ReportError> {
        let first = tokio::select! {
            () = self.shutdown.cancelled() => return Ok(()),
            first = tokio::time::timeout(FIRST_REPORT_TIMEOUT, inbound.message()) => first,
        };
        let report = match first {
            Err(_) => return Err(ReportError::Silent),
            Ok(Ok(Some(report))) => report,
            Ok(Ok(None) | Err(_)) => return Ok(()),
        };
        let member = self.admit(&report)?;
        self.metrics.interceptors.inc();
        let result = self.follow(&member, report, inbound).await;
        self.metrics.interceptors.dec();
        member.ended(self.functions.now());
        self.forget_later(member);
        result
    }

    fn admit(&self, report: &CountsReport) -> Result<Member, ReportError> {
        let name = &report.interceptor;
        if name.is_empty() || name.len() > MAX_NAME_BYTES {
            return Err(ReportError::BadName);
        }
        if !report.snapshot {
            return Err(ReportError::NoSnapshot);
        }
        let member = self.roster.admit(name, report.epoch)?;
        tracing::info!(interceptor = %name, functions = report.functions.len(), "interceptor reports");
        Ok(member)
    }

    async fn follow(
        &self,
        member: &Member,
        first: CountsReport,
        mut inbound: Streaming<CountsReport>,
    ) -> Result<(), ReportError> {
        self.take_in(member, first, true).await?;
        loop {
            let message = tokio::select! {
                biased;
                () = self.shutdown.cancelled() => return Ok(()),
                () = member.superseded() => return Err(ReportError::Superseded),
                message = inbound.message() => message,
            };
            let report = match message {
                Ok(Some(report)) => report,
                Ok(None) => return Ok(()),
                Err(status) => {
                    tracing::info!(interceptor = %member.name(), %status, "counts stream broke");
                    return Ok(());
                }
            };
            if !member.sent(&report) {
                return Err(ReportError::IdentityChanged);
            }
            self.take_in(member, report, false).await?;
        }
    }

    /// Takes one report in, `CHUNK` functions at a time. Each chunk is taken in under the
    /// interceptor's lock, so an older stream cannot overwrite what a newer one has said.
    async fn take_in(
        &self,
        member: &Member,
        report: CountsReport,
        is_snapshot: bool,
    ) -> Result<(), ReportError> {
        let mut functions = report.functions.into_iter();
        member.while_current(|current| current.free(&report.freed))??;
        while functions.len() > 0 {
            member.while_current(|current| {
                self.take_in_chunk(current, functions.by_ref().take(CHUNK), is_snapshot)
            })??;
            if functions.len() > 0 {
                tokio::task::yield_now().await;
            }
        }
        let now = self.functions.now();
        member.while_current(|current| current.heard(now, is_snapshot))?;
        if is_snapshot {
            self.warmup.snapshot(member.id());
        }
        self.metrics.reports.inc();
        Ok(())
    }

    fn take_in_chunk(
        &self,
        current: &mut Current,
        chunk: impl Iterator<Item = FunctionCounts>,
        is_snapshot: bool,
    ) -> Result<(), ReportError> {
        let now = self.functions.now();
        let origin = current.origin();
        let mut requests = 0;
        for counts in chunk {
            let report = Report {
                total: counts.total,
                in_flight: counts.in_flight,
                held: counts.held,
                waiting: counts.waiting,
                idle: Duration::from_millis(counts.idle_ms),
                base: (!is_snapshot).then_some(counts.base),
                over: Duration::from_millis(counts.over_ms.into()),
            };
            match current.table.apply(&self.functions, origin, counts, &report, now)? {
                Some(added) => requests += added,
                // The others must still come in.
                None => self.metrics.refused_functions.inc(),
            }
        }
        self.metrics.requests.inc_by(requests);
        Ok(())
    }

    /// Forgets the interceptor after the TTL, unless it has come back by then.
    fn forget_later(self: &Arc<Self>, member: Member) {
        let shared = Arc::clone(self);
        tokio::spawn(async move {
            tokio::select! {
                () = shared.shutdown.cancelled() => return,
                () = member.superseded() => return,
                () = tokio::time::sleep(shared.interceptor_ttl) => {}
            }
            if shared.roster.remove(&member) {
                tracing::info!(interceptor = %member.name(), "interceptor forgotten");
            }
        });
    }
}

#[cfg(test)]
mod tests;
