//! Metrics of the reporter.

use prometheus::{IntCounter, IntGauge, Registry};

/// Metrics of the reporter; clones share their values.
#[derive(Clone)]
pub struct ReporterMetrics {
    pub(super) streams: IntGauge,
    pub(super) reports: IntCounter,
    pub(super) reconnects: IntCounter,
}

impl ReporterMetrics {
    /// Creates and registers them.
    ///
    /// # Errors
    /// When the registry holds one of the names already.
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let metrics = Self {
            streams: IntGauge::new(
                "kipper_interceptor_counts_streams",
                "Open counts streams to scaler-adapters.",
            )?,
            reports: IntCounter::new(
                "kipper_interceptor_counts_reports_total",
                "Counts reports sent to scaler-adapters.",
            )?,
            reconnects: IntCounter::new(
                "kipper_interceptor_counts_reconnects_total",
                "Counts streams that failed or ended and are opened again.",
            )?,
        };
        registry.register(Box::new(metrics.streams.clone()))?;
        registry.register(Box::new(metrics.reports.clone()))?;
        registry.register(Box::new(metrics.reconnects.clone()))?;
        Ok(metrics)
    }
}
