//! How this process watches: more impatiently than others, because a wake is blind until a watch that
//! broke is back.

use std::{fmt::Debug, time::Duration};

use kipper_kubernetes::{Mirror, Settings};
use kipper_process::backoff::Backoff;
use kube::{Api, Resource};
use serde::de::DeserializeOwned;

use crate::source::SourceError;

/// Pauses after failures.
const BACKOFF: Backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(10));
/// A connection that died silently is noticed five seconds after this: within the default cold-start
/// deadline, so a request held meanwhile is still answered.
const WATCH_TIMEOUT: Duration = Duration::from_secs(30);

/// Follows `api` until dropped. `selector` is a label selector; empty selects everything.
pub(super) async fn follow<K, M>(api: Api<K>, selector: &str, mirror: M) -> Result<(), SourceError>
where
    K: Resource + Clone + Debug + DeserializeOwned + Send + 'static,
    M: Mirror<K>,
{
    let settings =
        Settings { watch_timeout: WATCH_TIMEOUT, backoff: BACKOFF, ..Settings::labels(selector) };
    let ended = kipper_kubernetes::follow(api, settings, mirror).await;
    ended.map(|never| match never {}).map_err(|error| SourceError::Kubernetes(Box::new(error)))
}
