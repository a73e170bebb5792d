//! The timeline of a wake: one line per cold start.
//!
//! `signal` = from the first held request to KEDA's decision; `spawn` = starting the process and
//! listing its address; `listen` = until it accepts connections; `answer` = until the first request
//! is done. Only looks: the interceptor's counters are read, nothing waits for this.

use std::{
    fmt::Write as _,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

use kipper_interceptor::{function::Function, router::Router};

use super::super::console::Voice;

/// A first answer that takes longer is not waited for; the line then ends before it.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// The counters are looked at this often at first, and the longer it takes the more rarely: by this
/// part of the time waited so far.
const FIRST_LOOK: Duration = Duration::from_millis(1);
const LOOK_SHARE: u32 = 20;

/// Writes the lines of one function.
pub(crate) struct WakeLog {
    pub(crate) voice: Voice,
    pub(crate) router: Arc<Router>,
    pub(crate) host: String,
}

/// A wake that is on its way.
pub(crate) struct Wake {
    /// KEDA decided.
    since: Instant,
    /// The process was started and its address listed.
    pub(crate) spawned: Option<Instant>,
    function: Option<Arc<Function>>,
    done_before: u64,
}

/// How long each phase took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Timeline {
    signal: Duration,
    spawn: Duration,
    listen: Duration,
    answer: Option<Duration>,
}

impl WakeLog {
    /// KEDA decided at `since` that the function is needed.
    pub(crate) fn begin(&self, since: Instant) -> Wake {
        // Without a held request nobody waits for it: replicas that are kept while idle.
        let function = self.router.route(&self.host).filter(|function| function.held() > 0);
        let done_before = function.as_deref().map_or(0, done);
        Wake { since, spawned: None, function, done_before }
    }

    /// The function listens since `at`; says how it went, as soon as the first answer is out.
    pub(crate) fn end(&self, wake: Wake, at: Instant) {
        let spawned = wake.spawned.unwrap_or(wake.since);
        let spawn = spawned.saturating_duration_since(wake.since);
        let listen = at.saturating_duration_since(spawned);
        let Some(function) = wake.function else {
            self.voice.say(format!("started in {} ms", (spawn + listen).as_millis()));
            return;
        };
        let clock = &function.wake_clock;
        let until_listed = clock.address.load(Relaxed).saturating_sub(clock.started.load(Relaxed));
        let signal = Duration::from_micros(until_listed).saturating_sub(spawn);
        let voice = self.voice.clone();
        tokio::spawn(async move {
            let answered = answered(&function, wake.done_before, at).await;
            let answer = answered.map(|answered| answered.saturating_duration_since(at));
            voice.say(render(Timeline { signal, spawn, listen, answer }));
        });
    }
}

/// Requests that are neither held nor running any more.
fn done(function: &Function) -> u64 {
    let held = u64::try_from(function.held()).unwrap_or(u64::MAX);
    let open = held.saturating_add(function.counters.in_flight().into());
    function.counters.total().saturating_sub(open)
}

/// When the first request was done.
async fn answered(function: &Function, before: u64, since: Instant) -> Option<Instant> {
    while since.elapsed() < ANSWER_TIMEOUT {
        if done(function) > before {
            return Some(Instant::now());
        }
        tokio::time::sleep((since.elapsed() / LOOK_SHARE).max(FIRST_LOOK)).await;
    }
    None
}

/// `woke in 52 ms  (signal 1 · spawn 2 · listen 44 · answer 5)`, in whole milliseconds.
fn render(timeline: Timeline) -> String {
    let Timeline { signal, spawn, listen, answer } = timeline;
    let ms = |duration: Duration| (duration + Duration::from_micros(500)).as_millis();
    let total = signal + spawn + listen + answer.unwrap_or_default();
    let mut line = format!(
        "woke in {} ms  (signal {} · spawn {} · listen {}",
        ms(total),
        ms(signal),
        ms(spawn),
        ms(listen)
    );
    // Writing to a string cannot fail.
    let _ = match answer {
        Some(answer) => write!(line, " · answer {})", ms(answer)),
        None => write!(line, " · no answer yet)"),
    };
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_names_every_phase() {
        let ms = Duration::from_micros;
        let timeline = Timeline {
            signal: ms(900),
            spawn: ms(2_100),
            listen: ms(44_000),
            answer: Some(ms(5_200)),
        };
        let expected = "woke in 52 ms  (signal 1 · spawn 2 · listen 44 · answer 5)";
        assert_eq!(render(timeline), expected);
        let silent = Timeline { answer: None, ..timeline };
        assert_eq!(
            render(silent),
            "woke in 47 ms  (signal 1 · spawn 2 · listen 44 · no answer yet)"
        );
    }
}
