//! The collector's clock: what `now` means to the pure stages.

use std::time::Duration;

use tokio::time::Instant;

/// Where the clock starts, so that what happened before the process started has a time too.
const ORIGIN: Duration = Duration::from_secs(365 * 24 * 3600);

/// Monotonic time since [`ORIGIN`] before the process started. Follows tokio's paused time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    started: Instant,
}

impl Clock {
    pub(crate) fn start() -> Self {
        Self { started: Instant::now() }
    }

    pub(crate) fn now(self) -> Duration {
        ORIGIN + self.started.elapsed()
    }
}
