//! What needs the parts of the product in one process. The scenarios themselves are run by
//! `kipper-loadtest all --quick`, once per `make test`.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)]

mod limits;
mod mutual_tls;
