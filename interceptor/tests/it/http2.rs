//! HTTP/2 with clients and with pods: streams, trailers, flow control, and what hostile peers
//! send.

mod client;
mod early;
mod frames;
mod hostile;
mod pods;
mod streams;

pub(crate) use client::{Client, answer, read, request, write};
