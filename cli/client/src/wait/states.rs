//! The states of an object, one after the other, from the moment they are asked for.

use std::fmt::Debug;

use futures_util::{Stream, StreamExt as _};
use kipper_function::Function;
use kube::{Api, Resource};
use serde::de::DeserializeOwned;

use crate::{
    ApiError,
    error::Patience,
    functions::{Functions, what},
};

/// Each state of a Function from now on; `None` where there is none.
pub fn states(
    functions: &Functions,
    name: &str,
    patience: Patience,
) -> impl Stream<Item = Result<Option<Function>, ApiError>> + use<> {
    let namespace = functions.namespace().to_owned();
    watched(functions.watched(), name, what(name), namespace, patience)
}

/// Each state of an object from now on; `None` where there is none.
pub(super) fn watched<K>(
    api: Api<K>,
    name: &str,
    what: String,
    namespace: String,
    patience: Patience,
) -> impl Stream<Item = Result<Option<K>, ApiError>> + use<K>
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    kipper_kubernetes::states(api, name, patience.gives_up())
        .map(move |seen| seen.map_err(|error| ApiError::read(error, &what, &namespace)))
}
