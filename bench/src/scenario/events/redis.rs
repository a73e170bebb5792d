//! Items of a Redis list, with leases.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::TcpStream,
};

use kipper_measure::figures::{Figure, Goal};
use kipper_servers::redis::{Options, Redis};

use super::{
    bed::{Bed, figure},
    drain::Poller,
};

const LIST: &str = "bench";
const ITEM_BYTES: usize = 1_024;
/// Items pushed by one command.
const PUSHED: usize = 500;

/// Rate of a poller that may hold 1,000 items.
pub(super) fn batches(bed: &Bed) -> Result<Vec<Figure>, anyhow::Error> {
    let server = Redis::start(Options { password: None, ..Default::default() })?;
    let flags = [
        ("--trigger", "redis"),
        ("--source-url", &server.url()),
        ("--list", LIST),
        ("--max-held", "1000"),
    ];
    let flags: Vec<String> =
        flags.iter().flat_map(|(flag, value)| [*flag, *value]).map(str::to_owned).collect();
    let handler = format!("http://{}/event", bed.handler.addr);
    let mut rates = Vec::new();
    for _ in 0..bed.size.rounds {
        push(&server, bed.size.events)?;
        let drained = Poller::start(bed, &handler, &flags)?.drain(bed, bed.size.events)?;
        println!(
            "{:.0}/s, {:.1} us CPU, {:.1} MiB",
            drained.rate, drained.cpu_micros, drained.peak_mib
        );
        rates.push(drained.rate);
    }
    let rate = figure("events_redis", &rates, "items/s", Goal::AtLeast(25_000.0));
    Ok(rate.into_iter().collect())
}

/// Pushes so many items of 1 KB of JSON, in the protocol of Redis (RESP2).
fn push(server: &Redis, items: usize) -> Result<(), anyhow::Error> {
    let mut stream = TcpStream::connect(server.address())?;
    let mut answers = BufReader::new(stream.try_clone()?);
    let mut pushed = 0;
    while pushed < items {
        let count = PUSHED.min(items - pushed);
        let mut command = format!("*{}\r\n$5\r\nRPUSH\r\n${}\r\n{LIST}\r\n", count + 2, LIST.len());
        for number in pushed..pushed + count {
            let head = format!("{{\"id\":{number},\"note\":\"");
            let item = format!("{head:x<width$}\"}}", width = ITEM_BYTES - 2);
            command.push_str(&format!("${}\r\n{item}\r\n", item.len()));
        }
        stream.write_all(command.as_bytes())?;
        let mut answer = String::new();
        answers.read_line(&mut answer)?;
        anyhow::ensure!(answer.starts_with(':'), "RPUSH: {answer}");
        pushed += count;
    }
    Ok(())
}
