//! What a poller or the bucket watcher logs, for the user.
//!
//! A poller says of every failed delivery, dead letter and lost connection one line to its log, the
//! watcher of every bucket that it watches or cannot watch. Here those logs are what the user
//! watches, so the lines go to the console instead; all others go where the log of `kip` goes.

use std::fmt::{self, Write as _};

use tracing::{
    Dispatch, Event, Level, Metadata, Subscriber,
    dispatcher::get_default,
    field::{Field, Visit},
    span::{Attributes, Id, Record},
    subscriber::Interest,
};

use super::console::{Console, Voice};

const POLLER: &str = "kipper_poller";
const WATCHER: &str = "kipper_bucket_watcher";

/// Whose log it is.
enum Author {
    /// The poller of one function, which speaks with its voice.
    Poller(Voice),
    /// The watcher of all buckets, which names the function in each line.
    Watcher(Console),
}

/// The log of one poller, or of the watcher.
pub(super) struct Journal {
    author: Author,
    /// The log of `kip`.
    outer: Dispatch,
}

impl Journal {
    pub(super) fn new(voice: Voice) -> Self {
        Self::of(Author::Poller(voice))
    }

    pub(super) fn of_watcher(console: Console) -> Self {
        Self::of(Author::Watcher(console))
    }

    fn of(author: Author) -> Self {
        Self { author, outer: get_default(Dispatch::clone) }
    }

    fn is_for_the_user(&self, metadata: &Metadata<'_>) -> bool {
        let (target, level) = match self.author {
            Author::Poller(_) => (POLLER, Level::WARN),
            // What happened in a bucket before it was watched is no event.
            Author::Watcher(_) => (WATCHER, Level::INFO),
        };
        *metadata.level() <= level && metadata.target().starts_with(target)
    }
}

impl Subscriber for Journal {
    /// A journal is there as long as `kip`, so what nobody wants to hear must cost nothing.
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        if self.is_for_the_user(metadata) {
            return Interest::always();
        }
        self.outer.register_callsite(metadata)
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.is_for_the_user(metadata) || self.outer.enabled(metadata)
    }

    fn event(&self, event: &Event<'_>) {
        if !self.is_for_the_user(event.metadata()) {
            return self.outer.event(event);
        }
        let mut line = Line::default();
        event.record(&mut line);
        match &self.author {
            Author::Poller(voice) => voice.warn(line),
            Author::Watcher(console) if *event.metadata().level() <= Level::WARN => {
                console.warn(line);
            }
            Author::Watcher(console) => console.say(line),
        }
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        self.outer.new_span(span)
    }

    fn record(&self, span: &Id, values: &Record<'_>) {
        self.outer.record(span, values);
    }

    fn record_follows_from(&self, span: &Id, follows: &Id) {
        self.outer.record_follows_from(span, follows);
    }

    fn enter(&self, span: &Id) {
        self.outer.enter(span);
    }

    fn exit(&self, span: &Id) {
        self.outer.exit(span);
    }

    fn clone_span(&self, id: &Id) -> Id {
        self.outer.clone_span(id)
    }

    fn try_close(&self, id: Id) -> bool {
        self.outer.try_close(id)
    }
}

/// One line of the log, in words: `event 42, attempt 3: delivery failed: 500, next try in 4.1 s`.
#[derive(Default)]
struct Line {
    message: String,
    /// Whose line it is, where one log has several functions.
    function: String,
    key: String,
    attempt: String,
    pause_ms: Option<u128>,
    /// Whatever else was said.
    others: String,
}

impl Visit for Line {
    fn record_u128(&mut self, field: &Field, value: u128) {
        match field.name() {
            "pause_ms" => self.pause_ms = Some(value),
            _ => self.record_debug(field, &value),
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing to a string cannot fail.
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            "key" => write!(self.key, "{value:?}"),
            "attempt" => write!(self.attempt, "{value:?}"),
            "function" => write!(self.function, "{value:?}"),
            // The message says it, or there is only one.
            "condition" | "call" | "bucket" | "namespace" => Ok(()),
            name => write!(self.others, ", {name} {value:?}"),
        };
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.function.is_empty() {
            write!(f, "{}: ", self.function)?;
        }
        if !self.key.is_empty() {
            write!(f, "event {}", self.key)?;
            if !self.attempt.is_empty() {
                write!(f, ", attempt {}", self.attempt)?;
            }
            f.write_str(": ")?;
        }
        write!(f, "{}{}", self.message, self.others)?;
        match self.pause_ms {
            Some(pause) => write!(f, ", next try in {}.{} s", pause / 1000, pause % 1000 / 100),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::{Arc, Mutex};

    use tracing::subscriber::with_default;

    use super::*;

    /// Collects lines.
    struct Lines(Arc<Mutex<Vec<String>>>);

    impl Subscriber for Lines {
        fn enabled(&self, _: &Metadata<'_>) -> bool {
            true
        }

        fn event(&self, event: &Event<'_>) {
            let mut line = Line::default();
            event.record(&mut line);
            self.0.lock().unwrap().push(line.to_string());
        }

        fn new_span(&self, _: &Attributes<'_>) -> Id {
            Id::from_u64(1)
        }

        fn record(&self, _: &Id, _: &Record<'_>) {}
        fn record_follows_from(&self, _: &Id, _: &Id) {}
        fn enter(&self, _: &Id) {}
        fn exit(&self, _: &Id) {}
    }

    #[test]
    fn lines_are_sentences() {
        let lines = Arc::default();
        let key: Arc<str> = "42".into();
        with_default(Lines(Arc::clone(&lines)), || {
            tracing::warn!(%key, attempt = 3, pause_ms = 4100u128, "delivery failed: {}", 500);
            tracing::error!(%key, attempt = 10, "event is dead: 400: no");
            tracing::warn!(call = "claim", "connection to the source lost: x");
            tracing::error!(held = 1, unmarked = 2, "ended");
            let (namespace, function, bucket) = ("local", "f", "photos");
            tracing::info!(%namespace, %function, %bucket, objects = 3, "watching");
        });
        let expected = [
            "event 42, attempt 3: delivery failed: 500, next try in 4.1 s",
            "event 42, attempt 10: event is dead: 400: no",
            "connection to the source lost: x",
            "ended, held 1, unmarked 2",
            "f: watching, objects 3",
        ];
        assert_eq!(*lines.lock().unwrap(), expected);
    }
}
