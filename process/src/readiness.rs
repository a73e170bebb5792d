//! Whether this process may receive traffic, and what it still waits for.
//!
//! A process takes one named blocker per thing it must have first (its first route snapshot, its
//! listener, …) before it binds the admin port, and clears each as it arrives. `/readyz` shows the
//! names that are left. A drain makes the process not ready for good. Nothing waits here.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

/// Readiness of the process: ready when nothing blocks it and it is not draining.
///
/// Clones share one state.
#[derive(Clone, Debug, Default)]
pub struct Readiness {
    state: Arc<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Blockers by name; several parts may block under one name. Bounded by the call sites, which
    /// are a handful per process.
    blockers: Mutex<BTreeMap<Cow<'static, str>, usize>>,
    draining: AtomicBool,
}

impl State {
    fn blockers(&self) -> MutexGuard<'_, BTreeMap<Cow<'static, str>, usize>> {
        // The map is whole after every step, so a panic elsewhere cannot have broken it.
        self.blockers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Readiness {
    /// A readiness that nothing blocks.
    pub fn new() -> Self {
        Self::default()
    }

    /// Keeps the process not ready until the returned block is cleared or dropped.
    pub fn block(&self, name: impl Into<Cow<'static, str>>) -> ReadyBlock {
        let name = name.into();
        *self.state.blockers().entry(name.clone()).or_default() += 1;
        ReadyBlock { name, state: self.state.clone() }
    }

    /// Makes the process not ready for the rest of its life. Idempotent.
    pub fn set_draining(&self) {
        self.state.draining.store(true, Ordering::Release);
    }

    /// True when nothing blocks and the process does not drain.
    pub fn is_ready(&self) -> bool {
        self.missing().is_empty()
    }

    /// The names of what is missing, sorted; `draining` stands for a drain. Empty means ready.
    pub fn missing(&self) -> Vec<String> {
        let mut missing: Vec<String> =
            self.state.blockers().keys().map(|name| name.clone().into_owned()).collect();
        if self.state.draining.load(Ordering::Acquire) {
            missing.push("draining".to_owned());
        }
        missing
    }
}

/// One thing that must happen before the process is ready. Dropping it clears it: a stage that
/// died is reported by its task's end, not by a readiness that never comes.
#[derive(Debug)]
#[must_use = "dropping the block makes the process ready"]
pub struct ReadyBlock {
    name: Cow<'static, str>,
    state: Arc<State>,
}

impl ReadyBlock {
    /// Clears this block.
    pub fn ready(self) {}
}

impl Drop for ReadyBlock {
    fn drop(&mut self) {
        let mut blockers = self.state.blockers();
        if let Some(count) = blockers.get_mut(&self.name) {
            *count -= 1;
            if *count == 0 {
                blockers.remove(&self.name);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_only_when_every_block_is_cleared() {
        let readiness = Readiness::new();
        assert!(readiness.is_ready());
        let routes = readiness.block("routes");
        let first = readiness.block("listener");
        let second = readiness.block("listener");
        assert_eq!(readiness.missing(), ["listener", "routes"]);
        first.ready();
        assert_eq!(readiness.missing(), ["listener", "routes"]);
        drop(second);
        assert_eq!(readiness.clone().missing(), ["routes"]);
        routes.ready();
        assert!(readiness.is_ready());
    }

    #[test]
    fn a_drain_is_for_good() {
        let readiness = Readiness::new();
        readiness.set_draining();
        readiness.set_draining();
        readiness.block("late").ready();
        assert_eq!(readiness.missing(), ["draining"]);
    }
}
