//! What is going on, on stderr, while a command waits.
//!
//! On a terminal one line that turns and is wiped out at the end; elsewhere a line for each thing
//! that is new.

use std::{
    io::{self, IsTerminal as _, Write as _},
    time::Duration,
};

use tokio::{sync::watch, task::JoinHandle};

use crate::{output, visible::visible};

/// Between two turns.
const TURN: Duration = Duration::from_millis(100);
/// The turns.
const TURNS: [char; 10] = ['⠋', '⠙', '⠹', '⠸', '⠼', '⠴', '⠦', '⠧', '⠇', '⠏'];

/// The line. Dropping it wipes it out.
pub struct Progress {
    text: watch::Sender<String>,
    spinner: Option<JoinHandle<()>>,
}

impl Progress {
    /// Begins with this text.
    pub fn start(text: impl Into<String>) -> Self {
        let is_dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        let (text, shown) = watch::channel(text.into());
        let spinner = (io::stderr().is_terminal() && !is_dumb).then(|| tokio::spawn(spin(shown)));
        if spinner.is_none() {
            output::note(&*text.borrow());
        }
        Self { text, spinner }
    }

    /// Goes on with this text.
    pub fn say(&self, text: impl Into<String>) {
        let new = text.into();
        let is_new = self.text.send_if_modified(|shown| {
            let is_new = *shown != new;
            shown.clone_from(&new);
            is_new
        });
        if is_new && self.spinner.is_none() {
            output::note(new);
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(spinner) = &self.spinner {
            spinner.abort();
            // Nobody is there to see what cannot be written.
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}

async fn spin(text: watch::Receiver<String>) {
    let mut ticks = tokio::time::interval(TURN);
    for turn in TURNS.iter().cycle() {
        ticks.tick().await;
        // A line that turns stays one.
        let text = text.borrow().replace('\n', " ");
        let _ = write!(io::stderr(), "\r{turn} {}\x1b[K", visible(&text));
    }
}
