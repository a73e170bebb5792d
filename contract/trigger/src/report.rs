//! What `kipper-poll` says to a program that starts it, as `kip dev` does.

use serde::{Deserialize, Serialize};

/// Message of the line in the poller's log once it has connected to its source.
pub const CONNECTED: &str = "connected to the source";

/// A line of `kipper-poll count`, as JSON: what one look at the source showed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Count {
    /// So many events wait, the bound of counting at most.
    Waiting(u64),
    /// The source cannot be reached, or refuses to answer now. It is asked again.
    Unavailable(String),
    /// The trigger cannot work as it is configured.
    Invalid(String),
}
