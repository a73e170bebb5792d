//! What the user sees: one line per event, and every line a function prints, under its name.
//!
//! Lines go through a bounded queue to one thread, so that a terminal that stands still never
//! holds up a wake. At the bound a function's output waits, which in the end stops the function
//! as a full pipe would; `kip`'s own lines are left out. Colour only on a terminal and without
//! `NO_COLOR`. No other module prints. What `kip` says may quote a server and is made visible;
//! what a function prints is its user's own, and its colours are meant.

use std::{
    fmt::Display,
    io::{self, IsTerminal as _, Write as _},
    sync::Arc,
    time::Duration,
};

use kipper_process::exit::plain;
use tokio::sync::{mpsc, oneshot};

use super::journal::{Journal, Speaker};
use crate::visible::visible;

/// Lines on their way to the terminal.
const QUEUE: usize = 1024;
/// How long the last lines may take at the end.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);
/// Names longer than this are not padded for.
const MAX_WIDTH: usize = 24;
/// Foreground colours of names, in the order in which functions are loaded.
const PALETTE: [u8; 6] = [36, 33, 35, 32, 34, 96];
const BOLD: u8 = 1;
const DIM: u8 = 2;
const RED: u8 = 31;

/// Where a line is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    Stdout,
    Stderr,
}

enum Item {
    Line(Target, String),
    Flush(oneshot::Sender<()>),
}

/// The terminal. Clones share it.
#[derive(Clone)]
pub(crate) struct Console {
    items: mpsc::Sender<Item>,
    is_coloured: bool,
}

/// The console as one function sees it: its lines carry its name, and stand in its journal too.
#[derive(Clone)]
pub(crate) struct Voice {
    console: Console,
    name: String,
    pub(crate) journal: Arc<Journal>,
}

impl Console {
    /// Starts the thread that writes.
    pub(crate) fn start() -> io::Result<Self> {
        let (items, queue) = mpsc::channel(QUEUE);
        std::thread::Builder::new().name("console".to_owned()).spawn(move || write(queue))?;
        let no_colour = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Ok(Self { items, is_coloured: io::stdout().is_terminal() && !no_colour })
    }

    /// One line of `kip` itself.
    pub(crate) fn say(&self, line: impl Display) {
        self.put(plain(&line.to_string()).into_owned());
    }

    /// One line about something that is left out or that went wrong but does not end `kip`.
    pub(crate) fn warn(&self, line: impl Display) {
        self.put(self.paint(RED, &visible(&plain(&line.to_string()))));
    }

    /// The voice of the `index`th function; `width` is the length of the longest name.
    pub(crate) fn voice(&self, name: &str, index: usize, width: usize) -> Voice {
        let padded = format!("{name:<width$}", width = width.min(MAX_WIDTH));
        let name = self.paint(PALETTE[index % PALETTE.len()], &padded);
        Voice { console: self.clone(), name, journal: Arc::default() }
    }

    /// Emphasised text.
    pub(crate) fn bold(&self, text: &str) -> String {
        self.paint(BOLD, text)
    }

    /// Waits until everything said so far is written, within a bound.
    pub(crate) async fn flush(&self) {
        let (done, written) = oneshot::channel();
        let flush = async {
            if self.items.send(Item::Flush(done)).await.is_ok() {
                // An error means that the thread is gone, and everything with it.
                let _ = written.await;
            }
        };
        let _ = tokio::time::timeout(FLUSH_TIMEOUT, flush).await;
    }

    fn put(&self, line: String) {
        // At the bound the line is left out.
        let _ = self.items.try_send(Item::Line(Target::Stdout, line));
    }

    fn paint(&self, code: u8, text: &str) -> String {
        if self.is_coloured { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

impl Voice {
    /// Something happened to the function.
    pub(crate) fn say(&self, text: impl Display) {
        let text = visible(&plain(&text.to_string())).to_string();
        self.journal.say(Speaker::Kip, &text);
        self.console.put(format!("{}  {text}", self.name));
    }

    /// Something went wrong with the function.
    pub(crate) fn warn(&self, text: impl Display) {
        let text = visible(&plain(&text.to_string())).to_string();
        self.journal.say(Speaker::Kip, &text);
        let text = self.console.paint(RED, &text);
        self.console.put(format!("{}  {text}", self.name));
    }

    /// A line the function printed; waits while the queue is full.
    pub(crate) async fn print(&self, target: Target, line: &str) {
        self.journal.say(Speaker::Function, line);
        let line = format!("{} {} {line}", self.name, self.console.paint(DIM, "|"));
        // An error means that the writing thread is gone.
        let _ = self.console.items.send(Item::Line(target, line)).await;
    }

    /// A line of a log about the function; left out when the queue is full.
    pub(crate) fn log(&self, line: impl Display) {
        let line = line.to_string();
        self.journal.say(Speaker::Kip, &line);
        let line = format!("{} {} {line}", self.name, self.console.paint(DIM, "|"));
        let _ = self.console.items.try_send(Item::Line(Target::Stderr, line));
    }

    /// Lines the function printed a while ago; left out when the queue is full.
    pub(crate) fn print_now(&self, lines: impl Iterator<Item = impl Display>) {
        let bar = self.console.paint(DIM, "|");
        for line in lines {
            let line = line.to_string();
            self.journal.say(Speaker::Function, &line);
            self.console.put(format!("{} {bar} {line}", self.name));
        }
    }
}

/// Writes until every console is gone. A closed stdout (`| head`) is no reason to stop serving.
fn write(mut queue: mpsc::Receiver<Item>) {
    while let Some(item) = queue.blocking_recv() {
        match item {
            Item::Line(Target::Stdout, line) => {
                let mut out = io::stdout().lock();
                let _ = writeln!(out, "{line}").and_then(|()| out.flush());
            }
            Item::Line(Target::Stderr, line) => {
                let _ = writeln!(io::stderr().lock(), "{line}");
            }
            Item::Flush(done) => {
                let _ = done.send(());
            }
        }
    }
}
