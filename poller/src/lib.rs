//! Kipper's poller: events of a source in, `POST /event` to the function of the same pod out.
//!
//! The flow is claim → deliver → complete, and the modules stand in that order. `retry` and
//! `pace` are pure; `dispatcher`, `completer` and `rescuer` decide and do nothing; `poller` is
//! the loop that carries their decisions out. Nothing is stored: what a pod does not finish is
//! claimed by another one.

pub mod config;
pub mod error;
mod metrics;
mod summary;

pub mod source;

mod dispatcher;
mod pace;
mod retry;

pub mod target;

mod completer;
mod reach;
mod rescuer;

pub mod drain;
mod identity;

mod backlog;
mod reporter;

mod poller;

mod run;

mod bound;
mod count;
mod embedded;

pub use backlog::Backlog;
pub use bound::{Bound, bound};
pub use config::Config;
pub use count::{Looks, count};
pub use embedded::{check, run_embedded};
pub use error::Error;
pub use identity::Identity;
pub use metrics::Metrics;
pub use poller::{Poller, Settings};
pub use reach::Reach;
pub use run::run;
