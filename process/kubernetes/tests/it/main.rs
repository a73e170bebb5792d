//! Watches and elections against an API server whose every answer the test gives.
#![allow(clippy::unwrap_used)]

mod election;
mod follow;
