//! The console of a cluster over HTTP, against an API server whose every answer the test gives.
#![allow(clippy::unwrap_used)]

mod sessions;
