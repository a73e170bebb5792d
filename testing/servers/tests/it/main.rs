//! Every server starts, answers, keeps its data over its restart, and is gone after its drop.
#![allow(clippy::unwrap_used)]

mod guard;
mod mariadb;
mod minio;
mod pgbouncer;
mod postgres;
mod proxy;
mod redis;
mod sentinel;
mod support;
