//! The interceptor on real sockets: every stage together, one in-process data plane per test, pods
//! and clients that say exactly the bytes the test wants.
//!
//! Tests wait for conditions with a generous deadline, never for time to pass.
#![allow(clippy::unwrap_used)]

mod support;

mod admin;
mod buffers;
mod drain;
mod early;
mod faults;
mod fleet;
mod forward;
mod framing;
mod hold;
mod http2;
mod observe;
mod suites;
mod table;
mod tls;
mod upgrade;

mod kubernetes;
mod watches;
