//! Waiting for an object, or for many, by watch. Every wait has a bound and says what it waited
//! for; an API server that is away in between is waited for too.

use std::{collections::HashSet, fmt::Debug, time::Duration};

use anyhow::Context as _;
use futures_util::{StreamExt as _, stream::BoxStream};
use kube::{
    Api, Resource, ResourceExt as _,
    api::{DeleteParams, PropagationPolicy},
    runtime::{
        WatchStreamExt as _,
        watcher::{self, Event, watch_object},
    },
};
use serde::{Serialize, de::DeserializeOwned};

/// What can be waited for.
pub trait Watched:
    Resource + Clone + Debug + Send + Serialize + DeserializeOwned + 'static
{
}
impl<K> Watched for K where
    K: Resource + Clone + Debug + Send + Serialize + DeserializeOwned + 'static
{
}

/// Resolves with the object once `condition` holds for it; it is given `None` while there is no
/// such object.
pub async fn object<K: Watched>(
    api: &Api<K>,
    name: &str,
    patience: Duration,
    mut condition: impl FnMut(Option<&K>) -> bool,
) -> Result<Option<K>, anyhow::Error> {
    let mut last = None;
    let waiting = async {
        let mut states = watch_object(api.clone(), name).default_backoff().boxed();
        while let Some(state) = states.next().await {
            let Ok(state) = state else { continue };
            if condition(state.as_ref()) {
                return Ok(state);
            }
            last = state;
        }
        anyhow::bail!("the watch of {name} ended")
    };
    match tokio::time::timeout(patience, waiting).await {
        Ok(found) => found,
        Err(_) => anyhow::bail!("{name} after {} s: {}", patience.as_secs(), state(&last)),
    }
}

/// Resolves once `condition` holds for `count` objects at the same time.
pub async fn objects<K: Watched>(
    api: &Api<K>,
    count: usize,
    patience: Duration,
    condition: impl Fn(&K) -> bool,
) -> Result<(), anyhow::Error> {
    let mut met = HashSet::new();
    let mut last = None;
    let waiting = async {
        let mut events = events(api);
        while let Some(event) = events.next().await {
            match event {
                Event::Init => met.clear(),
                Event::Apply(object) | Event::InitApply(object) => {
                    let name = object.name_any();
                    if condition(&object) {
                        met.insert(name);
                    } else {
                        met.remove(&name);
                        last = Some(object);
                    }
                }
                Event::Delete(object) => {
                    met.remove(&object.name_any());
                }
                Event::InitDone => {}
            }
            if met.len() >= count {
                return;
            }
        }
    };
    if tokio::time::timeout(patience, waiting).await.is_err() {
        let (met, patience) = (met.len(), patience.as_secs());
        anyhow::bail!(
            "only {met} of {count} after {patience} s, one of the rest: {}",
            state(&last)
        );
    }
    Ok(())
}

/// Events of every object, without end; failed watches are begun again.
pub fn events<K: Watched>(api: &Api<K>) -> BoxStream<'static, Event<K>> {
    watcher::watcher(api.clone(), watcher::Config::default())
        .default_backoff()
        .filter_map(async |event| event.ok())
        .boxed()
}

/// Asks for a deletion; it is fine when there is nothing to delete.
pub async fn deleted<K>(api: &Api<K>, name: &str) -> Result<(), anyhow::Error>
where
    K: Clone + Debug + DeserializeOwned,
{
    let params = DeleteParams {
        propagation_policy: Some(PropagationPolicy::Background),
        ..DeleteParams::default()
    };
    match api.delete(name, &params).await {
        Ok(_) => Ok(()),
        Err(error) if is_not_found(&error) => Ok(()),
        Err(error) => Err(error).with_context(|| format!("delete {name}")),
    }
}

/// Whether the API server said that there is no such object.
pub fn is_not_found(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 404)
}

/// The status of an object, for a message.
fn state<K: Serialize>(object: &Option<K>) -> String {
    let value = serde_json::to_value(object).unwrap_or_default();
    match value.get("status") {
        Some(status) => status.to_string(),
        None if value.is_null() => "does not exist".to_owned(),
        None => "exists".to_owned(),
    }
}
