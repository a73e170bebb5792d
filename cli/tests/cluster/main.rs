//! `kip function` and `kip volume` on a real Kubernetes, typed as a user types them: the built binary
//! and nothing else.
//!
//! As with the controller's tests, each works in a namespace of its own in the cluster that KUBECONFIG
//! points at, and fails where there is none.
#![allow(clippy::unwrap_used)]

mod apply;
mod edits;
mod ingress;
mod kip;
mod life;
mod loki;
mod page;
mod readme;
mod refused;
mod rights;
mod runs;
mod schemas;
mod secrets;
mod terminal;
mod volumes;

// The cluster as the controller's tests see it, which use more of it.
#[path = "../../../controller/tests/cluster/bridge.rs"]
mod bridge;
#[allow(dead_code)]
#[path = "../../../controller/tests/cluster/http.rs"]
mod http;
#[allow(dead_code)]
#[path = "../../../controller/tests/cluster/names.rs"]
mod names;
#[allow(dead_code)]
#[path = "../../../controller/tests/cluster/objects.rs"]
mod objects;
#[allow(dead_code)]
#[path = "../../../controller/tests/cluster/sandbox.rs"]
mod sandbox;
#[allow(dead_code)]
#[path = "../../../controller/tests/cluster/wait.rs"]
mod wait;
