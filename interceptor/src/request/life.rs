//! One request from its lease to its answer.

use std::sync::Arc;

use super::{
    client::{Client, OwnAnswer},
    connect,
    exchange::{Exchange, Failure, Finished},
    hold,
    prepared::{Outgoing, Prepared, Unserved},
    timeline::Timeline,
};
use crate::{
    clock,
    destination::Lease,
    error::ProxyError,
    headers::{Additions, Peer, RequestId, new_request_id},
    message::field::HOPS,
    observe::record::{Moved, Phases, Record},
    upstream::{http2, pod::Pod},
    wire::buffer::Buffer,
    worker::{Worker, http_date},
};

/// Connections tried for one request because nothing was processed on the earlier ones.
const MAX_ATTEMPTS: u32 = 16;

/// What becomes of a request on its way.
struct Course {
    timeline: Timeline,
    moved: Moved,
}

/// How a request ended: with the status of its pod's answer, or with a failure.
type Ended = Result<u16, Failed>;

/// How a request failed.
#[derive(Clone, Copy)]
struct Failed {
    error: ProxyError,
    /// The client gets no answer that says so, as where it had got the head of one.
    cut: bool,
}

impl From<Failure> for Failed {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::NotSent => Self { error: ProxyError::UpstreamClosed, cut: false },
            Failure::Answer(error) => Self { error, cut: false },
            Failure::Cut(error) => Self { error, cut: true },
        }
    }
}

/// What becomes of a request whose worker ends before it, which is at the deadline of a drain.
const CUT_OFF: Failed = Failed { error: ProxyError::ShuttingDown, cut: true };

/// Carries a request through to its answer, of a pod or of our own.
pub(crate) async fn serve<C: Client>(
    client: &mut C,
    worker: &Arc<Worker>,
    prepared: &mut Prepared,
) {
    if prepared.is_counted_here() {
        prepared.destination.counters.accepted(clock::at(prepared.accepted));
    }
    let timeline = Timeline::new(prepared.accepted, prepared.seen.is_some());
    let course = Course { timeline, moved: Moved::default() };
    let mut life = Life { worker, prepared, course, ended: Err(CUT_OFF), is_counted: false };
    let ended = forward(client, &mut life).await;
    match ended {
        Ok(finished) => life.end(Ok(finished.status)),
        Err(failure) => {
            life.end(Err(failure.into()));
            life.answer(client).await;
        }
    }
}

/// A request under way. It is counted and told of once, however it ends: also where its future is
/// dropped.
struct Life<'a> {
    worker: &'a Arc<Worker>,
    prepared: &'a mut Prepared,
    course: Course,
    /// As which it ends unless something else comes of it.
    ended: Ended,
    is_counted: bool,
}

impl Life<'_> {
    fn end(&mut self, ended: Ended) {
        self.ended = ended;
        self.count();
    }

    /// Counts how it ended.
    fn count(&mut self) {
        let (metrics, destination) = (&self.worker.context.metrics, &self.prepared.destination);
        let status = match self.ended {
            Ok(status) => status,
            Err(Failed { error, cut }) => {
                metrics.error(error);
                if let ProxyError::BadResponse(rule) = error {
                    destination.refused(rule);
                }
                let reason = error.reason();
                tracing::debug!(function = %destination.id, reason, cut, "request failed");
                error.status()
            }
        };
        if self.prepared.is_counted_here() {
            metrics.duration.observe(self.prepared.accepted.elapsed().as_secs_f64());
            destination.metrics.answered(status);
        }
        self.is_counted = true;
    }

    /// Answers a failed request, if that can still be done.
    async fn answer<C: Client>(&mut self, client: &mut C) {
        let Err(Failed { error, cut }) = self.ended else { return };
        if cut || error.status() == 499 {
            return client.cut(error);
        }
        let answer = own_answer(self.prepared, error);
        if self.prepared.seen.is_some() {
            self.course.moved.sent = answer.body().len() as u64;
        }
        client.answer(self.worker, &answer).await;
    }

    /// Tells those who observe requests that it is over.
    fn tell(&mut self, failed: Option<Failed>) {
        let Self { worker, prepared, course, .. } = self;
        let (Some(seen), Some(observers)) = (prepared.seen.take(), &worker.context.observers)
        else {
            return;
        };
        let answered = course.timeline.status();
        observers.tell(Record {
            id: std::mem::take(&mut prepared.id),
            function: Some(prepared.destination.id.clone()),
            status: match failed {
                None => answered.unwrap_or_default(),
                Some(Failed { error, cut: true }) => answered.unwrap_or(error.status()),
                Some(Failed { error, cut: false }) => error.status(),
            },
            error: failed.map(|failed| failed.error),
            pod: course.timeline.pod(),
            moved: course.moved,
            phases: course.timeline.phases(&prepared.destination),
            took: seen.accepted.elapsed(),
            seen: *seen,
        });
    }
}

fn own_answer(prepared: &Prepared, error: ProxyError) -> OwnAnswer<'_> {
    OwnAnswer {
        error,
        id: &prepared.id,
        retry_after: error.retryable().then(|| prepared.destination.retry_after()),
        to_head: prepared.terms.to_head,
    }
}

impl Drop for Life<'_> {
    fn drop(&mut self) {
        // What panicked is told where panics are.
        if std::thread::panicking() {
            return;
        }
        if !self.is_counted {
            self.count();
        }
        self.tell(self.ended.err());
    }
}

/// Counts a request that no function gets, and tells of it; the id of its answer.
pub(crate) fn refused(worker: &Worker, peer: Peer, unserved: &mut Unserved) -> RequestId {
    let error = unserved.error;
    worker.context.metrics.error(error);
    let id = new_request_id(fastrand::u128(..));
    if let Some(observers) = &worker.context.observers
        && let Some(seen) = unserved.seen.take().or_else(|| observers.unread(peer))
    {
        observers.tell(Record {
            function: None,
            status: error.status(),
            error: Some(error),
            pod: None,
            moved: Moved { received: 0, sent: unserved.answer(&id).body().len() as u64 },
            phases: Phases::new(),
            took: seen.accepted.elapsed(),
            seen: *seen,
            id: id.clone(),
        });
    }
    id
}

/// Leases a pod and runs the exchange, again while nothing of the request was processed.
async fn forward<C: Client>(client: &mut C, life: &mut Life<'_>) -> Result<Finished, Failure> {
    let mut outgoing = std::mem::take(&mut life.prepared.outgoing);
    for _ in 0..MAX_ATTEMPTS {
        let bytes = outgoing.len() + client.buffered();
        let timeline = &mut life.course.timeline;
        let leased = hold::lease(client, life.worker, life.prepared, bytes, timeline).await;
        let lease = leased.map_err(Failure::Answer)?;
        let mut attempt = Attempt { lease, client: &mut *client, life: &mut *life };
        let ended = match &mut outgoing {
            Outgoing::Http1(out) => attempt.over_http1(out).await,
            Outgoing::Http2(out) => Box::pin(attempt.over_http2(out)).await,
        };
        let Some(ended) = ended else { continue };
        match ended {
            Err(Failure::NotSent) => {
                let function = &life.prepared.destination.id;
                tracing::debug!(%function, "not sent, trying again");
                life.worker.context.metrics.replays.inc();
            }
            Err(Failure::Answer(ProxyError::UpstreamClosed)) if life.prepared.retry.is_some() => {
                life.worker.context.metrics.replays.inc();
                outgoing = life.prepared.retry.take().unwrap_or_default();
            }
            ended => return ended,
        }
    }
    Err(Failure::Answer(ProxyError::UpstreamClosed))
}

/// One request on one leased pod.
struct Attempt<'a, 'l, C> {
    lease: Lease,
    client: &'a mut C,
    life: &'a mut Life<'l>,
}

impl<C: Client> Attempt<'_, '_, C> {
    /// Over HTTP/1.1; what was not sent is in `out` again. `None` = there is no connection.
    async fn over_http1(&mut self, out: &mut Buffer) -> Option<Result<Finished, Failure>> {
        let mut pod =
            connect::http1(self.life.worker, &self.lease, &mut self.life.course.timeline).await?;
        let hop = self.hop().map(|hops| format!("{HOPS}: {hops}\r\n"));
        let at = hop.as_ref().map_or(0, |hop| out.insert_line(hop.as_bytes()));
        pod.begin(std::mem::take(out), self.life.prepared.framing);
        let ended = self.exchange(&mut pod).await;
        match &ended {
            Ok(finished) if finished.upgraded => {
                // However the tunnel ends, and be it at the deadline of a drain.
                self.life.ended = Ok(finished.status);
                let Life { worker, prepared, course, .. } = &mut *self.life;
                let (idle, budget) = (worker.context.limits.idle, &worker.context.buffers);
                let ended = self.client.tunnel(pod, idle, budget, &mut course.moved).await;
                let (function, moved) = (&prepared.destination.id, course.moved);
                tracing::debug!(%function, ?moved, ?ended, "tunnel closed");
            }
            Ok(finished) if finished.keep_upstream => {
                self.life.worker.pool.put(&self.lease.endpoint, pod);
            }
            Err(Failure::NotSent) => {
                *out = pod.out;
                out.remove(at, hop.map_or(0, |hop| hop.len()));
            }
            _ => {}
        }
        Some(ended)
    }

    /// Over HTTP/2; what can be sent again is in `out`. `None` = there is no connection.
    async fn over_http2(&mut self, out: &mut http2::Outgoing) -> Option<Result<Finished, Failure>> {
        let sender =
            connect::http2(self.life.worker, &self.lease, &mut self.life.course.timeline).await?;
        let started = match self.hop() {
            Some(hops) => http2::Stream::start(sender, &out.with_field(HOPS, hops.into())),
            None => http2::Stream::start(sender, out),
        };
        let Some(mut pod) = started else { return Some(Err(Failure::NotSent)) };
        let ended = self.exchange(&mut pod).await;
        if let Err(Failure::NotSent) = &ended {
            match pod.take_back() {
                Some(kept) => out.read_on(kept),
                None => return Some(Err(Failure::Answer(ProxyError::UpstreamClosed))),
            }
        }
        Some(ended)
    }

    /// The number of this hand-over, if it is one.
    fn hop(&self) -> Option<u32> {
        self.lease.endpoint.sibling.then_some(self.life.prepared.hops + 1)
    }

    async fn exchange<P: Pod>(&mut self, pod: &mut P) -> Result<Finished, Failure> {
        self.client.check().map_err(Failure::Answer)?;
        self.life.course.timeline.sent(self.lease.endpoint.address);
        let route = arc_swap::Guard::into_inner(self.life.prepared.destination.route());
        let lease = &mut self.lease;
        let Life { worker, prepared, course, .. } = &mut *self.life;
        let (prepared, limits) = (&**prepared, &worker.context.limits);
        let Course { timeline, moved } = course;
        let mut terms = prepared.terms.clone();
        if lease.endpoint.sibling {
            // It may hold the request first.
            terms.response_header += route.spec.timeouts.cold_start;
        }
        let ended = Exchange::new(self.client, pod, &terms, limits, &worker.context.buffers, moved)
            .run(|status| {
                if status >= 200 || status == 101 {
                    lease.answered();
                    timeline.answered(status);
                }
                Additions {
                    security: route.security.as_ref(),
                    secure: prepared.secure,
                    server_timing: timeline.server_timing(&prepared.destination),
                    date: http_date,
                }
            })
            .await;
        if let Err(Failure::Answer(ProxyError::ResponseTimeout)) = &ended {
            lease.endpoint.load.timed_out(clock::now());
        }
        ended
    }
}
