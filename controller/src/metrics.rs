//! Counts of what the controller does.

use prometheus::{Histogram, HistogramOpts, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};

/// Seconds a reconcile may take: from a no-op to one that creates a database.
const BUCKETS: &[f64] = &[0.0005, 0.002, 0.01, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0];

/// The controller's metrics.
pub(crate) struct Metrics {
    applied: IntCounterVec,
    deleted: IntCounterVec,
    pub(crate) reconciles: IntCounterVec,
    pub(crate) duration: Histogram,
    pub(crate) leader: IntGauge,
    pub(crate) functions: IntGaugeVec,
    pub(crate) bindings: IntCounterVec,
}

impl Metrics {
    pub(crate) fn register(registry: &Registry) -> prometheus::Result<Self> {
        let counter = |name: &str, help: &str, label: &str| {
            let counter = IntCounterVec::new(Opts::new(name, help), &[label])?;
            registry.register(Box::new(counter.clone()))?;
            prometheus::Result::Ok(counter)
        };
        let applied = counter(
            "kipper_controller_applies_total",
            "Objects written by server-side apply.",
            "kind",
        )?;
        let deleted =
            counter("kipper_controller_deletes_total", "Objects that were not needed.", "kind")?;
        let reconciles = counter(
            "kipper_controller_reconciles_total",
            "Reconciles of a Function by how they ended: ok or error.",
            "result",
        )?;
        let bindings = counter(
            "kipper_controller_databases_total",
            "Databases of functions by what was done: created, dropped or failed.",
            "result",
        )?;
        let duration = Histogram::with_opts(
            HistogramOpts::new("kipper_controller_reconcile_seconds", "Length of a reconcile.")
                .buckets(BUCKETS.to_vec()),
        )?;
        let leader = IntGauge::new("kipper_controller_leader", "1 while this replica leads.")?;
        let functions = IntGaugeVec::new(
            Opts::new("kipper_controller_functions", "Functions by phase."),
            &["phase"],
        )?;
        registry.register(Box::new(duration.clone()))?;
        registry.register(Box::new(leader.clone()))?;
        registry.register(Box::new(functions.clone()))?;
        Ok(Self { applied, deleted, reconciles, duration, leader, functions, bindings })
    }

    pub(crate) fn applied(&self, kind: &str) {
        self.applied.with_label_values(&[kind]).inc();
    }

    pub(crate) fn deleted(&self, kind: &str) {
        self.deleted.with_label_values(&[kind]).inc();
    }
}
