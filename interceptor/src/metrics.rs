//! Metric families of the data plane, and the handles each function keeps.
//!
//! Labels come from fixed sets or are Function names; never a path, a raw host or error text.

use std::sync::{Arc, OnceLock};

use prometheus::{
    Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, Opts, Registry,
    core::{Collector, Desc},
    proto::MetricFamily,
};

use crate::{error::ProxyError, queue::Held, source::FunctionId};

/// Buckets of request durations, seconds.
const DURATION_BUCKETS: &[f64] =
    &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];
/// Buckets of cold starts, seconds.
const WAKE_BUCKETS: &[f64] =
    &[0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0, 60.0];

/// All families.
pub struct Metrics {
    /// Whether functions have series of their own.
    by_function: bool,
    requests: IntCounterVec,
    errors: IntCounterVec,
    refused_answers: IntCounterVec,
    wakes: Histogram,
    /// Seconds from the request head to the end of the response.
    pub duration: Histogram,
    /// Open downstream connections.
    pub connections: IntGauge,
    /// Bytes of exchanges kept for sides that are slow.
    pub buffered: IntGauge,
    /// Downstream connections refused at the connection cap.
    pub connections_refused: IntCounter,
    /// Hosts that more than one function claims.
    pub contended_hosts: IntGauge,
    /// Connections opened to pods.
    pub upstream_connects: IntCounter,
    /// Requests sent again because no byte of them had reached a pod.
    pub replays: IntCounter,
    /// Probes sent to pods that are not ready yet.
    pub probes: IntCounter,
    /// Wakes that went the second way, past KEDA.
    pub wake_fallbacks: IntCounterVec,
    /// Lines of the access log that could not be written.
    pub access_log_dropped: IntCounter,
    /// Spans that no collector got.
    pub spans_dropped: IntCounter,
}

impl Metrics {
    /// Registers every family; `by_function`: with the names of functions.
    pub fn new(registry: &Registry, by_function: bool) -> Result<Self, prometheus::Error> {
        let counter = |name: &str, help: &str| {
            let c = IntCounter::new(format!("kipper_interceptor_{name}"), help)?;
            registry.register(Box::new(c.clone()))?;
            Ok::<_, prometheus::Error>(c)
        };
        let counters = |name: &str, help: &str, labels: &[&str]| {
            let c =
                IntCounterVec::new(Opts::new(format!("kipper_interceptor_{name}"), help), labels)?;
            registry.register(Box::new(c.clone()))?;
            Ok::<_, prometheus::Error>(c)
        };
        let gauge = |name: &str, help: &str| {
            let g = IntGauge::new(format!("kipper_interceptor_{name}"), help)?;
            registry.register(Box::new(g.clone()))?;
            Ok::<_, prometheus::Error>(g)
        };
        let wakes = Histogram::with_opts(
            HistogramOpts::new(
                "kipper_interceptor_cold_start_seconds",
                "From the first held request to a pod that can answer.",
            )
            .buckets(WAKE_BUCKETS.to_vec()),
        )?;
        registry.register(Box::new(wakes.clone()))?;
        let duration = Histogram::with_opts(
            HistogramOpts::new(
                "kipper_interceptor_request_duration_seconds",
                "From the request head to the end of the response.",
            )
            .buckets(DURATION_BUCKETS.to_vec()),
        )?;
        registry.register(Box::new(duration.clone()))?;
        Ok(Self {
            by_function,
            requests: counters(
                "requests_total",
                "Requests by function and class of the status code.",
                &["namespace", "function", "code"],
            )?,
            errors: counters(
                "errors_total",
                "Requests not answered by their function, by reason and side.",
                &["reason", "side"],
            )?,
            refused_answers: counters(
                "refused_answers_total",
                "Answers of pods that were not passed on, by function and the rule they broke.",
                &["namespace", "function", "rule"],
            )?,
            wakes,
            duration,
            connections: gauge("connections", "Open downstream connections.")?,
            buffered: gauge(
                "buffered_bytes",
                "Bytes that one side has sent and the other not taken: of heads, bodies and tunnels.",
            )?,
            contended_hosts: gauge(
                "contended_hosts",
                "Hosts that more than one function claims; the oldest gets the requests.",
            )?,
            connections_refused: counter(
                "connections_refused_total",
                "Downstream connections refused at the connection cap.",
            )?,
            upstream_connects: counter("upstream_connects_total", "Connections opened to pods.")?,
            replays: counter(
                "replays_total",
                "Requests sent again because no byte of them had reached a pod.",
            )?,
            probes: counter("probes_total", "Probes sent to pods that are not ready yet.")?,
            wake_fallbacks: counters(
                "wake_fallbacks_total",
                "Wakes that went past KEDA, by outcome: scaled, awake (somebody else was faster), failed.",
                &["outcome"],
            )?,
            access_log_dropped: counter(
                "access_log_dropped_total",
                "Lines of the access log dropped, because stdout was not read in time or failed.",
            )?,
            spans_dropped: counter(
                "spans_dropped_total",
                "Spans dropped, because the collector was too slow, failed or refused them.",
            )?,
        })
    }

    /// Counts an answer that did not come from a function.
    pub fn error(&self, error: ProxyError) {
        let side = match error.side() {
            crate::error::Side::Downstream => "downstream",
            crate::error::Side::Upstream => "upstream",
            crate::error::Side::Internal => "internal",
        };
        self.errors.with_label_values(&[error.reason(), side]).inc();
    }
}

/// What is held, read when somebody asks.
pub struct HeldGauges {
    held: Arc<Held>,
    requests: IntGauge,
    bytes: IntGauge,
}

impl HeldGauges {
    /// For what all functions hold together.
    pub fn new(held: &Arc<Held>) -> Result<Self, prometheus::Error> {
        let gauge =
            |name: &str, help: &str| IntGauge::new(format!("kipper_interceptor_{name}"), help);
        Ok(Self {
            held: Arc::clone(held),
            requests: gauge("held_requests", "Requests held for functions without a free pod.")?,
            bytes: gauge("held_bytes", "Bytes of held requests that are in memory, or may come.")?,
        })
    }
}

impl Collector for HeldGauges {
    fn desc(&self) -> Vec<&Desc> {
        [self.requests.desc(), self.bytes.desc()].concat()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let signed = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
        self.requests.set(signed(self.held.requests()));
        self.bytes.set(signed(self.held.bytes()));
        [self.requests.collect(), self.bytes.collect()].concat()
    }
}

/// Handles of one function, looked up once.
pub struct FunctionMetrics {
    metrics: Arc<Metrics>,
    id: FunctionId,
    classes: [OnceLock<IntCounter>; 5],
}

impl FunctionMetrics {
    /// The handles for `id`; a function without requests has no series.
    pub fn new(metrics: &Arc<Metrics>, id: &FunctionId) -> Self {
        Self { metrics: Arc::clone(metrics), id: id.clone(), classes: Default::default() }
    }

    /// Counts one answer.
    pub fn answered(&self, status: u16) {
        let class = usize::from((status / 100).clamp(1, 5) - 1);
        let Some(counter) = self.classes.get(class) else { return };
        let named = || {
            let code = ["1xx", "2xx", "3xx", "4xx", "5xx"].get(class).unwrap_or(&"");
            let [namespace, name] = self.labels();
            let labels = [namespace, name, code];
            self.metrics.requests.with_label_values(&labels)
        };
        counter.get_or_init(named).inc();
    }

    /// Counts one answer that was not passed on; `rule` is one of our own words.
    pub fn refused(&self, rule: &'static str) {
        let [namespace, name] = self.labels();
        self.metrics.refused_answers.with_label_values(&[namespace, name, rule]).inc();
    }

    /// Prometheus treats an empty label as absent.
    fn labels(&self) -> [&str; 2] {
        if self.metrics.by_function { [&self.id.namespace, &self.id.name] } else { ["", ""] }
    }

    /// Records one cold start, in microseconds.
    pub fn observe_wake(&self, us: u64) {
        self.metrics.wakes.observe(std::time::Duration::from_micros(us).as_secs_f64());
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn functions_have_series_of_their_own_unless_told_otherwise() {
        let series = |by_function| {
            let registry = Registry::new();
            let metrics = Arc::new(Metrics::new(&registry, by_function).unwrap());
            for name in ["hello", "other"] {
                let function = FunctionMetrics::new(&metrics, &FunctionId::new("shop", name));
                function.answered(200);
                function.refused("status");
            }
            let of = |name: &str| {
                let families = registry.gather();
                let family = families.iter().find(|family| family.name() == name).unwrap();
                let values =
                    family.get_metric().iter().map(|metric| metric.get_counter().get_value());
                values.collect::<Vec<_>>()
            };
            ["requests_total", "refused_answers_total"]
                .map(|name| of(&format!("kipper_interceptor_{name}")))
        };
        assert_eq!(series(true), [[1.0, 1.0], [1.0, 1.0]]);
        assert_eq!(series(false), [[2.0], [2.0]]);
    }
}
