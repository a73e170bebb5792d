//! What to send, where, how fast and for how long.

use std::{
    net::SocketAddr,
    num::{NonZeroU64, NonZeroUsize},
    time::Duration,
};

use clap::ValueEnum;

/// Largest request body: with its head it fits an empty socket buffer, so a write never blocks.
const MAX_BODY_BYTES: i64 = 16 * 1024;
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
    /// Connections
    #[arg(long, default_value = "16")]
    pub connections: NonZeroUsize,
    /// Open a connection for every request, as a sender without keep-alive does
    #[arg(long)]
    pub once: bool,
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
