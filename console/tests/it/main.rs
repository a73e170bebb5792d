//! The console of a cluster over HTTP, against an API server whose every answer the test gives.
#![allow(clippy::unwrap_used)]

mod cluster;
mod oidc;
mod page;
mod process;
mod provider;
mod sessions;
