//! What a process prints, line by line.
//!
//! Lines go to the console as they come; a line beyond the bound is cut into several. Of stderr the
//! last lines are kept, because they say why a process ended. The runtime's own remarks about its
//! life are not shown: `kip` says the same in its own words.

use std::{borrow::Cow, collections::VecDeque, time::Instant};

use tokio::{io::AsyncRead, sync::oneshot};

use super::super::{
    console::{Target, Voice},
    lines::Lines,
};

/// Lines of stderr kept.
const KEPT_LINES: usize = 40;
/// How the runtimes say that they accept connections.
const LISTENING: &str = "kipper: listening on ";
/// Their other remarks that are nothing new to the user: `kip` asks whether they are ready, and says
/// what came of it.
const DRAINING: &str = "kipper: draining, ";
const READINESS: &str = "kipper: readiness ";

/// Forwards every line until the other end is closed; returns the last ones of stderr. `listening`
/// hears when the runtime says that it listens, which ends the muting.
pub(crate) async fn forward<R: AsyncRead + Unpin>(
    from: Option<R>,
    target: Target,
    voice: Voice,
    mut listening: Option<oneshot::Sender<Instant>>,
    mut is_muted: bool,
) -> Vec<String> {
    let mut kept = VecDeque::new();
    let Some(from) = from else {
        return Vec::new();
    };
    let mut lines = Lines::new(from);
    while let Some(line) = lines.next().await {
        if target == Target::Stderr {
            if line.starts_with(LISTENING)
                && let Some(listening) = listening.take()
            {
                is_muted = false;
                // The process may have been given up meanwhile.
                let _ = listening.send(Instant::now());
                continue;
            }
            if line.starts_with(DRAINING) {
                continue;
            }
            if kept.len() == KEPT_LINES {
                kept.pop_front();
            }
            kept.push_back(line.clone());
        }
        let is_known = target == Target::Stdout && line.starts_with(READINESS);
        if !is_muted && !is_known {
            for line in record(&line) {
                voice.print(target, &line).await;
            }
        }
    }
    kept.into()
}

/// What the runtimes begin their own lines with.
const RUNTIME: &str = "kipper: ";
/// How they tell of progress, which is no reason to end.
const PROGRESS: [&str; 2] = ["installing ", "installed "];
/// How they join the lines of one record, so that a collector of logs keeps a traceback together.
const JOINT: &str = " | ";

/// The lines of a record of the runtime's; any other line is one.
pub(crate) fn record(line: &str) -> Vec<Cow<'_, str>> {
    let mut parts = line.split(JOINT).filter(|_| line.starts_with(RUNTIME));
    match parts.next() {
        None => vec![line.into()],
        Some(first) => {
            let rest = parts.map(|part| Cow::Owned(format!("    {part}")));
            std::iter::once(Cow::Borrowed(first)).chain(rest).collect()
        }
    }
}

/// Why a process never listened, from its last words: what the runtime said last, without its name.
pub(crate) fn reason(last_words: &[String]) -> Option<&str> {
    let mut said = last_words.iter().rev().filter_map(|line| line.strip_prefix(RUNTIME));
    let reason = said.find(|said| !PROGRESS.iter().any(|word| said.starts_with(word)));
    reason.map(|said| said.split(JOINT).next().unwrap_or(said))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_is_what_the_runtime_said_last() {
        let words = [
            "SyntaxError",
            "kipper: installing 1 package with npm",
            "kipper: unhandled rejection: Error: early | at x",
            "kipper: cannot load the function: bad",
            "  at x",
            "kipper: installed in 5 ms",
        ];
        let words = words.map(str::to_owned);
        assert_eq!(reason(&words), Some("cannot load the function: bad"));
        assert_eq!(reason(&words[..3]), Some("unhandled rejection: Error: early"));
        assert_eq!(reason(&words[..2]), None);
    }

    #[test]
    fn a_traceback_has_its_lines_back() {
        let line = "kipper: uncaught exception: Error: x | at f (a.js:1:2) | at g";
        let expected = ["kipper: uncaught exception: Error: x", "    at f (a.js:1:2)", "    at g"];
        assert_eq!(record(line), expected);
        let line = "kipper: GET / failed: ValueError: x | Traceback: |   File \"f.py\", line 1 |     raise x";
        let expected = [
            "kipper: GET / failed: ValueError: x",
            "    Traceback:",
            "      File \"f.py\", line 1",
            "        raise x",
        ];
        assert_eq!(record(line), expected);
        // What a function prints itself is left alone.
        assert_eq!(record("a | b"), ["a | b"]);
        assert_eq!(record("kipper: listening"), ["kipper: listening"]);
    }
}
