//! What a child prints, line by line, while the budget of the run lasts.

use std::{
    io::{BufRead as _, BufReader},
    process::ChildStdout,
    sync::mpsc::{self, Receiver, RecvTimeoutError},
    thread,
    time::Duration,
};

use crate::budget::Budget;

/// How often a wait for a line asks the budget.
const BUDGET_POLL: Duration = Duration::from_millis(50);
/// Lines that wait to be read.
const MAX_LINES: usize = 16;

/// Reads lines on a thread of their own, so that waiting for one can be given up. The thread ends
/// with the child.
pub(crate) fn lines(stdout: ChildStdout) -> Result<Receiver<String>, anyhow::Error> {
    let (tx, rx) = mpsc::sync_channel(MAX_LINES);
    thread::Builder::new().name("load-output".to_owned()).spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            if tx.send(line).is_err() {
                return;
            }
        }
    })?;
    Ok(rx)
}

/// The next line; `None` when the child closed its stdout.
pub(crate) fn next(
    lines: &Receiver<String>,
    budget: &Budget,
) -> Result<Option<String>, anyhow::Error> {
    loop {
        budget.check()?;
        match lines.recv_timeout(BUDGET_POLL) {
            Ok(line) => return Ok(Some(line)),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Ok(None),
        }
    }
}
