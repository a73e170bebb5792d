//! The poller against real servers and a real handler on loopback.
#![allow(clippy::unwrap_used)]

mod function;
mod minio;
mod poller;
mod postgres;
mod wait;
