//! What benches and load tests measure with, each in one place: the load generator ([`load`]) and the
//! backend behind every proxy ([`backend`]), the HTTP/1.1 parser of both ([`http1`]) and a client of
//! single requests ([`client`]); processes that end with the run ([`child`]), and what they cost
//! ([`processes`]) or export ([`exposition`]); and from samples to printed lines ([`samples`],
//! [`figures`], [`limits`]).
//!
//! This is a leaf crate: it depends on no process, and knows none of them by name.
#![cfg(target_os = "linux")]

pub mod child;
mod epoll;
pub mod http1;
pub mod processes;

pub mod backend;
pub mod client;
pub mod load;

pub mod exposition;
pub mod figures;
pub mod limits;
pub mod samples;
