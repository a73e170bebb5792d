//! Metrics of the bucket watcher. Labels are finite; nothing is labelled by bucket or function.

use kipper_bucket::Origin;
use prometheus::{IntCounter, IntCounterVec, IntGauge, Opts, Registry};

/// All of them; clones share their values.
#[derive(Clone)]
pub(crate) struct BucketMetrics {
    /// Buckets this adapter watches: 0 while it does not lead.
    pub(crate) watches: IntGauge,
    /// Of these, those that do not work now.
    pub(crate) troubled: IntGauge,
    /// What is held in memory for all of them.
    pub(crate) held_bytes: IntGauge,
    /// What may be.
    pub(crate) held_bytes_limit: IntGauge,
    /// Panics after which one bucket's task began anew.
    pub(crate) panics: IntCounter,
    /// By `source`: `webhook` or `diff`.
    events: IntCounterVec,
    /// By `outcome`: `ok` or `failed`.
    lists: IntCounterVec,
    /// By `status`: the answer's code.
    webhooks: IntCounterVec,
}

impl BucketMetrics {
    pub(crate) fn register(registry: &Registry) -> prometheus::Result<Self> {
        let counters = |name: &str, help: &str, label: &str| {
            let opts = Opts::new(format!("kipper_scaler_adapter_bucket_{name}"), help);
            let counters = IntCounterVec::new(opts, &[label])?;
            registry.register(Box::new(counters.clone()))?;
            prometheus::Result::Ok(counters)
        };
        let gauge = |name: &str, help: &str| {
            let gauge = IntGauge::new(format!("kipper_scaler_adapter_bucket_{name}"), help)?;
            registry.register(Box::new(gauge.clone()))?;
            prometheus::Result::Ok(gauge)
        };
        let panics = IntCounter::new(
            "kipper_scaler_adapter_bucket_panics_total",
            "Panics after which one bucket's task began anew.",
        )?;
        registry.register(Box::new(panics.clone()))?;
        Ok(Self {
            watches: gauge("watches", "Buckets this adapter watches; 0 while another one leads.")?,
            troubled: gauge("troubled", "Of the buckets this adapter watches, those that fail.")?,
            held_bytes: gauge("held_bytes", "Bytes held in memory for all buckets.")?,
            held_bytes_limit: gauge("held_bytes_limit", "Bytes that may be held for them.")?,
            panics,
            events: counters("events_total", "Bucket events stored.", "source")?,
            lists: counters("lists_total", "Lists of buckets taken.", "outcome")?,
            webhooks: counters("webhooks_total", "Notifications answered.", "status")?,
        })
    }

    pub(crate) fn stored(&self, origin: Origin, events: usize) {
        let source = match origin {
            Origin::Webhook => "webhook",
            Origin::Diff => "diff",
        };
        let events = u64::try_from(events).unwrap_or(u64::MAX);
        self.events.with_label_values(&[source]).inc_by(events);
    }

    pub(crate) fn listed(&self, succeeded: bool) {
        self.lists.with_label_values(&[if succeeded { "ok" } else { "failed" }]).inc();
    }

    pub(crate) fn answered(&self, status: http::StatusCode) {
        self.webhooks.with_label_values(&[status.as_str()]).inc();
    }
}
