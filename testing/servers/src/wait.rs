//! Waiting for what announces nothing, with a patience that only a broken run uses up.

use std::{
    thread,
    time::{Duration, Instant},
};

/// How long anything may take on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(120);
/// Between two looks.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// Waits until `condition` holds.
///
/// # Panics
/// With what was waited for, when it never does.
pub async fn until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let begin = Instant::now();
    while !condition().await {
        assert!(begin.elapsed() < PATIENCE, "waited in vain for: {what}");
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// The same for what is known without waiting. Unlike [`until`], it can be awaited by a task that
/// moves between threads: `AsyncFnMut` does not say that its futures are `Send`.
///
/// # Panics
/// As [`until`].
pub async fn until_true(what: &str, mut condition: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !condition() {
        assert!(begin.elapsed() < PATIENCE, "waited in vain for: {what}");
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// The same on a thread that may block.
///
/// # Panics
/// As [`until`].
pub fn until_blocking(what: &str, mut condition: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !condition() {
        assert!(begin.elapsed() < PATIENCE, "waited in vain for: {what}");
        thread::sleep(LOOK_AGAIN);
    }
}
