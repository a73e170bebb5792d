//! What is told of requests beside the counters: an access log and traces, each off by default.
//!
//! `config` is what an operator chose, `record` what is known of a request that is over, `span` the
//! same as a trace; `access_log` and `export` carry it out of the process. A request never waits for
//! any of this: what a full queue does not take is dropped and counted.

mod access_log;
pub mod config;
mod export;
pub(crate) mod record;
mod span;

use std::{
    io,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use ipnet::IpNet;
use tokio::{sync::oneshot, time::timeout};

use self::{
    access_log::AccessLog,
    config::ObserveConfig,
    export::{Exporter, Traces},
    record::{Record, Seen, SeenHead},
};
use crate::{
    headers::{Peer, Trace, client, hops, is_secure},
    message::{head::RequestHead, trace::TraceParent},
    metrics::Metrics,
};

pub use export::ExportError;

/// At the end, what is queued has this long to leave.
const FLUSH_TIME: Duration = Duration::from_secs(5);

/// Why requests cannot be observed as configured.
#[derive(Debug, thiserror::Error)]
pub enum ObserveError {
    /// No thread for the access log.
    #[error("cannot start the access log")]
    AccessLog(#[from] io::Error),
    /// Traces cannot be sent.
    #[error(transparent)]
    Export(#[from] ExportError),
}

/// Those who are told of requests.
pub(crate) struct Observers {
    log: Option<AccessLog>,
    traces: Option<(Traces, f64)>,
}

/// What is told on, beside the workers.
pub(crate) struct Observing {
    log: Option<oneshot::Receiver<()>>,
    exporter: Option<Exporter>,
}

/// What is to be told of a request, and the trace that its pod is told.
#[derive(Default)]
pub(crate) struct Sight {
    pub(crate) seen: Option<Box<Seen>>,
    pub(crate) trace: Option<Trace>,
}

impl Observers {
    /// `None` = nobody is told anything.
    pub(crate) fn new(
        config: &ObserveConfig,
        name: Option<&str>,
        metrics: &Metrics,
    ) -> Result<(Option<Self>, Observing), ObserveError> {
        let log = config.access_log.then(|| AccessLog::start(&metrics.access_log_dropped));
        let (log, written) = log.transpose()?.unzip();
        let dropped = &metrics.spans_dropped;
        let queue = |uri| export::queue(uri, config, name, dropped);
        let (traces, exporter) = config.otlp_endpoint.as_ref().map(queue).transpose()?.unzip();
        let observers = Self { log, traces: traces.map(|traces| (traces, config.trace_sampling)) };
        let any = observers.log.is_some() || observers.traces.is_some();
        Ok((any.then_some(observers), Observing { log: written, exporter }))
    }

    /// Looks at a request that has come, and decides whether it is traced.
    pub(crate) fn see(
        &self,
        head: &RequestHead<'_>,
        peer: Peer,
        trusted: &[IpNet],
        accepted: Instant,
    ) -> Sight {
        let theirs = TraceParent::of(&head.fields);
        let trace = self.traces.as_ref().map(|(_, ratio)| {
            let told = theirs.filter(|_| peer.trusted).map(TraceParent::is_sampled);
            // Never from a stranger's trace id, which may be chosen to be sampled.
            let sampled = told.unwrap_or_else(|| fastrand::f64() < *ratio);
            let span_id = fastrand::u64(1..);
            let span = match theirs {
                Some(parent) => parent.child(span_id),
                None => TraceParent::root(fastrand::u128(1..), span_id),
            };
            Trace { parent: span.sampled_as(sampled), restarted: theirs.is_none() }
        });
        let sampled = trace.filter(|trace| trace.parent.is_sampled());
        let handed_over = hops(head, peer) > 0;
        let logged = self.log.is_some() && !handed_over;
        let seen = (sampled.is_some() || logged).then(|| {
            Box::new(Seen {
                head: Some(SeenHead::of(head)),
                client: client(Some(head), peer, trusted),
                secure: is_secure(head, peer),
                span: trace.map(|trace| trace.parent).or(theirs),
                parent: theirs.map(|parent| parent.span_id),
                sampled: sampled.is_some(),
                handed_over,
                at: SystemTime::now() - accepted.elapsed(),
                accepted,
            })
        });
        Sight { seen, trace }
    }

    /// What is told of a request whose head could not be read.
    pub(crate) fn unread(&self, peer: Peer) -> Option<Box<Seen>> {
        self.log.as_ref().map(|_| {
            Box::new(Seen {
                head: None,
                client: client(None, peer, &[]),
                secure: peer.tls,
                span: None,
                parent: None,
                sampled: false,
                handed_over: false,
                at: SystemTime::now(),
                accepted: Instant::now(),
            })
        })
    }

    /// Hands a request on that is over.
    pub(crate) fn tell(&self, record: Record) {
        let record = Arc::new(record);
        if let Some((traces, _)) = self.traces.as_ref().filter(|_| record.seen.sampled) {
            traces.put(Arc::clone(&record));
        }
        if let Some(log) = self.log.as_ref().filter(|_| !record.seen.handed_over) {
            log.put(record);
        }
    }
}

impl Observing {
    /// Runs until every [`Observers`] is gone and what they told has left.
    pub(crate) async fn run(self) {
        let exporting = async {
            if let Some(exporter) = self.exporter {
                exporter.run().await;
            }
        };
        let writing = async {
            if let Some(written) = self.log {
                let _ = written.await;
            }
        };
        tokio::join!(exporting, writing);
    }
}

/// Waits for what is queued to leave, not for long.
pub(crate) async fn flush(observing: tokio::task::JoinHandle<()>) {
    let abort = observing.abort_handle();
    if timeout(FLUSH_TIME, observing).await.is_err() {
        tracing::warn!("not all of the access log and the traces could be written");
        abort.abort();
    }
}
