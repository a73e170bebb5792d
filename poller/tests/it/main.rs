//! The poller against real servers and a real handler on loopback.
#![allow(clippy::unwrap_used)]

mod bound;
mod contract;
mod function;
mod minio;
mod mysql;
mod poller;
mod postgres;
mod redis;
mod scenario;
mod table;
mod wait;
