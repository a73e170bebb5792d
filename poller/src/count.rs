//! How many events wait, said again and again: what a function is scaled on where no KEDA is.
//!
//! `kip dev` runs this beside every function with an event trigger, because at zero replicas there is
//! no poller. Whatever goes wrong is said and tried again.

use std::{io::Write, time::Duration};

use kipper_trigger::Count;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::{backlog::Backlog, config::Config, embedded::check, error::Error};

/// Pause after a trigger turned out not to work: only the user can change that.
const RECHECK_PAUSE: Duration = Duration::from_secs(5);

/// How the source is looked at.
#[derive(Clone, Copy, Debug)]
pub struct Looks {
    /// Where counting stops.
    pub bound: u64,
    /// Pause between two looks.
    pub interval: Duration,
}

/// Writes a [`Count`] for every look to `out`, until `shutdown` or until `out` takes no more.
pub async fn count(
    config: &Config,
    looks: Looks,
    shutdown: CancellationToken,
    mut out: impl Write,
) {
    let counting = async {
        let mut backlog = None;
        let mut ticks = interval(looks.interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let found = match look(config, looks.bound, &mut backlog).await {
                Ok(count) => Count::Waiting(count),
                Err(error) if error.is_usage() => Count::Invalid(in_words(error)),
                Err(error) => Count::Unavailable(in_words(error)),
            };
            // A number and a text always make JSON.
            let line = serde_json::to_string(&found).unwrap_or_default();
            if writeln!(out, "{line}").and_then(|()| out.flush()).is_err() {
                return;
            }
            if matches!(found, Count::Invalid(_)) {
                tokio::time::sleep(RECHECK_PAUSE).await;
            }
        }
    };
    shutdown.run_until_cancelled(Box::pin(counting)).await;
}

/// The whole trigger is checked before the first count: with a mark that cannot work, no function
/// should be started.
async fn look(config: &Config, bound: u64, known: &mut Option<Backlog>) -> Result<u64, Error> {
    let backlog = match known {
        Some(backlog) => backlog,
        none => {
            check(config).await?;
            none.insert(Backlog::new(config, bound)?)
        }
    };
    Ok(backlog.count().await?)
}

/// The error with its causes.
fn in_words(error: Error) -> String {
    format!("{:#}", anyhow::Error::new(error))
}
