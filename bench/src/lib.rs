//! Side-by-side benchmarks of the data plane.
//!
//! One run starts a cheap backend ([`backend`]), the proxies to compare ([`peer`]) and, in turn
//! and interleaved, a load generator ([`load`]) against each of them; it reads what each proxy
//! cost from `/proc` ([`proc_stat`]) over exactly the measured window ([`measure`]) and prints
//! medians and ratios ([`figures`], [`scenario`]). Everything whose cost is measured is a process of
//! its own ([`child`]), ends with the run, and the run itself is bounded ([`budget`]).
//!
//! Figures are printed and never asserted: a busy machine must not fail a build.
#![cfg(target_os = "linux")]

pub mod budget;
pub mod child;
pub mod proc_stat;

mod http1;
mod poller;

pub mod backend;
pub mod hyper_proxy;
pub mod load;
pub mod peer;

pub mod figures;
pub mod measure;
pub mod scenario;
