//! The contract of event triggers: settings with bounds and defaults, variables of the sidecar, keys of the Secret.

mod report;

pub use report::{CONNECTED, Count};
