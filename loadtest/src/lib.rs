//! Scenarios against a running data plane: what it must reach, and what it must survive.
//!
//! Each scenario ([`scenarios`]) starts real processes ([`processes`], [`serve`]) on loopback
//! ports, drives them over real sockets and judges what it saw by the limits of
//! `limits.json`. A missed *figure* is printed as `short` and fails nothing: a
//! busy machine must not fail a build. A broken *condition* (a request lost, executed twice, still
//! counted when it is over) fails the run. Every scenario is bounded in time, and every process it
//! starts ends with it. [`cluster`] does the same against a real Kubernetes.
#![cfg(target_os = "linux")]

pub mod cluster;
pub mod run;
pub mod scenarios;

mod control;
mod processes;
pub mod serve;

mod keda;
mod open_loop;
mod reports;
mod requests;
