//! What was reported of a Function, as Kubernetes Events. They are kept for an hour or so.

use k8s_openapi::api::core::v1::Event;
use kipper_function::Timestamp;
use kube::{Api, api::ListParams};

use crate::{ApiError, Connection};

/// Events of one function that are looked at.
const MAX_EVENTS: u32 = 500;

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reported {
    /// When it was seen last.
    pub time: Option<Timestamp>,
    /// `Normal` or `Warning`.
    pub type_: String,
    /// In one word.
    pub reason: String,
    /// The rest.
    pub message: String,
}

/// The Events about a function, oldest first.
///
/// # Errors
/// Whatever the cluster says.
pub async fn about(connection: &Connection, function: &str) -> Result<Vec<Reported>, ApiError> {
    let api: Api<Event> = Api::namespaced(connection.client.clone(), &connection.namespace);
    let fields = format!("involvedObject.kind=Function,involvedObject.name={function}");
    let listed = api.list(&ListParams::default().fields(&fields).limit(MAX_EVENTS)).await;
    let listed = listed.map_err(|error| ApiError::read(error, "events", &connection.namespace))?;
    let mut found: Vec<_> = listed.items.into_iter().map(reported).collect();
    found.sort_by_key(|event| event.time);
    Ok(found)
}

fn reported(event: Event) -> Reported {
    // Which of its times an Event has depends on who wrote it.
    let last = event.series.and_then(|series| series.last_observed_time).map(|time| time.0);
    let time = last
        .or(event.last_timestamp.map(|time| time.0))
        .or(event.event_time.map(|time| time.0))
        .or(event.metadata.creation_timestamp.map(|time| time.0));
    Reported {
        time,
        type_: event.type_.unwrap_or_default(),
        reason: event.reason.unwrap_or_default(),
        message: event.message.unwrap_or_default(),
    }
}
