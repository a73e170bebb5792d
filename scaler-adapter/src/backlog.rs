//! Events that wait for functions, as the adapter sees them: numbers, whoever counts them.

use tokio::sync::watch;

/// Counts the events that wait for each function. KEDA is answered from it, so it must not wait.
pub trait Backlog: Send + Sync {
    /// Events of the function that wait or are being handled; `None` while the number is unknown.
    fn count(&self, namespace: &str, function: &str) -> Option<u64>;

    /// Why the function gets no events, in one line; `None` where nothing is wrong as far as is known.
    fn trouble(&self, _namespace: &str, _function: &str) -> Option<String> {
        None
    }

    /// Receives every new count. `None` when as many functions are known as the limit allows.
    fn subscribe(&self, namespace: &str, function: &str) -> Option<watch::Receiver<Option<u64>>>;
}

#[cfg(feature = "bucket-watcher")]
impl Backlog for kipper_bucket_watcher::Pending {
    fn count(&self, namespace: &str, function: &str) -> Option<u64> {
        self.count(namespace, function)
    }

    fn trouble(&self, namespace: &str, function: &str) -> Option<String> {
        self.trouble(namespace, function)
    }

    fn subscribe(&self, namespace: &str, function: &str) -> Option<watch::Receiver<Option<u64>>> {
        self.subscribe(namespace, function)
    }
}
