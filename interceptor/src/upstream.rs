//! Connections to pods: opened, kept while idle, and retired before the pod would close them.
//!
//! An `endpoint` owns its address, its load and its connections; a worker's `pool` finds the idle
//! one. Each worker has its own idle list per endpoint, so taking one is uncontended. A connection
//! goes back only after a cleanly framed exchange. `http1` and `http2` speak to a pod behind one
//! trait, `pod`. This stage never decides whether a request may be sent again; it only says whether
//! anything of it was processed.

pub(crate) mod dial;
pub mod endpoint;
pub(crate) mod http1;
pub mod http2;
pub(crate) mod pod;
pub(crate) mod pool;
