//! HTTP/2 towards clients: connections and streams, framed by h2.
//!
//! `connection` accepts streams within bounds, and `stream` is one request. A client that resets a
//! stream or closes the connection ends the stream's request, and with it its place in the queue
//! or its lease.

pub(crate) mod connection;
mod stream;
