//! What the user types: `run NAME` runs a cron function now.
//!
//! Lines come from stdin, typed or piped; its end changes nothing. A thread of its own reads it, and
//! only while `kip` is in the foreground of its terminal: whoever reads one from the background is
//! stopped by it. Carries nothing out.

use std::{io, os::fd::AsFd, time::Duration};

use rustix::{
    event::{PollFd, PollFlags, poll},
    io::Errno,
    process::getpgrp,
    termios::{isatty, tcgetpgrp},
};
use tokio::sync::mpsc;

/// Lines that wait to be carried out; at the bound nothing more is read.
const LINES: usize = 4;
/// Longest line; what is longer is no command.
const MAX_LINE: usize = 256;
/// Between two looks whether `kip` is in the foreground again.
const BACKGROUND_PAUSE: Duration = Duration::from_millis(500);

/// The lines of stdin.
pub(crate) struct Input(mpsc::Receiver<String>);

impl Input {
    /// Starts the thread that reads.
    pub(crate) fn start() -> io::Result<Self> {
        let (lines, receiver) = mpsc::channel(LINES);
        let reading = move || read(io::stdin(), &lines);
        std::thread::Builder::new().name("input".to_owned()).spawn(reading)?;
        Ok(Self(receiver))
    }

    /// The next line; never, once there are no more.
    pub(crate) async fn next(&mut self) -> String {
        match self.0.recv().await {
            Some(line) => line,
            None => std::future::pending().await,
        }
    }
}

fn read(from: impl AsFd, lines: &mpsc::Sender<String>) {
    let (mut line, mut chunk) = (Vec::new(), [0; MAX_LINE]);
    loop {
        // Waiting is allowed in the background, reading is not.
        match poll(&mut [PollFd::new(&from, PollFlags::IN)], None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(_) => return,
        }
        if isatty(&from) && tcgetpgrp(&from).ok() != Some(getpgrp()) {
            std::thread::sleep(BACKGROUND_PAUSE);
            continue;
        }
        let read = match rustix::io::read(&from, &mut chunk) {
            Ok(0) => return,
            Ok(read) => read,
            Err(Errno::INTR | Errno::AGAIN) => continue,
            Err(_) => return,
        };
        for byte in &chunk[..read] {
            if *byte != b'\n' {
                // One byte more than fits, so that the line is known to be too long.
                line.extend((line.len() <= MAX_LINE).then_some(*byte));
                continue;
            }
            let text = String::from_utf8_lossy(&line).into_owned();
            line.clear();
            // Nobody takes lines any more: `kip` ends.
            if lines.blocking_send(text).is_err() {
                return;
            }
        }
    }
}

/// The function that a line asks to run, of those with a schedule; `None` for an empty line.
///
/// # Errors
/// When it is no command, or none of them.
pub(crate) fn run<'a>(line: &str, scheduled: &[&'a str]) -> Result<Option<&'a str>, String> {
    let mut words = line.split_whitespace();
    let (verb, name, rest) = (words.next(), words.next(), words.next());
    let usage = "type `run NAME` to run a cron function now";
    match (verb, name) {
        (None, _) => Ok(None),
        (Some("run"), _) if rest.is_some() || line.len() > MAX_LINE => Err(usage.to_owned()),
        (Some("run"), None) => match scheduled {
            [] => Err("no function here has a cron trigger".to_owned()),
            [one] => Ok(Some(one)),
            several => Err(format!("which one? `run {}`", several.join("` or `run "))),
        },
        (Some("run"), Some(name)) => match scheduled.iter().find(|known| **known == name) {
            Some(known) => Ok(Some(known)),
            None => Err(format!("no function {name} with a cron trigger")),
        },
        (Some(_), _) => Err(format!("unknown command; {usage}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(line: &str, scheduled: &[&str], expected: Result<Option<&str>, &str>) {
        assert_eq!(run(line, scheduled), expected.map_err(str::to_owned));
    }

    #[test]
    fn a_line_runs_a_function_with_a_schedule() {
        let both = ["beat", "nightly"];
        check("run beat", &both, Ok(Some("beat")));
        check("  run\tnightly\r", &both, Ok(Some("nightly")));
        check("run", &["beat"], Ok(Some("beat")));
        check("", &both, Ok(None));
        check("run", &both, Err("which one? `run beat` or `run nightly`"));
        check("run", &[], Err("no function here has a cron trigger"));
        check("run hello", &both, Err("no function hello with a cron trigger"));
        check("run beat twice", &both, Err("type `run NAME` to run a cron function now"));
        let unknown = "unknown command; type `run NAME` to run a cron function now";
        check("beat", &both, Err(unknown));
    }
}
