//! How much of the adapter's memory each function and each namespace may have.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use kipper_bucket::Budget;

use crate::trigger::BucketTrigger;

/// Namespaces share the whole so that two of them always fit.
const NAMESPACE_SHARE: usize = 2;
/// Functions, so that four of them do.
const FUNCTION_SHARE: usize = 4;
/// The part of the whole that notifications on their way have.
const WEBHOOK_SHARE: usize = 8;

/// What is held for all buckets. Clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct Memory {
    whole: Budget,
    webhook: Budget,
    namespaces: Arc<Mutex<HashMap<String, Budget>>>,
}

impl Memory {
    pub(crate) fn new(limit: usize) -> Self {
        let whole = Budget::new("all buckets", limit);
        let webhook = whole.share("notifications of buckets", limit / WEBHOOK_SHARE);
        Self { whole, webhook, namespaces: Arc::default() }
    }

    /// Bytes that are held.
    pub(crate) fn held(&self) -> usize {
        self.whole.held()
    }

    /// Bytes that may be held.
    pub(crate) fn limit(&self) -> usize {
        self.whole.limit()
    }

    /// Notifications that are being read, of everybody.
    pub(crate) fn webhook(&self) -> &Budget {
        &self.webhook
    }

    /// What one function may have, as a part of what its namespace may.
    pub(crate) fn of(&self, trigger: &BucketTrigger) -> Budget {
        let limit = self.whole.limit();
        let namespace = &trigger.namespace;
        let mut namespaces = self.namespaces.lock().unwrap_or_else(PoisonError::into_inner);
        // Budgets of namespaces without a function are made anew when there is one again.
        namespaces.retain(|_, budget| budget.is_shared());
        let budget = namespaces.entry(namespace.clone()).or_insert_with(|| {
            self.whole
                .share(format!("the buckets of namespace {namespace}"), limit / NAMESPACE_SHARE)
        });
        let function = format!("the bucket of {namespace}/{}", trigger.function);
        budget.share(function, limit / FUNCTION_SHARE)
    }
}
