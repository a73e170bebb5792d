//! What became of one function since `kip dev` started: its last lines, how many processes serve it, why
//! it does not start, how its runs ended. Written by those who see it happen, read by the console.

use std::collections::VecDeque;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kipper_function::{
    Timestamp,
    function::{RunResult, RunStatus, ScheduleStatus},
};
use parking_lot::Mutex;
use tokio::sync::{broadcast, watch};

/// Lines and bytes that are kept; the oldest go.
const MAX_LINES: usize = 10_000;
const MAX_BYTES: usize = 4 << 20;
/// Lines on their way to who listens; at the bound one who is slow misses some.
const SAID: usize = 512;

/// One line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Said {
    pub(crate) time: Timestamp,
    /// The function itself, or kip about it.
    pub(crate) speaker: Speaker,
    pub(crate) text: String,
}

/// Who says a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Speaker {
    Function,
    Kip,
}

impl Speaker {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Function => "function",
            Self::Kip => "kip",
        }
    }
}

/// How it stands.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Facts {
    /// Processes that answer.
    pub(crate) replicas: u32,
    /// Processes that are on their way.
    pub(crate) starting: u32,
    /// Why the present code does not run, and since when.
    pub(crate) failure: Option<(String, Timestamp)>,
    /// Why its events are not handled.
    pub(crate) unhandled: Option<String>,
    pub(crate) runs: ScheduleStatus,
}

/// The journal of one function.
#[derive(Debug)]
pub(crate) struct Journal {
    facts: watch::Sender<Facts>,
    lines: Mutex<Lines>,
    said: broadcast::Sender<Said>,
}

#[derive(Debug, Default)]
struct Lines {
    lines: VecDeque<Said>,
    bytes: usize,
}

impl Default for Journal {
    fn default() -> Self {
        Self {
            facts: watch::Sender::default(),
            lines: Mutex::default(),
            said: broadcast::Sender::new(SAID),
        }
    }
}

impl Journal {
    /// How it stands, and when that changes.
    pub(crate) fn facts(&self) -> watch::Receiver<Facts> {
        self.facts.subscribe()
    }

    /// The lines from now on.
    pub(crate) fn listen(&self) -> broadcast::Receiver<Said> {
        self.said.subscribe()
    }

    /// The lines since a moment.
    pub(crate) fn since(&self, time: Timestamp) -> Vec<Said> {
        let lines = self.lines.lock();
        let first = lines.lines.partition_point(|said| said.time < time);
        lines.lines.range(first..).cloned().collect()
    }

    pub(crate) fn say(&self, speaker: Speaker, text: &str) {
        let said = Said { time: Timestamp::now(), speaker, text: text.to_owned() };
        self.lines.lock().push(said.clone());
        // Nobody may listen.
        let _ = self.said.send(said);
    }

    pub(crate) fn replicas(&self, serving: usize, starting: usize) {
        let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        let (replicas, starting) = (count(serving), count(starting));
        self.change(|facts| {
            (facts.replicas, facts.starting) = (replicas, starting);
        });
    }

    /// The present code does not run.
    pub(crate) fn failed(&self, why: &str) {
        self.change(|facts| {
            let since = facts.failure.take().map_or_else(Timestamp::now, |(_, since)| since);
            facts.failure = Some((why.to_owned(), since));
        });
    }

    /// It runs, or is other code now.
    pub(crate) fn healed(&self) {
        self.change(|facts| facts.failure = None);
    }

    /// Why its events are not handled; `None` where they are, or it has none.
    pub(crate) fn unhandled(&self, why: Option<String>) {
        self.change(|facts| facts.unhandled = why);
    }

    pub(crate) fn run_began(&self, run: String) {
        let now = Time(Timestamp::now());
        self.change(|facts| {
            let run = RunStatus { job: run, start_time: Some(now.clone()), ..RunStatus::default() };
            facts.runs.last_schedule_time = Some(now);
            facts.runs.active_run = Some(run);
        });
    }

    /// The run in progress ended; why it failed, if it did.
    pub(crate) fn run_ended(&self, failure: Option<String>) {
        self.change(|facts| {
            let Some(mut run) = facts.runs.active_run.take() else { return };
            let result = if failure.is_some() { RunResult::Failed } else { RunResult::Succeeded };
            run.result = Some(result.as_str().to_owned());
            run.completion_time = Some(Time(Timestamp::now()));
            run.message = failure;
            facts.runs.last_run = Some(run);
        });
    }

    fn change(&self, change: impl FnOnce(&mut Facts)) {
        self.facts.send_if_modified(|facts| {
            let before = facts.clone();
            change(facts);
            *facts != before
        });
    }
}

impl Lines {
    fn push(&mut self, said: Said) {
        self.bytes += said.text.len();
        self.lines.push_back(said);
        while self.lines.len() > MAX_LINES || self.bytes > MAX_BYTES {
            let Some(oldest) = self.lines.pop_front() else { return };
            self.bytes -= oldest.text.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_lines_go_at_the_bound() {
        let journal = Journal::default();
        let long = "x".repeat(MAX_BYTES / 2);
        for text in ["a", &long, "b", &long] {
            journal.say(Speaker::Function, text);
        }
        let kept = journal.since(Timestamp::UNIX_EPOCH);
        let lengths: Vec<usize> = kept.iter().map(|said| said.text.len()).collect();
        assert_eq!(lengths, [1, MAX_BYTES / 2]);
        assert_eq!(kept[0].text, "b");
    }

    #[test]
    fn a_failure_keeps_its_beginning_until_it_is_gone() {
        let journal = Journal::default();
        let facts = journal.facts();
        journal.failed("a");
        let since = facts.borrow().failure.as_ref().map(|(_, since)| *since);
        journal.failed("b");
        assert_eq!(facts.borrow().failure, since.map(|since| ("b".to_owned(), since)));
        journal.healed();
        assert_eq!(facts.borrow().failure, None);
    }

    #[test]
    fn a_run_is_told_when_it_has_ended() {
        let journal = Journal::default();
        journal.run_began("run-1".to_owned());
        journal.run_ended(Some("exit code 1".to_owned()));
        let runs = journal.facts().borrow().runs.clone();
        assert!(runs.active_run.is_none());
        let last = runs.last_run.unwrap_or_default();
        assert_eq!(last.result.as_deref(), Some("Failed"));
        assert_eq!(last.message.as_deref(), Some("exit code 1"));
    }
}
