//! kipper-controller: makes the cluster look as each Function says.
//!
//! watch → gather → render → apply → report. The modules stand in that order; `render` is pure,
//! everything that talks to the API server is before or after it. Replicas are KEDA's: nothing
//! here writes them once a Deployment exists.

pub mod config;
mod metrics;

pub mod plan;

mod cache;
mod claim;
mod digest;
mod pods;
mod runs;
mod scrape;
mod watch;

mod namespaces;

pub mod bindings;
mod burst;
mod credentials;
mod gather;
mod trigger;

mod check;

mod hosts;

pub mod render;

mod apply;

mod history;

mod status;

mod deliveries;

mod observe;

mod reconcile;

mod certificates;
pub mod process;
pub mod release;
