//! h2load (Debian's `nghttp2-client`): the load over TLS, by HTTP/2 or by HTTP/1.1.
//!
//! A first run warms the peer up and says how many requests fit the window; the second sends so many,
//! and is what counts. Handshakes are a part of it, one per connection.

use std::{
    fs,
    net::SocketAddr,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::Context as _;
use kipper_measure::{
    child::ChildProcess,
    load::{Errors, Latency, Report},
};

use crate::{budget::Budget, output};

/// Sent where no time is given to warm up, per stream.
const FEW: usize = 50;

/// What is sent to whom.
#[derive(Clone, Debug)]
pub(crate) struct Target<'a> {
    pub(crate) addr: SocketAddr,
    pub(crate) host: &'a str,
    pub(crate) connections: usize,
    /// Streams of each connection; `None` is HTTP/1.1.
    pub(crate) streams: Option<usize>,
}

/// How much is sent.
#[derive(Clone, Copy, Debug)]
enum Amount {
    Requests(usize),
    For(Duration),
}

/// Warms the peer up for so long; how many requests it then answers within `window`.
///
/// # Errors
/// When h2load is missing or fails, or the budget ends.
pub(crate) fn warm_up(
    target: &Target<'_>,
    warm_up: Duration,
    window: Duration,
    dir: &Path,
    budget: &Budget,
) -> Result<usize, anyhow::Error> {
    let few = FEW * target.connections * target.streams.unwrap_or(1);
    if warm_up.is_zero() {
        return Ok(few);
    }
    let text = run(target, Amount::For(warm_up), dir, budget)?;
    let rate = rate(&text).with_context(|| format!("h2load printed no rate: {text}"))?;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count fits")]
    let fits = (rate * window.as_secs_f64()) as usize;
    Ok(fits.max(few))
}

/// Sends so many requests.
///
/// # Errors
/// As [`warm_up`].
pub(crate) fn send(
    target: &Target<'_>,
    requests: usize,
    dir: &Path,
    budget: &Budget,
) -> Result<Report, anyhow::Error> {
    let text = run(target, Amount::Requests(requests), dir, budget)?;
    let latencies = fs::read_to_string(log(dir)).context("read the log of h2load")?;
    report(&text, &latencies).with_context(|| format!("h2load printed {text}"))
}

fn log(dir: &Path) -> std::path::PathBuf {
    dir.join("h2load-requests.log")
}

fn run(
    target: &Target<'_>,
    amount: Amount,
    dir: &Path,
    budget: &Budget,
) -> Result<String, anyhow::Error> {
    let log = log(dir);
    // It adds to a log that is there.
    if log.exists() {
        fs::remove_file(&log)?;
    }
    let mut command = Command::new("h2load");
    command
        .args(["--threads", "1", "--clients", &target.connections.to_string()])
        .arg(format!("--connect-to={}", target.addr))
        .stdout(Stdio::piped());
    match target.streams {
        Some(streams) => command.args(["--max-concurrent-streams", &streams.to_string()]),
        None => command.arg("--h1"),
    };
    match amount {
        Amount::Requests(count) => {
            command.args(["--requests", &count.to_string()]).arg("--log-file").arg(&log)
        }
        Amount::For(time) => command.arg(format!("--duration={}ms", time.as_millis().max(1))),
    };
    command.arg(format!("https://{}/", target.host));
    let mut child = ChildProcess::spawn("h2load", command, dir)?;
    let lines = output::lines(child.take_stdout().context("h2load has no stdout")?)?;
    let mut text = String::new();
    while let Some(line) = output::next(&lines, budget)? {
        text.push_str(&line);
        text.push('\n');
    }
    child.wait()?;
    Ok(text)
}

/// Requests per second, from `finished in 2.01s, 50000.00 req/s, 8.0MB/s`.
fn rate(text: &str) -> Option<f64> {
    let line = text.lines().find(|line| line.starts_with("finished in "))?;
    line.split(", ").nth(1)?.strip_suffix(" req/s")?.parse().ok()
}

/// The number before a word of a line that begins with `name`.
fn count(text: &str, name: &str, word: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split(',').find_map(|part| part.trim().strip_suffix(word)?.trim().parse().ok())
}

/// `log` has a line per request: when it began, its status and how long it took, in microseconds.
fn report(text: &str, log: &str) -> Option<Report> {
    let rate = rate(text)?;
    let good = count(text, "status codes: ", "2xx")?;
    let total = count(text, "requests: ", "total")?;
    let succeeded = count(text, "requests: ", "succeeded")?;
    let mut took: Vec<f64> =
        log.lines().filter_map(|line| line.split_ascii_whitespace().nth(2)?.parse().ok()).collect();
    took.sort_by(f64::total_cmp);
    let at = |share: f64| {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an index")]
        let rank = (share * took.len() as f64).ceil() as usize;
        took.get(rank.saturating_sub(1)).copied().unwrap_or_default()
    };
    let latency_us = Latency {
        mean: took.iter().sum::<f64>() / took.len().max(1) as f64,
        p50: at(0.5),
        p90: at(0.9),
        p99: at(0.99),
        p999: at(0.999),
        max: at(1.0),
    };
    let errors = Errors {
        status: succeeded.saturating_sub(good),
        closed: total.saturating_sub(succeeded),
        ..Errors::default()
    };
    let seconds = if rate > 0.0 { good as f64 / rate } else { 0.0 };
    Some(Report { completed: good, seconds, rps: rate, latency_us, errors, reconnects: 0 })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const TEXT: &str = "starting benchmark...
finished in 2.00s, 2500.00 req/s, 1.13MB/s
requests: 5002 total, 5002 started, 5001 done, 5001 succeeded, 1 failed, 1 errored, 0 timeout
status codes: 5000 2xx, 0 3xx, 0 4xx, 1 5xx
traffic: 2.26MB (2366112) total, 120.00KB (122880) headers (space savings 93.00%), 1.90MB data
";

    #[test]
    fn what_h2load_prints() {
        let log =
            "1700000000000001\t200\t300\n1700000000000002\t200\t100\n1700000000000003\t200\t200\n";
        let report = report(TEXT, log).unwrap();
        assert_eq!((report.completed, report.rps, report.seconds), (5000, 2500.0, 2.0));
        assert_eq!((report.errors.status, report.errors.closed), (1, 1));
        let latency = report.latency_us;
        assert_eq!((latency.mean, latency.p50, latency.max), (200.0, 200.0, 300.0));
        assert_eq!(super::report("nothing", log), None);
    }
}
