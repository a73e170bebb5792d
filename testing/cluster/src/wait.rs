//! Waiting for the cluster to become as it should be. A condition says what it saw instead, so
//! that a wait that fails tells more than that it failed.

use std::time::{Duration, Instant};

/// Several times what anything here takes on a busy machine, polls of KEDA's included.
pub const DEADLINE: Duration = Duration::from_secs(300);
/// Between two looks.
const PERIOD: Duration = Duration::from_millis(200);

/// What a condition sees: its result, or in words what keeps it from holding.
pub type Seen<T> = Result<T, String>;

/// Looks until `condition` holds.
pub async fn until<T, F: Future<Output = Seen<T>>>(
    what: &str,
    mut condition: impl FnMut() -> F,
) -> T {
    let since = Instant::now();
    loop {
        match condition().await {
            Ok(result) => return result,
            Err(seen) => {
                assert!(since.elapsed() < DEADLINE, "waited in vain for {what}; last seen: {seen}");
            }
        }
        tokio::time::sleep(PERIOD).await;
    }
}

/// `Ok` if it holds, else what was seen.
pub fn expect(holds: bool, seen: impl FnOnce() -> String) -> Seen<()> {
    if holds { Ok(()) } else { Err(seen()) }
}
