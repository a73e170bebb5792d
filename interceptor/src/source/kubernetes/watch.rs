//! One watch, kept up for ever.
//!
//! Turns the events of a kube watcher into calls on a [`Mirror`] and retries whatever fails, with
//! a bounded delay. It never clears a mirror: what was seen last stays until a complete list says
//! otherwise.

use std::{fmt::Debug, pin::pin, time::Duration};

use futures_util::StreamExt;
use kube::{
    Api, Resource,
    runtime::watcher::{self, Config, Event, watcher},
};
use serde::de::DeserializeOwned;

use crate::source::SourceError;

/// Delay after the first failure. Short, because a wake is blind until the watch is back.
const MIN_RETRY_DELAY: Duration = Duration::from_millis(100);
/// Longest delay between two tries.
const MAX_RETRY_DELAY: Duration = Duration::from_secs(10);
/// How long the server keeps one watch open. A connection that died silently is noticed five
/// seconds after this: within the default cold-start deadline, so a request held meanwhile is
/// still answered. Resuming a watch is cheap for the server.
const WATCH_TIMEOUT_SECS: u32 = 30;
/// Objects per page of a list.
const PAGE_SIZE: u32 = 500;

/// What follows a watch.
pub(super) trait Mirror<K>: Send {
    /// A list begins; what it brings replaces everything once it is complete.
    fn begin(&mut self);
    /// One object of the list.
    fn list(&mut self, object: K);
    /// The list is complete.
    fn complete(&mut self);
    /// One object was added or changed.
    fn apply(&mut self, object: K);
    /// One object is gone.
    fn delete(&mut self, object: K);
}

/// Follows `api` until dropped. `selector` is a label selector; empty selects everything.
pub(super) async fn follow<K, M>(
    api: Api<K>,
    selector: &str,
    mut mirror: M,
) -> Result<(), SourceError>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static,
    M: Mirror<K>,
{
    let mut config = Config::default().timeout(WATCH_TIMEOUT_SECS).page_size(PAGE_SIZE);
    if !selector.is_empty() {
        config = config.labels(selector);
    }
    let resource = K::plural(&()).into_owned();
    let mut failures = 0;
    loop {
        let mut events = pin!(watcher(api.clone(), config.clone()));
        while let Some(event) = events.next().await {
            let error = match event {
                Ok(event) => {
                    if dispatch(event, &mut mirror) {
                        failures = 0;
                    }
                    continue;
                }
                Err(error) => error,
            };
            let delay = retry_delay(failures, fastrand::f64());
            failures = failures.saturating_add(1);
            let delay_ms = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
            tracing::warn!(resource, %error, delay_ms, "watch failed, serving the last snapshot");
            tokio::time::sleep(delay).await;
            if must_list_again(&error) {
                break;
            }
        }
    }
}

/// Passes one event on. True when the server answered: the beginning of a list is only our own
/// intention, so it does not count.
fn dispatch<K>(event: Event<K>, mirror: &mut impl Mirror<K>) -> bool {
    match event {
        Event::Init => {
            mirror.begin();
            return false;
        }
        Event::InitApply(object) => mirror.list(object),
        Event::InitDone => mirror.complete(),
        Event::Apply(object) => mirror.apply(object),
        Event::Delete(object) => mirror.delete(object),
    }
    true
}

/// True when the server refuses to resume from where we were. The watcher lists again by itself
/// when 410 comes as an event, but retries for ever when it is the answer to the request.
fn must_list_again(error: &watcher::Error) -> bool {
    matches!(error, watcher::Error::WatchStartFailed(kube::Error::Api(status)) if status.code == 410)
}

/// Doubles from [`MIN_RETRY_DELAY`] to [`MAX_RETRY_DELAY`]; `jitter` in 0..1 takes up to half off,
/// so that a fleet does not return all at once.
fn retry_delay(failures: u32, jitter: f64) -> Duration {
    let factor = 1u32.checked_shl(failures.min(16)).unwrap_or(u32::MAX);
    MIN_RETRY_DELAY.saturating_mul(factor).min(MAX_RETRY_DELAY).mul_f64(1.0 - jitter / 2.0)
}

#[cfg(test)]
mod tests {
    use super::{MAX_RETRY_DELAY, MIN_RETRY_DELAY, retry_delay};

    #[test]
    fn retries_are_delayed_within_bounds() {
        assert_eq!(retry_delay(0, 0.0), MIN_RETRY_DELAY);
        assert_eq!(retry_delay(1, 0.0), MIN_RETRY_DELAY * 2);
        assert_eq!(retry_delay(u32::MAX, 0.0), MAX_RETRY_DELAY);
        assert!(retry_delay(0, 0.999) >= MIN_RETRY_DELAY / 2);
        assert!(retry_delay(u32::MAX, 0.999) >= MAX_RETRY_DELAY / 2);
    }
}
