//! Whose turn it is on the cluster: tests and scenarios that break only what they made share it, and
//! those that disturb or measure have it alone. It holds between processes too, so that tests and
//! scenarios may be started beside each other.

use std::{
    fs::{File, TryLockError},
    time::Duration,
};

use anyhow::Context as _;
use tokio::time::sleep;

/// Between two looks. Whoever wants it alone waits until nobody shares it, however long that takes.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// A turn, until it is dropped.
#[derive(Debug)]
pub struct Turn {
    #[allow(dead_code, reason = "held for its lock")]
    file: File,
}

/// Waits for a turn that others share.
///
/// # Errors
/// When the lock cannot be taken.
pub async fn shared() -> Result<Turn, anyhow::Error> {
    take(File::try_lock_shared).await
}

/// Waits for a turn that nobody shares.
///
/// # Errors
/// When the lock cannot be taken.
pub async fn alone() -> Result<Turn, anyhow::Error> {
    take(File::try_lock).await
}

async fn take(lock: impl Fn(&File) -> Result<(), TryLockError>) -> Result<Turn, anyhow::Error> {
    let path = std::env::temp_dir().join("kipper-local-cluster.lock");
    let mut options = File::options();
    options.read(true).write(true).create(true).truncate(false);
    let file = options.open(&path).with_context(|| path.display().to_string())?;
    loop {
        match lock(&file) {
            Ok(()) => return Ok(Turn { file }),
            Err(TryLockError::WouldBlock) => sleep(LOOK_AGAIN).await,
            Err(TryLockError::Error(error)) => {
                return Err(error).with_context(|| path.display().to_string());
            }
        }
    }
}
