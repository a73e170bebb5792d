//! The bound of a whole run: a total time, and the signals that end it early.
//!
//! Every wait of a run asks [`Budget::check`]. When it says no, the error unwinds through the
//! guards of the child processes, which is what stops them.

use std::{
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use tokio_util::sync::CancellationToken;

/// What is left of a run.
#[derive(Clone, Debug)]
pub struct Budget {
    end: Instant,
    stop: CancellationToken,
}

impl Budget {
    /// A budget that only time ends.
    pub fn new(total: Duration) -> Self {
        Self { end: Instant::now() + total, stop: CancellationToken::new() }
    }

    /// A budget that the first SIGINT or SIGTERM ends too; a second one ends the process, whose
    /// children then get their parent-death signal. Once per process.
    ///
    /// # Errors
    /// When the signal handlers cannot be installed.
    pub fn with_signals(total: Duration) -> Result<Self, anyhow::Error> {
        let (tx, rx) = mpsc::channel();
        // The run itself is plain blocking code; only the signals need a runtime.
        thread::Builder::new().name("signals".to_owned()).spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                let _ = tx.send(kipper_process::signals::shutdown_token());
                std::future::pending::<std::io::Result<()>>().await
            })
        })?;
        let stop = rx.recv().context("start the signal thread")??;
        Ok(Self { stop, ..Self::new(total) })
    }

    /// # Errors
    /// When the time is over or a signal came.
    pub fn check(&self) -> Result<(), anyhow::Error> {
        anyhow::ensure!(!self.stop.is_cancelled(), "interrupted");
        anyhow::ensure!(Instant::now() < self.end, "the run took longer than --max-time");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn time_and_interruption_end_a_run() {
        Budget::new(Duration::from_secs(3600)).check().unwrap();
        assert!(Budget::new(Duration::ZERO).check().unwrap_err().to_string().contains("max-time"));
        let budget = Budget::new(Duration::from_secs(3600));
        budget.stop.cancel();
        assert_eq!(budget.check().unwrap_err().to_string(), "interrupted");
    }
}
