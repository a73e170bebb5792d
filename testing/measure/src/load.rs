//! The load generator: HTTP/1.1 over connections that are kept or used once, from one thread.
//!
//! *Closed loop*: every connection asks again as soon as it was answered; this finds capacity.
//! *Open loop*: requests are due at a constant rate whether or not earlier ones were answered, and
//! latency counts from the moment a request was due. A proxy that stalls is charged for every
//! request that had to wait meanwhile, which a closed loop hides (coordinated omission).
//!
//! It runs as a process of its own, so that its CPU time is nobody else's.

mod announce;
mod args;
mod connection;
mod engine;
mod recorder;
mod request;
mod schedule;
mod transfer;

use kipper_process::exit::UsageError;

pub use self::{
    announce::{MEASURED, MEASURING, Mark},
    args::{LoadArgs, Method, Mode},
    engine::{LoadError, run},
    recorder::{Errors, Latency, Report},
    transfer::{Direction, TransferArgs, transfer},
};

/// Runs the load and prints its [`Report`] as one line of JSON on stdout.
///
/// # Errors
/// When the target cannot be reached or answers too many requests with errors.
pub fn run_and_print(args: &LoadArgs) -> Result<(), anyhow::Error> {
    if args.mode == Mode::Closed && args.rate.is_some() {
        return Err(UsageError::new("--rate needs --mode open").into());
    }
    let announces = args.announce;
    print(&run(args, &mut |mark| announce(announces, mark))?)
}

/// Runs one transfer and prints its [`Report`] in the same way.
///
/// # Errors
/// When the target cannot be reached, or the transfer fails.
pub fn transfer_and_print(args: &TransferArgs) -> Result<(), anyhow::Error> {
    let announces = args.announce;
    print(&transfer(args, &mut |mark| announce(announces, mark))?)
}

fn announce(announces: bool, mark: Mark) {
    if announces {
        announce::print(mark);
    }
}

fn print(report: &Report) -> Result<(), anyhow::Error> {
    println!("{}", serde_json::to_string(report)?);
    Ok(())
}
