//! What a process prints, line by line.
//!
//! Lines go to the console as they come; a line beyond the bound is cut into several. Of stderr the
//! last lines are kept, because they say why a process ended. The runtime's own remarks about its
//! life are not shown: `kip` says the same in its own words.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Instant,
};

use kipper_client::logs::Cutter;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _},
    sync::{mpsc, watch},
};

use super::{
    console::{Target, Voice},
    process::Event,
};

/// Longest line that is kept together, in bytes.
const MAX_LINE: usize = 16 << 10;
/// Bytes read at once.
const CHUNK: usize = 8 << 10;
/// Lines of stderr kept.
const KEPT_LINES: usize = 40;
/// How the runtimes say that they accept connections.
const LISTENING: &str = "kipper: listening on ";
/// Their other remark that is nothing new to the user.
const DRAINING: &str = "kipper: draining, ";

/// Who is told when the runtime says that it listens.
pub(super) struct Listener {
    pub(super) id: u64,
    pub(super) listens: Arc<AtomicBool>,
    /// For a process that has nothing to do without its source: true once that is there.
    pub(super) source: Option<watch::Receiver<bool>>,
    pub(super) events: mpsc::Sender<Event>,
}

impl Listener {
    /// The runtime listens.
    async fn listening(self) {
        self.listens.store(true, Relaxed);
        let Self { id, source, events, .. } = self;
        let Some(mut source) = source else {
            // Nobody listens any more when `kip` ends.
            let _ = events.send(Event::Listening { id, at: Instant::now() }).await;
            return;
        };
        tokio::spawn(async move {
            // An error is a poller that ended, which its process tells.
            if source.wait_for(|is_there| *is_there).await.is_ok() {
                let _ = events.send(Event::Listening { id, at: Instant::now() }).await;
            }
        });
    }
}

/// Forwards every line until the other end is closed; returns the last ones of stderr.
pub(super) async fn forward<R: AsyncRead + Unpin>(
    from: Option<R>,
    target: Target,
    voice: Voice,
    mut listener: Option<Listener>,
    mut is_muted: bool,
) -> Vec<String> {
    let mut kept = VecDeque::new();
    let Some(mut from) = from else {
        return Vec::new();
    };
    let mut lines = Cutter::new(MAX_LINE);
    let mut chunk = vec![0; CHUNK];
    loop {
        // An error is as good as an end: there is nothing more to read.
        let read = from.read(&mut chunk).await.unwrap_or(0);
        let found = match read {
            0 => lines.finish().into_iter().collect(),
            _ => lines.push(&chunk[..read]),
        };
        for line in found {
            if target == Target::Stderr {
                if line.starts_with(LISTENING)
                    && let Some(listener) = listener.take()
                {
                    is_muted = false;
                    listener.listening().await;
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
        if read == 0 {
            return kept.into();
        }
    }
}

/// Why the runtime gave up, from its last words: its own first line, without its name.
pub(super) fn reason(last_words: &[String]) -> Option<&str> {
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
