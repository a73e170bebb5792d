//! The states of an object, one after the other, from the moment they are asked for.

use std::fmt::Debug;

use futures_util::{Stream, StreamExt as _};
use kipper_function::Function;
use kube::{
    Api, Resource,
    runtime::{
        WatchStreamExt as _,
        watcher::{self, watch_object},
    },
};
use serde::de::DeserializeOwned;

use crate::{
    ApiError,
    functions::{Functions, what},
};

/// Each state of a Function from now on; `None` where there is none.
pub(super) fn states(
    functions: &Functions,
    name: &str,
) -> impl Stream<Item = Result<Option<Function>, ApiError>> + use<> {
    watched(functions.watched(), name, what(name), functions.namespace().to_owned())
}

/// Each state of an object from now on; `None` where there is none.
pub(super) fn watched<K>(
    api: Api<K>,
    name: &str,
    what: String,
    namespace: String,
) -> impl Stream<Item = Result<Option<K>, ApiError>> + use<K>
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    watch_object(api, name).default_backoff().filter_map(move |seen| {
        let state = match seen {
            Ok(object) => Some(Ok(object)),
            Err(error) => fatal(error, &what, &namespace).map(Err),
        };
        std::future::ready(state)
    })
}

/// An error of a watch that will not pass; the others are tried again, with a pause.
fn fatal(error: watcher::Error, what: &str, namespace: &str) -> Option<ApiError> {
    use watcher::Error;
    let source = match error {
        Error::InitialListFailed(source) | Error::WatchStartFailed(source) => source,
        _ => return None,
    };
    let error = ApiError::read(source, what, namespace);
    matches!(error, ApiError::Forbidden(_) | ApiError::Unauthorized | ApiError::NotInstalled(_))
        .then_some(error)
}
