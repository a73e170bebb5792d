//! Metrics of the poller. Labels are finite; nothing is labelled by key.

use std::time::Duration;

use prometheus::{Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, Opts, Registry};

use crate::target::Outcome;

/// From a round trip on this machine to a slow handler's end, in seconds.
const BUCKETS: &[f64] = &[
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
    60.0, 300.0,
];

/// A gauge of something that is counted.
#[derive(Clone, Debug)]
pub(crate) struct Gauge(IntGauge);

impl Gauge {
    pub(crate) fn set(&self, value: usize) {
        self.0.set(i64::try_from(value).unwrap_or(i64::MAX));
    }
}

/// A counter of things.
#[derive(Clone, Debug)]
pub(crate) struct Counter(IntCounter);

impl Counter {
    pub(crate) fn inc(&self) {
        self.0.inc();
    }

    pub(crate) fn inc_by(&self, count: usize) {
        self.0.inc_by(u64::try_from(count).unwrap_or(u64::MAX));
    }
}

/// All metrics; clones share their values.
#[derive(Clone, Debug)]
pub struct Metrics {
    pub(crate) claimed: Counter,
    pub(crate) held: Gauge,
    pub(crate) unmarked: Gauge,
    pub(crate) suppressed: Gauge,
    pub(crate) failing: Gauge,
    pub(crate) dead: Counter,
    pub(crate) breaker: Gauge,
    pub(crate) source_up: Gauge,
    pub(crate) panics: Counter,
    pub(crate) held_bytes: Gauge,
    pub(crate) reconnects: Counter,
    pub(crate) mark_failures: Counter,
    pub(crate) claim_seconds: Histogram,
    /// By `outcome`.
    deliveries: IntCounterVec,
    deliver_seconds: Histogram,
}

impl Metrics {
    /// Registers all of them.
    ///
    /// # Errors
    /// When one of these names is registered already.
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let name = |name: &str| format!("kipper_poll_{name}");
        let counter = |what: &str, help: &str| {
            let counter = IntCounter::new(name(what), help)?;
            registry.register(Box::new(counter.clone()))?;
            prometheus::Result::Ok(Counter(counter))
        };
        let gauge = |what: &str, help: &str| {
            let gauge = IntGauge::new(name(what), help)?;
            registry.register(Box::new(gauge.clone()))?;
            prometheus::Result::Ok(Gauge(gauge))
        };
        let histogram = |what: &str, help: &str| {
            let opts = HistogramOpts::new(name(what), help).buckets(BUCKETS.to_vec());
            let histogram = Histogram::with_opts(opts)?;
            registry.register(Box::new(histogram.clone()))?;
            prometheus::Result::Ok(histogram)
        };
        let opts = Opts::new(name("deliveries_total"), "Deliveries that ended, by outcome.");
        let deliveries = IntCounterVec::new(opts, &["outcome"])?;
        registry.register(Box::new(deliveries.clone()))?;
        Ok(Self {
            claimed: counter("claimed_total", "Events claimed.")?,
            held: gauge("held", "Events claimed and not yet released.")?,
            unmarked: gauge("unmarked", "Events handled or dead whose mark has not succeeded.")?,
            suppressed: gauge(
                "suppressed",
                "Events handled that still match as they did after their mark.",
            )?,
            failing: gauge("failing", "Events that failed and wait for another attempt.")?,
            dead: counter("dead_total", "Events given up and put among the dead letters.")?,
            breaker: gauge("breaker_open", "1 while the function is taken to be down.")?,
            source_up: gauge("source_up", "0 while the source answers no call.")?,
            panics: counter("panics_total", "Panics after which the trigger began anew.")?,
            held_bytes: gauge("held_bytes", "Bytes of the bodies of held events.")?,
            reconnects: counter("reconnects_total", "Connections to the source made again.")?,
            mark_failures: counter("mark_failures_total", "Marks that failed and are retried.")?,
            claim_seconds: histogram("claim_seconds", "Time one claim took, in seconds.")?,
            deliveries,
            deliver_seconds: histogram(
                "deliver_seconds",
                "Time from sending an event to the end of its answer, in seconds.",
            )?,
        })
    }

    pub(crate) fn delivered(&self, outcome: &Outcome, took: Duration) {
        self.deliveries.with_label_values(&[outcome.label()]).inc();
        self.deliver_seconds.observe(took.as_secs_f64());
    }
}
