//! HTTP/1.1 as a proxy needs it: strict heads, exact framing, small buffers.
//!
//! The data plane owns this code because the cost per request, the memory of a held request and
//! the replay rule ("no byte reached a pod") all depend on seeing every byte. `head` and `body`
//! are pure; `buffer` and `io` touch sockets; `connection` is one downstream connection and
//! `exchange` one request on it.

pub mod body;
pub(crate) mod buffer;
pub(crate) mod connection;
pub(crate) mod exchange;
pub mod field;
pub mod head;
pub(crate) mod io;
pub(crate) mod request;

pub(crate) mod timer;
pub(crate) mod tunnel;

pub use timer::Limits;
