//! `kip function`, `kip service` and `kip volume` on a real Kubernetes, typed as a user types them: the built binary
//! and nothing else.
//!
//! As with the controller's tests, each works in a namespace of its own in the cluster that KUBECONFIG
//! points at, and fails where there is none.
#![allow(clippy::unwrap_used)]

mod answers;
mod apply;
mod ask;
mod console;
mod edits;
mod folders;
mod guide;
mod history;
mod ingress;
mod kip;
mod kubectl;
mod life;
mod loki;
mod page;
mod readme;
mod refused;
mod rights;
mod runs;
mod schemas;
mod secrets;
mod services;
mod terminal;
mod volumes;
