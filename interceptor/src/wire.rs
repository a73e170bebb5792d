//! What both protocols stand on: byte streams, buffers and their budget, timers, and the two
//! directions of an HTTP/2 stream.

pub(crate) mod budget;
pub(crate) mod buffer;
pub(crate) mod inbox;
pub(crate) mod io;
pub(crate) mod keepalive;
pub(crate) mod outbox;
pub(crate) mod tcp;
pub(crate) mod timer;
