//! The assistant against a provider of the test, over real sockets, in all three protocols.
#![allow(clippy::unwrap_used)]

mod support;

mod addresses;
mod estimates;
mod examples;
mod faults;
mod reply;
mod secrecy;
mod tls;
