//! SIGTERM and SIGINT.
//!
//! The first signal asks for a drain by cancelling a token. The second one is an operator who does
//! not want to wait: the process ends at once with the shell's exit code for that signal. Nothing
//! else in a process installs handlers.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// A signal that asks the process to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndSignal {
    /// SIGINT, Ctrl-C.
    Interrupt,
    /// SIGTERM, what Kubernetes sends.
    Terminate,
}

impl EndSignal {
    /// The exit code a shell shows for a process that this signal ended: 130 or 143.
    pub fn exit_code(self) -> i32 {
        match self {
            Self::Interrupt => 130,
            Self::Terminate => 143,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Interrupt => "SIGINT",
            Self::Terminate => "SIGTERM",
        }
    }
}

/// The token that the first signal cancels; the second one ends the process at once.
///
/// Must be called inside a tokio runtime, once per process.
///
/// # Errors
/// When the handlers cannot be installed.
pub fn shutdown_token() -> io::Result<CancellationToken> {
    shutdown_token_or(|forced| std::process::exit(forced.exit_code()))
}

/// As [`shutdown_token`], with another reaction to the second signal: `kip dev`, for one, has
/// child processes to stop before it may leave.
///
/// # Errors
/// When the handlers cannot be installed.
pub fn shutdown_token_or(
    forced: impl FnOnce(EndSignal) + Send + 'static,
) -> io::Result<CancellationToken> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let token = CancellationToken::new();
    let shutdown = token.clone();
    tokio::spawn(async move {
        let first = next(&mut interrupt, &mut terminate).await;
        tracing::info!(signal = first.name(), "shutting down");
        shutdown.cancel();
        let second = next(&mut interrupt, &mut terminate).await;
        tracing::warn!(signal = second.name(), "forced to end before the drain finished");
        forced(second);
    });
    Ok(token)
}

async fn next(interrupt: &mut Signal, terminate: &mut Signal) -> EndSignal {
    tokio::select! {
        _ = interrupt.recv() => EndSignal::Interrupt,
        _ = terminate.recv() => EndSignal::Terminate,
    }
}
