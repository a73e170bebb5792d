//! What is said of a list that is empty: that there is nothing, or no namespace it could be in.

use kipper_client::{Connection, namespaces};

use crate::output::{self, Format};

/// Says that a namespace has no `things`, `functions`, or does not exist itself, where the user may
/// know that. For programs an empty list says the former.
pub(crate) async fn note(things: &str, connection: &Connection, format: Option<Format>) {
    let namespace = &connection.namespace;
    if namespaces::exists(connection).await == Some(false) {
        output::note(format!("warning: namespace {namespace} does not exist"));
    } else if format.is_none() {
        output::note(format!("no {things} found in namespace {namespace}"));
    }
}
