//! The contract of event triggers: what controller, poller, scaler-adapter, CLI and `kip dev` have
//! to agree on, and nothing else.
//!
//! A trigger's `config` is a map of texts. [`Setting`] names its keys with bounds and defaults,
//! [`EventTrigger`] reads it, [`Sidecar`] turns it into the variables a poller is started with,
//! [`SecretKey`] and [`BucketSecret`] name what stands in Secrets, [`url`] encodes parts of a source's URL, [`token`] says who is believed, and [`scaler`] is what KEDA hands
//! to the scaler-adapter. [`Count`] and [`CONNECTED`] are what a poller says to a program that starts
//! it. Everything here is a pure function of its arguments; no module reads a
//! clock, the environment, a file or the network, and none depends on a process.

#![warn(missing_docs)]

mod bucket;
pub mod drain;
pub mod duration;
mod event;
mod kind;
pub mod redis;
mod report;
pub mod scaler;
mod secret;
mod setting;
pub mod shard;
mod sidecar;
mod sql;
pub mod token;
pub mod url;
mod variable;

pub use bucket::{BucketSecret, BucketSecretError, DEFAULT_STATE_BUCKET};
pub use event::{EventTrigger, Problem};
pub use kind::Kind;
pub use report::{CONNECTED, Count, backlog_path, of_backlog_path, one_line};
pub use secret::{SecretKey, Values};
pub use setting::{ListEnd, Setting, defaults};
pub use sidecar::{CA_DIRECTORY, CA_FILE, DEFAULT_HEALTH_PATH, Sidecar, Value, target_url};
pub use variable::Variable;
