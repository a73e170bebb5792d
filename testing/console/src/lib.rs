//! What every backend of the console does, checked over HTTP: `kip dev` and a cluster must not differ.
//!
//! A test starts a console, gives its URL to [`Console`], and runs [`check`] in a namespace of its own.
//! Whatever is not as `console/docs/api.md` says panics.
#![allow(clippy::unwrap_used)]

mod client;
mod contract;

pub use client::{Console, Reply, Stream};
pub use contract::check;
