//! One large body, down or up, over one connection: what a download and an upload cost.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use clap::ValueEnum;

use super::{
    announce::Mark,
    engine::LoadError,
    recorder::{Errors, Latency, Report},
};
use crate::{backend::BULK_PATH, http1};

/// What is read and written at once.
const CHUNK_BYTES: usize = 256 * 1024;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// A transfer that stands still for so long has failed.
const STALLED_AFTER: Duration = Duration::from_secs(30);

/// Options of a transfer.
#[derive(Clone, Debug, clap::Args)]
pub struct TransferArgs {
    /// Where to connect
    #[arg(long)]
    pub addr: SocketAddr,
    /// Host header
    #[arg(long)]
    pub host: String,
    /// Which way the body goes
    #[arg(long, value_enum)]
    pub direction: Direction,
    /// Bytes of the body
    #[arg(long, default_value = "1073741824")]
    pub bytes: usize,
    /// Print a line when the transfer begins and when it ends
    #[arg(long)]
    pub announce: bool,
}

/// Which way a body goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Direction {
    /// From the backend, in the answer to a GET
    Down,
    /// To the backend, in a POST
    Up,
}

/// Runs one transfer; `announce` is called at its beginning and its end.
///
/// # Errors
/// When the target cannot be reached, or the transfer fails.
pub fn transfer(args: &TransferArgs, announce: &mut dyn FnMut(Mark)) -> Result<Report, LoadError> {
    let mut stream =
        TcpStream::connect_timeout(&args.addr, CONNECT_TIMEOUT).map_err(LoadError::Connect)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(STALLED_AFTER))?;
    stream.set_write_timeout(Some(STALLED_AFTER))?;
    announce(Mark::Measuring);
    let begin = Instant::now();
    let mut chunk = vec![b'u'; CHUNK_BYTES];
    let (method, path, up) = match args.direction {
        Direction::Down => ("GET", format!("{BULK_PATH}{}", args.bytes), 0),
        Direction::Up => ("POST", BULK_PATH.to_owned(), args.bytes),
    };
    let host = &args.host;
    write!(stream, "{method} {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {up}\r\n\r\n")?;
    let mut left = up;
    while left > 0 {
        let length = left.min(chunk.len());
        stream.write_all(&chunk[..length])?;
        left -= length;
    }
    let (status, down) = answer(&mut stream, &mut chunk)?;
    let seconds = begin.elapsed().as_secs_f64();
    announce(Mark::Measured);
    let is_whole = args.direction == Direction::Up || down == args.bytes;
    let is_good = status == 200 && is_whole;
    let took = seconds * 1e6;
    Ok(Report {
        completed: u64::from(is_good),
        seconds,
        rps: if is_good { 1.0 / seconds } else { 0.0 },
        latency_us: Latency { mean: took, p50: took, p90: took, p99: took, p999: took, max: took },
        errors: Errors { status: u64::from(!is_good), ..Errors::default() },
        reconnects: 0,
    })
}

/// Status and length of the body.
fn answer(stream: &mut TcpStream, chunk: &mut [u8]) -> io::Result<(u16, usize)> {
    let mut filled = 0;
    let head = loop {
        let read = read(stream, &mut chunk[filled..])?;
        filled += read;
        if let Some(head) = http1::response_head(&chunk[..filled]).map_err(io::Error::other)? {
            break head;
        }
    };
    let mut received = filled - head.head_bytes;
    while received < head.body_bytes {
        received += read(stream, chunk)?;
    }
    Ok((head.status, received))
}

fn read(stream: &mut TcpStream, buffer: &mut [u8]) -> io::Result<usize> {
    match stream.read(buffer)? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        read => Ok(read),
    }
}
