//! Functions on a real Kubernetes with real KEDA: what a user applies and what comes of it.
//!
//! Every test works in a namespace of its own and removes it, however it ends. They need the
//! cluster that KUBECONFIG points at (`deploy/local-cluster`), with the chart and the images in it;
//! without one they fail and say so. Nothing here measures time: a wait ends when its condition
//! holds, or fails long after it should have.
#![allow(clippy::unwrap_used)]

mod admission;
mod bindings;
mod broken;
mod changes;
mod cron;
mod deletion;
mod disturbing;
mod drift;
mod events;
mod history;
mod hosts;
mod recorder;
mod replicas;
mod rights;
// Shared with the tests of the bindings alone, which use more of it.
#[allow(dead_code)]
#[path = "../it/servers.rs"]
mod servers;
mod serving;
