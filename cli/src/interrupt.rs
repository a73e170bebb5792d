//! Ctrl-C leaves nothing half done: writes that belong together are finished first.

use std::{io, pin::pin, process};

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::output;

/// Exit code after Ctrl-C, as a shell has it.
pub const INTERRUPTED: i32 = 130;

/// Does writes that belong together. A Ctrl-C before their end ends the process after it; a later one
/// at once.
///
/// # Errors
/// When signals cannot be handled.
pub async fn whole<T>(writes: impl Future<Output = T>) -> io::Result<T> {
    let mut interrupts = interrupts()?;
    let mut writes = pin!(writes);
    let mut is_asked = false;
    let done = loop {
        tokio::select! {
            biased;
            Some(()) = interrupts.recv() => is_asked = true,
            done = &mut writes => break done,
        }
    };
    if is_asked {
        output::note("interrupted: writes in progress were completed, not waiting for the result");
        process::exit(INTERRUPTED);
    }
    // From now on this process has to end itself.
    tokio::spawn(async move {
        interrupts.recv().await;
        process::exit(INTERRUPTED);
    });
    Ok(done)
}

/// Follows something that goes on without this process. A Ctrl-C ends the process, which says so.
///
/// # Errors
/// When signals cannot be handled.
pub async fn detached<T>(following: impl Future<Output = T>, message: &str) -> io::Result<T> {
    let mut interrupts = interrupts()?;
    tokio::select! {
        done = following => Ok(done),
        Some(()) = interrupts.recv() => {
            output::note(message);
            process::exit(INTERRUPTED)
        }
    }
}

fn interrupts() -> io::Result<Signal> {
    signal(SignalKind::interrupt())
}
