//! The load generator: HTTP/1.1 over keep-alive connections, from one thread.
//!
//! *Closed loop*: every connection asks again as soon as it was answered; this finds capacity.
//! *Open loop*: requests are due at a constant rate whether or not earlier ones were answered, and
//! latency counts from the moment a request was due. A proxy that stalls is charged for every
//! request that had to wait meanwhile, which a closed loop hides (coordinated omission).
//!
//! It runs as a process of its own, so that its CPU time is nobody else's.

mod connection;
mod engine;
mod recorder;
mod request;
mod schedule;

use std::{
    io::Write as _,
    net::SocketAddr,
    num::{NonZeroU64, NonZeroUsize},
    time::Duration,
};

use clap::ValueEnum;
use kipper_process::exit::UsageError;

pub use self::{
    engine::{LoadError, Mark, run},
    recorder::{Errors, Latency, Report},
};

/// Largest request body: with its head it fits an empty socket buffer, so a write never blocks.
const MAX_BODY_BYTES: i64 = 16 * 1024;
/// What the process prints when the measured window begins; see [`LoadArgs::announce`].
pub const MEASURING: &str = "measuring";
/// What the process prints when the measured window ends.
pub const MEASURED: &str = "measured";

/// What to send, where, how fast and for how long.
#[derive(Clone, Debug, clap::Args)]
pub struct LoadArgs {
    /// Where to connect
    #[arg(long)]
    pub addr: SocketAddr,
    /// Host header; given several times, connections take turns
    #[arg(long, required = true)]
    pub host: Vec<String>,
    /// Request target
    #[arg(long, default_value = "/")]
    pub path: String,
    /// Request method
    #[arg(long, value_enum, default_value_t)]
    pub method: Method,
    /// Bytes of body of a POST
    #[arg(long, default_value = "128", value_parser = clap::value_parser!(u32).range(0..=MAX_BODY_BYTES))]
    pub body_bytes: u32,
    /// Keep-alive connections
    #[arg(long, default_value = "16")]
    pub connections: NonZeroUsize,
    /// Time before the measured window
    #[arg(long, default_value = "1s", value_parser = humantime::parse_duration)]
    pub warm_up: Duration,
    /// Length of the measured window
    #[arg(long, default_value = "3s", value_parser = humantime::parse_duration)]
    pub duration: Duration,
    /// Who decides when the next request is sent
    #[arg(long, value_enum, default_value_t)]
    pub mode: Mode,
    /// Requests per second of the open loop
    #[arg(long, required_if_eq("mode", "open"))]
    pub rate: Option<NonZeroU64>,
    /// Stop after this many requests, without warm-up
    #[arg(long)]
    pub requests: Option<NonZeroU64>,
    /// Print a line when the measured window begins and when it ends
    #[arg(long)]
    pub announce: bool,
}

/// Request method.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Method {
    /// Without a body
    #[default]
    Get,
    /// With a small body
    Post,
}

/// Who decides when the next request is sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Mode {
    /// The answer to the one before
    #[default]
    Closed,
    /// A clock
    Open,
}

/// Runs the load and prints its [`Report`] as one line of JSON on stdout.
///
/// # Errors
/// When the target cannot be reached or answers too many requests with errors.
pub fn run_and_print(args: &LoadArgs) -> Result<(), anyhow::Error> {
    if args.mode == Mode::Closed && args.rate.is_some() {
        return Err(UsageError::new("--rate needs --mode open").into());
    }
    let mut announce = |mark: Mark| {
        if args.announce {
            let line = match mark {
                Mark::Measuring => MEASURING,
                Mark::Measured => MEASURED,
            };
            // The reader of a closed pipe does not want the line.
            let _ = writeln!(std::io::stdout().lock(), "{line}");
        }
    };
    let report = run(args, &mut announce)?;
    println!("{}", serde_json::to_string(&report)?);
    Ok(())
}
