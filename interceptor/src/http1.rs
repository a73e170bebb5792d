//! HTTP/1.1 towards clients: strict heads, exact framing, small buffers.
//!
//! The data plane owns this code because the cost per request, the memory of a held request and
//! the replay rule ("no byte reached a pod") all depend on seeing every byte. `connection` is one
//! connection between its requests, `call` one request on it, and `tunnel` what an upgrade leads to.

mod call;
pub(crate) mod connection;
mod tunnel;
