//! Metrics of the adapter. Labels are finite; nothing is labelled by function or interceptor.

use prometheus::{IntCounter, IntCounterVec, IntGauge, Opts, Registry};

/// All metrics; clones share their values.
#[derive(Clone)]
pub(crate) struct Metrics {
    pub(crate) functions: IntGauge,
    pub(crate) refused_functions: IntCounter,
    pub(crate) interceptors: IntGauge,
    pub(crate) reports: IntCounter,
    pub(crate) refused_reports: IntCounter,
    pub(crate) requests: IntCounter,
    pub(crate) keda_streams: IntGauge,
    /// By `kind`: `edge` or `resend`.
    pub(crate) wakes: IntCounterVec,
    /// By `method` and `outcome`.
    pub(crate) calls: IntCounterVec,
    /// By `outcome`.
    pub(crate) asks: IntCounterVec,
    pub(crate) asked_replicas: IntCounter,
    /// By `code`.
    pub(crate) backlogs: IntCounterVec,
    pub(crate) burst_allowed: IntGauge,
}

impl Metrics {
    pub(crate) fn register(registry: &Registry) -> prometheus::Result<Self> {
        let gauge = |name: &str, help: &str| {
            let gauge = IntGauge::new(format!("kipper_scaler_adapter_{name}"), help)?;
            registry.register(Box::new(gauge.clone()))?;
            prometheus::Result::Ok(gauge)
        };
        let counter = |name: &str, help: &str| {
            let counter = IntCounter::new(format!("kipper_scaler_adapter_{name}"), help)?;
            registry.register(Box::new(counter.clone()))?;
            prometheus::Result::Ok(counter)
        };
        let counters = |name: &str, help: &str, labels: &[&str]| {
            let opts = Opts::new(format!("kipper_scaler_adapter_{name}"), help);
            let counters = IntCounterVec::new(opts, labels)?;
            registry.register(Box::new(counters.clone()))?;
            prometheus::Result::Ok(counters)
        };
        Ok(Self {
            functions: gauge("functions", "Functions known to this adapter.")?,
            refused_functions: counter(
                "refused_functions_total",
                "Counts and streams of functions beyond the limit of known functions.",
            )?,
            interceptors: gauge("interceptors", "Interceptors with a counts stream.")?,
            reports: counter("reports_total", "Counts reports taken in.")?,
            refused_reports: counter(
                "refused_reports_total",
                "Counts streams ended with an error.",
            )?,
            requests: counter(
                "requests_total",
                "Requests to functions, as reported by the fleet.",
            )?,
            keda_streams: gauge("keda_streams", "Open StreamIsActive streams.")?,
            wakes: counters("wakes_total", "Activations pushed to KEDA.", &["kind"])?,
            calls: counters("calls_total", "Calls by KEDA.", &["method", "outcome"])?,
            asks: counters(
                "burst_looks_total",
                "Looks at a function that may need replicas ahead of the HPA, by what came of it: \
                 `asked` for more, `enough` there, `asleep` at zero, `changing`, `stuck` without pods, \
                 `raced` by somebody else, `limited` by the budget, `refused` by a policy, `gone`, \
                 `forbidden`, `failed`.",
                &["outcome"],
            )?,
            asked_replicas: counter(
                "burst_replicas_total",
                "Replicas asked for ahead of the HPA.",
            )?,
            backlogs: counters(
                "backlog_reports_total",
                "Reports of pollers that events wait for their function, by status code.",
                &["code"],
            )?,
            burst_allowed: gauge(
                "burst_allowed",
                "1 while functions may be scaled ahead of the HPA, 0 where a right or the policy is \
                 missing.",
            )?,
        })
    }
}
