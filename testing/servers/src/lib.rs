//! Real servers for tests, benches and load tests: each in a temporary directory of its own, on
//! free loopback ports, with TLS, and stopped however this process ends.
//!
//! Every start blocks until the server answers, or says what is missing and how to install it. What
//! all servers have in common is [`Server`], to which each of them dereferences. This is a leaf
//! crate: no product code depends on it, and it depends on none. It never touches a server that it
//! did not start.

#![warn(missing_docs)]

mod credentials;
mod error;
mod guard;
pub mod loki;
pub mod mariadb;
pub mod minio;
pub mod pgbouncer;
mod ports;
pub mod postgres;
pub mod proxy;
pub mod redis;
pub mod sentinel;
mod tls;
mod wait;

pub use credentials::{ADMIN, ADMIN_PASSWORD};
pub use error::ServerError;
pub use guard::Server;
pub use loki::Loki;
pub use mariadb::MariaDb;
pub use minio::Minio;
pub use pgbouncer::PgBouncer;
pub use ports::{free_address, free_port};
pub use postgres::Postgres;
pub use proxy::Proxy;
pub use redis::Redis;
pub use sentinel::Sentinel;
pub use tls::{Certificate, CertificateFor, issue};
pub use wait::{PATIENCE, until, until_blocking, until_true};
