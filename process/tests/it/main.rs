//! The shell of a process over real sockets and real signals.
#![cfg(unix)]
#![allow(clippy::unwrap_used)]

mod admin;
mod process;
