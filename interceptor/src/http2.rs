//! HTTP/2 towards clients: connections and streams, framed by h2.
//!
//! `connection` accepts streams within bounds, and `stream` is one request. A client that resets a
//! stream or closes the connection ends the stream's request, and with it its place in the queue
//! or its lease.
//!
//! What h2 cannot decode (an upper-case name, a line end in a value) ends the connection with all of its
//! streams, where a stream error would do (RFC 9113 section 8.1.1); pseudo-header fields of trailers it
//! leaves out instead of refusing them. It lets nobody else decide either, and neither reaches a pod.

pub(crate) mod connection;
mod stream;

pub use self::stream::view;
