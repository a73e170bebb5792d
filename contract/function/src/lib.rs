//! What controller, interceptor, CLI and console must agree on.
//!
//! The resource types as they are stored, and the rules that give two processes the same answer
//! to the same question: which host a function has, what its objects are called, when its
//! schedule fires. Everything here is a pure function of its arguments; no module reads a clock,
//! the environment, a file or the network, and none depends on a process.

#![warn(missing_docs)]

pub mod code;
pub mod cron;
mod dependency;
pub mod env_name;
pub mod function;
pub mod host;
mod kinds;
pub mod manifest;
pub mod names;
pub mod quantity;
pub mod revision;
pub mod route;
pub mod service;
pub mod start;
pub mod suggest;
pub mod test_run;
mod words;

pub use function::{Function, FunctionSpec, FunctionStatus};
pub use service::{Service, ServiceSpec};

/// Time type of this crate's interfaces, re-exported so that callers need no version of their own.
pub use k8s_openapi::jiff::{Timestamp, Zoned};
