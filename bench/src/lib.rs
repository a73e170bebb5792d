//! Side-by-side benchmarks of the data plane.
//!
//! One run starts a cheap backend, the proxies to compare ([`peer`]) and, in turn and interleaved, a
//! load generator against each of them; it reads what each proxy cost from `/proc` over exactly the
//! measured window ([`measure`]) and prints medians and ratios ([`scenario`]). What it measures with
//! is `kipper-measure`. Everything whose cost is measured is a process of its own, ends with the run,
//! and the run itself is bounded ([`budget`]).
//!
//! Figures are printed and never asserted: a busy machine must not fail a build.
#![cfg(target_os = "linux")]

pub mod budget;
mod output;

pub mod hyper_proxy;
pub mod peer;

mod h2load;
pub mod measure;
pub mod scenario;
