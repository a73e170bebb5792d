//! What a process prints, line by line.
//!
//! Lines go to the console as they come; a line beyond the bound is cut into several. Of stderr the
//! last lines are kept, because they say why a process ended. The runtime's own remarks about its
//! life are not shown: `kip` says the same in its own words.

use std::{collections::VecDeque, time::Instant};

use tokio::{io::AsyncRead, sync::oneshot};

use super::super::{
    console::{Target, Voice},
    lines::Lines,
};

/// Lines of stderr kept.
const KEPT_LINES: usize = 40;
/// How the runtimes say that they accept connections.
const LISTENING: &str = "kipper: listening on ";
/// Their other remark that is nothing new to the user.
const DRAINING: &str = "kipper: draining, ";

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
        if !is_muted {
            voice.print(target, &line).await;
        }
    }
    kept.into()
}

/// Why the runtime gave up, from its last words: its own first line, without its name.
pub(crate) fn reason(last_words: &[String]) -> Option<&str> {
    last_words.iter().find_map(|line| line.strip_prefix("kipper: "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_is_what_the_runtime_said_first() {
        let words =
            ["SyntaxError", "kipper: cannot load the function: bad", "  at x", "kipper: later"];
        let words = words.map(str::to_owned);
        assert_eq!(reason(&words), Some("cannot load the function: bad"));
        assert_eq!(reason(&words[..1]), None);
    }
}
