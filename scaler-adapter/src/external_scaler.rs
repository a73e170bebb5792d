//! Serve: KEDA's ExternalScaler.
//!
//! Every answer comes from memory: KEDA calls without a deadline and holds a lock meanwhile.
//! `StreamIsActive` says `true` at once when requests begin to wait for a function without
//! endpoints, again every [`RESEND_INTERVAL`] while they do (KEDA may drop a `true` and does not
//! retry), and otherwise nothing: KEDA ignores `false`, and a `true` about a running function
//! costs it an API write. A bucket's trigger is answered from the number of its events instead: one
//! that is stored is reported at once, and a few times more while events wait. A trigger on a backlog
//! wakes nobody: KEDA counts those events itself, and here is only what pollers report of them. Streams
//! end with OK on shutdown, which resets KEDA's reconnect backoff.

use std::{
    future::Future as _,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures_util::{Stream, StreamExt as _, stream};
use kipper_externalscaler::{
    GetMetricSpecResponse, GetMetricsRequest, GetMetricsResponse, IsActiveResponse, MetricSpec,
    MetricValue, ScaledObjectRef, external_scaler_server::ExternalScaler,
};
use kipper_trigger::{
    scaler::Target,
    shard::{self, Shard},
};
use tokio::{
    sync::watch,
    time::{Instant, Sleep, sleep_until},
};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

use crate::{
    backlog::Backlog,
    burst::TARGET_UTILISATION,
    functions::{FunctionKey, Functions, Subscription, TooManyFunctions},
    metadata::{MetadataError, Trigger},
    metrics::Metrics,
    warmup::Warmup,
};

/// Name of the metric of requests per second.
pub const REQUEST_RATE: &str = "request-rate";
/// Name of the metric of requests in flight and held; offered where a limit is set.
pub const CONCURRENCY: &str = "concurrency";
/// Name of the metric of bucket events that wait or are in work.
pub const BUCKET_EVENTS: &str = "bucket-events";
/// Name of the metric of other events, as pollers report them.
pub const BACKLOG: &str = "backlog";

/// Between two `true` while requests keep waiting.
const RESEND_INTERVAL: Duration = Duration::from_secs(1);
/// How often an arrival is reported again: KEDA may drop a `true`, and polls anyway.
const ARRIVAL_RESENDS: u32 = 2;
/// Between two `true` when waiting ends and begins anew: an edge is reported at once, but a flapping
/// one does not flood KEDA.
const EDGE_INTERVAL: Duration = Duration::from_millis(100);

/// Answers KEDA.
pub(crate) struct Scaler {
    functions: Arc<Functions>,
    warmup: Arc<Warmup>,
    metrics: Metrics,
    shutdown: CancellationToken,
    /// Events of buckets, if any are watched.
    backlog: Option<Arc<dyn Backlog>>,
    shard: Shard,
}

impl Scaler {
    pub(crate) fn new(
        functions: Arc<Functions>,
        warmup: Arc<Warmup>,
        metrics: Metrics,
        shutdown: CancellationToken,
    ) -> Self {
        Self { functions, warmup, metrics, shutdown, backlog: None, shard: Shard::WHOLE }
    }

    /// Answers for the functions of this shard alone.
    pub(crate) fn of_shard(self, shard: Shard) -> Self {
        Self { shard, ..self }
    }

    /// Answers for bucket triggers too.
    pub(crate) fn with_backlog(self, backlog: Option<Arc<dyn Backlog>>) -> Self {
        Self { backlog, ..self }
    }

    /// What KEDA asks about, if it is for this adapter to answer.
    fn trigger(&self, object: ScaledObjectRef) -> Result<Trigger, Status> {
        let trigger = Trigger::parse(object)?;
        let FunctionKey { namespace, name } = &trigger.function;
        let (own, of) = (self.shard, self.shard.of());
        let answering = shard::answering(namespace, name, trigger.target, of);
        if answering == own.index() {
            return Ok(trigger);
        }
        Err(Status::failed_precondition(format!(
            "{namespace}/{name} belongs to shard {answering}/{of} of the scaler-adapters, and this is {own}"
        )))
    }

    fn backlog(&self) -> Result<&dyn Backlog, Status> {
        let backlog = self.backlog.as_deref();
        backlog.ok_or_else(|| Status::unavailable("no buckets are watched"))
    }

    /// Events that wait for a function. Out of ignorance there is no answer, and KEDA keeps the
    /// replicas. Where a bucket does not work and nothing waits, the answer is why: KEDA writes it to
    /// the ScaledObject, which is where every other source's trouble is told.
    fn events(&self, trigger: &Trigger) -> Result<u64, Status> {
        let FunctionKey { namespace, name } = &trigger.function;
        let backlog = self.backlog()?;
        match (backlog.count(namespace, name), backlog.trouble(namespace, name)) {
            (Some(0) | None, Some(trouble)) => {
                Err(Status::failed_precondition(format!("the bucket does not work: {trouble}")))
            }
            (Some(events), _) => Ok(events),
            (None, None) => Err(Status::unavailable("the bucket's events are not counted yet")),
        }
    }

    fn counted<T>(&self, method: &str, result: Result<T, Status>) -> Result<Response<T>, Status> {
        let outcome = match &result {
            Ok(_) => "ok",
            Err(status) if status.code() == tonic::Code::Unavailable => "unavailable",
            Err(_) => "refused",
        };
        self.metrics.calls.with_label_values(&[method, outcome]).inc();
        result.map(Response::new)
    }

    fn check_warm(&self) -> Result<(), Status> {
        if self.warmup.is_over() {
            return Ok(());
        }
        Err(Status::unavailable("not every interceptor has reported yet"))
    }

    fn activity(&self, object: ScaledObjectRef) -> Result<IsActiveResponse, Status> {
        let trigger = self.trigger(object)?;
        match trigger.target {
            Target::Requests { .. } => self.check_warm()?,
            Target::Bucket(_) => {
                return Ok(IsActiveResponse { result: self.events(&trigger)? > 0 });
            }
            Target::Backlog(_) => return Ok(IsActiveResponse { result: false }),
        }
        let result = self.functions.with(&trigger.function, |function, has_stream, now| {
            function.keda_polled(trigger.cadence, has_stream, now);
            function.is_active(trigger.cadence, now)
        });
        Ok(IsActiveResponse { result: result.unwrap_or(false) })
    }

    fn measure(&self, request: GetMetricsRequest) -> Result<GetMetricsResponse, Status> {
        let object = request.scaled_object_ref.ok_or(MetadataError::NoObject)?;
        let trigger = self.trigger(object)?;
        let held = self.functions.held_value(&trigger.function, trigger.target);
        let value = match (trigger.target, request.metric_name.as_str()) {
            (Target::Requests { .. }, REQUEST_RATE) => self.requests(&trigger)?.0.max(held),
            // Also where no limit is set any more: an HPA may be one update behind.
            (Target::Requests { .. }, CONCURRENCY) => as_float(self.requests(&trigger)?.1),
            (Target::Bucket(_), BUCKET_EVENTS) => as_float(self.events(&trigger)?).max(held),
            (Target::Backlog(_), BACKLOG) => {
                as_float(self.functions.backlog(&trigger.function)).max(held)
            }
            (_, name) => return Err(Status::invalid_argument(format!("unknown metric {name:?}"))),
        };
        Ok(single(request.metric_name, value))
    }

    /// Requests per second, and those in flight and held.
    fn requests(&self, trigger: &Trigger) -> Result<(f64, u64), Status> {
        self.check_warm()?;
        let covered = self.warmup.covered();
        let read = self.functions.with(&trigger.function, |function, _, now| {
            let load = function.load();
            (function.rate(now, covered), load.in_flight + load.held)
        });
        Ok(read.unwrap_or_default())
    }

    fn subscribe(&self, object: ScaledObjectRef) -> Result<ActivationStream, Status> {
        let trigger = self.trigger(object)?;
        match trigger.target {
            Target::Requests { .. } => {}
            Target::Bucket(_) => return self.subscribe_to_bucket(&trigger),
            Target::Backlog(_) => return self.subscribe_to_backlog(trigger),
        }
        let greet = |function: &mut crate::aggregate::Function, now| {
            function.keda_connected(trigger.cadence, now);
        };
        Ok(Box::pin(Activations {
            subscription: self.functions.subscribe(trigger.function, trigger.burst, greet)?,
            shutdown: self.shutdown.clone(),
            last: None,
            is_resend: false,
            pause: None,
        }))
    }
}

impl Scaler {
    fn subscribe_to_bucket(&self, trigger: &Trigger) -> Result<ActivationStream, Status> {
        let FunctionKey { namespace, name } = &trigger.function;
        let events = self.backlog()?.subscribe(namespace, name).ok_or(TooManyFunctions)?;
        let key = trigger.function.clone();
        let subscription = self.functions.subscribe_to_events(key, trigger.burst)?;
        let arrivals =
            Arrivals { events, subscription, shutdown: self.shutdown.clone(), left: None };
        Ok(Box::pin(stream::unfold(arrivals, |mut arrivals| async {
            arrivals.next().await?;
            Some((Ok(IsActiveResponse { result: true }), arrivals))
        })))
    }
}

impl Scaler {
    /// While the stream is open, the function is scaled ahead of the HPA here.
    fn subscribe_to_backlog(&self, trigger: Trigger) -> Result<ActivationStream, Status> {
        let subscription = self.functions.subscribe_to_events(trigger.function, trigger.burst)?;
        let shutdown = self.shutdown.clone();
        Ok(Box::pin(stream::once(shutdown.cancelled_owned()).filter_map(move |()| {
            let _open = &subscription;
            std::future::ready(None)
        })))
    }
}

/// When to say `true` to one stream of a bucket's trigger.
struct Arrivals {
    events: watch::Receiver<Option<u64>>,
    subscription: Subscription,
    shutdown: CancellationToken,
    /// How often it is said again while events wait, since some do; KEDA's polls do the rest.
    left: Option<u32>,
}

impl Arrivals {
    /// Resolves with `Some` when `true` is due, and with `None` on shutdown or when there is nothing
    /// left to report.
    async fn next(&mut self) -> Option<()> {
        let mut due = self.left.map(|_| Instant::now() + RESEND_INTERVAL);
        while !self.shutdown.is_cancelled() {
            let events = self.events.borrow_and_update().unwrap_or_default();
            self.subscription.count_events(events);
            let waits = events > 0;
            let now = Instant::now();
            match (waits, self.left) {
                (false, _) => (self.left, due) = (None, None),
                (true, None) => {
                    self.left = Some(ARRIVAL_RESENDS);
                    self.subscription.count_wake("edge");
                    return Some(());
                }
                (true, Some(left)) if left > 0 && due.is_some_and(|due| due <= now) => {
                    self.left = Some(left - 1);
                    self.subscription.count_wake("resend");
                    return Some(());
                }
                (true, Some(_)) => {}
            }
            let resend = due.filter(|_| self.left.is_some_and(|left| left > 0));
            tokio::select! {
                changed = self.events.changed() => changed.ok()?,
                () = self.shutdown.cancelled() => {}
                () = sleep_until(resend.unwrap_or(now)), if resend.is_some() => {}
            }
        }
        None
    }
}

/// An answer with one metric.
fn single(metric_name: String, value: f64) -> GetMetricsResponse {
    let value =
        MetricValue { metric_name, metric_value: rounded(value), metric_value_float: value };
    GetMetricsResponse { metric_values: vec![value] }
}

type ActivationStream = Pin<Box<dyn Stream<Item = Result<IsActiveResponse, Status>> + Send>>;

/// When to say `true` to one stream. KEDA has one open for every function, and nearly all of them are
/// silent: what only a stream needs that speaks is not there before.
struct Activations {
    subscription: Subscription,
    shutdown: CancellationToken,
    last: Option<Instant>,
    /// Requests have been waiting ever since the last `true`.
    is_resend: bool,
    /// Until the next `true` is due.
    pause: Option<Pin<Box<Sleep>>>,
}

impl Stream for Activations {
    type Item = Result<IsActiveResponse, Status>;

    /// The first `true` about a waiting request meets no timer. On shutdown the stream ends, for which
    /// [`Functions::wake_streams`] wakes it.
    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        let waits = this.subscription.is_waiting(context);
        if this.shutdown.is_cancelled() {
            return Poll::Ready(None);
        }
        if !waits {
            (this.is_resend, this.pause) = (false, None);
            return Poll::Pending;
        }
        let gap = if this.is_resend { RESEND_INTERVAL } else { EDGE_INTERVAL };
        let now = Instant::now();
        if let Some(due) = this.last.map(|last| last + gap).filter(|due| *due > now) {
            let pause = this.pause.get_or_insert_with(|| Box::pin(sleep_until(due)));
            if pause.deadline() != due {
                pause.as_mut().reset(due);
            }
            if pause.as_mut().poll(context).is_pending() {
                return Poll::Pending;
            }
        }
        this.subscription.count_wake(if this.is_resend { "resend" } else { "edge" });
        (this.last, this.is_resend, this.pause) = (Some(Instant::now()), true, None);
        Poll::Ready(Some(Ok(IsActiveResponse { result: true })))
    }
}

#[tonic::async_trait]
impl ExternalScaler for Scaler {
    type StreamIsActiveStream = ActivationStream;
    type StreamMetricSpecStream = stream::Empty<Result<GetMetricSpecResponse, Status>>;

    async fn is_active(
        &self,
        request: Request<ScaledObjectRef>,
    ) -> Result<Response<IsActiveResponse>, Status> {
        self.counted("is_active", self.activity(request.into_inner()))
    }

    async fn stream_is_active(
        &self,
        request: Request<ScaledObjectRef>,
    ) -> Result<Response<Self::StreamIsActiveStream>, Status> {
        self.counted("stream_is_active", self.subscribe(request.into_inner()))
    }

    async fn get_metric_spec(
        &self,
        request: Request<ScaledObjectRef>,
    ) -> Result<Response<GetMetricSpecResponse>, Status> {
        // They follow from the metadata alone, so any shard knows them: KEDA would make an HPA without
        // metrics of an error.
        let specs = Trigger::parse(request.into_inner()).map(|trigger| metric_specs(&trigger));
        self.counted("get_metric_spec", specs.map_err(Status::from))
    }

    async fn get_metrics(
        &self,
        request: Request<GetMetricsRequest>,
    ) -> Result<Response<GetMetricsResponse>, Status> {
        self.counted("get_metrics", self.measure(request.into_inner()))
    }

    async fn stream_metric_spec(
        &self,
        _request: Request<ScaledObjectRef>,
    ) -> Result<Response<Self::StreamMetricSpecStream>, Status> {
        Err(Status::unimplemented("metric specs change only with the ScaledObject"))
    }
}

fn metric_specs(trigger: &Trigger) -> GetMetricSpecResponse {
    let spec = |name: &str, target: f64| MetricSpec {
        metric_name: name.to_owned(),
        target_size: rounded(target),
        target_size_float: target,
    };
    let metric_specs = match trigger.target {
        Target::Requests { rate, concurrency: 0 } => vec![spec(REQUEST_RATE, rate)],
        Target::Requests { rate, concurrency } => {
            let open = TARGET_UTILISATION * f64::from(concurrency);
            vec![spec(REQUEST_RATE, rate), spec(CONCURRENCY, open)]
        }
        Target::Bucket(events) => vec![spec(BUCKET_EVENTS, events)],
        Target::Backlog(events) => vec![spec(BACKLOG, events)],
    };
    GetMetricSpecResponse { metric_specs }
}

/// For the deprecated whole-number fields: up, because KEDA reads nothing into a zero.
#[allow(clippy::cast_possible_truncation)] // the cast saturates, and no metric comes near it
fn rounded(value: f64) -> i64 {
    value.ceil() as i64
}

#[allow(clippy::cast_precision_loss)] // exact up to 2^53 requests in flight
fn as_float(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests;
