//! Whether this adapter has heard enough after its start to call a function inactive.
//!
//! Until every expected interceptor has sent its snapshot, or the wait is over, the answer to KEDA
//! is UNAVAILABLE, upon which KEDA keeps the replicas. Once over, a warm-up stays over.

use std::{collections::HashSet, num::NonZeroUsize, str::FromStr, sync::OnceLock, time::Duration};

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;

/// How often a name is resolved while the warm-up lasts.
const RESOLVE_INTERVAL: Duration = Duration::from_secs(1);

/// How many interceptors are expected to send a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expected {
    /// A fixed number.
    Count(NonZeroUsize),
    /// As many as a name (`host` or `host:port`) has addresses: the interceptors' headless Service.
    Dns(String),
}

impl Default for Expected {
    fn default() -> Self {
        Self::Count(NonZeroUsize::MIN)
    }
}

impl FromStr for Expected {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(count) = text.parse() {
            return Ok(Self::Count(count));
        }
        if text.is_empty() || text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err("expected a number above 0, or a DNS name".to_owned());
        }
        let has_port = text.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        Ok(Self::Dns(if has_port { text.to_owned() } else { format!("{text}:0") }))
    }
}

/// The state of the warm-up.
pub(crate) struct Warmup {
    clock: Clock,
    deadline: Duration,
    seen: Mutex<Seen>,
    over: CancellationToken,
    /// When the first snapshot came, and so since when rates mean anything.
    first: OnceLock<Duration>,
}

struct Seen {
    /// `None` until the name was resolved.
    expected: Option<usize>,
    interceptors: HashSet<u32>,
}

impl Warmup {
    pub(crate) fn new(expected: &Expected, wait: Duration, clock: Clock) -> Self {
        let expected = match expected {
            Expected::Count(count) => Some(count.get()),
            Expected::Dns(_) => None,
        };
        Self {
            clock,
            deadline: clock.now() + wait,
            seen: Mutex::new(Seen { expected, interceptors: HashSet::new() }),
            over: CancellationToken::new(),
            first: OnceLock::new(),
        }
    }

    /// True when silence about a function means that it is idle.
    pub(crate) fn is_over(&self) -> bool {
        self.over.is_cancelled() || self.clock.now() >= self.deadline
    }

    /// For how long rates have been observed.
    pub(crate) fn covered(&self) -> Duration {
        let now = self.clock.now();
        self.first.get().map_or(Duration::ZERO, |first| now.saturating_sub(*first))
    }

    /// An interceptor's snapshot was taken in.
    pub(crate) fn snapshot(&self, interceptor: u32) {
        self.first.get_or_init(|| self.clock.now());
        if self.is_over() {
            return;
        }
        let mut seen = self.seen.lock();
        seen.interceptors.insert(interceptor);
        self.settle(&seen);
    }

    fn expect(&self, count: usize) {
        let mut seen = self.seen.lock();
        // A name without addresses says nothing: at least one must be reporting.
        seen.expected = Some(count.max(1));
        self.settle(&seen);
    }

    fn settle(&self, seen: &Seen) {
        if seen.expected.is_some_and(|expected| seen.interceptors.len() >= expected) {
            self.over.cancel();
        }
    }

    /// Resolves the expected interceptors until the warm-up is over.
    pub(crate) async fn watch(&self, expected: &Expected) {
        let Expected::Dns(name) = expected else {
            return;
        };
        while !self.is_over() {
            match tokio::net::lookup_host(name).await {
                Ok(addresses) => {
                    let ips: HashSet<_> = addresses.map(|address| address.ip()).collect();
                    self.expect(ips.len());
                }
                Err(error) => tracing::warn!(%name, %error, "expected interceptors not resolved"),
            }
            tokio::select! {
                () = self.over.cancelled() => return,
                () = tokio::time::sleep(RESOLVE_INTERVAL) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const WAIT: Duration = Duration::from_secs(10);

    #[test]
    fn expectations_parse() {
        assert_eq!("3".parse(), Ok(Expected::Count(NonZeroUsize::new(3).unwrap())));
        assert_eq!("interceptor".parse(), Ok(Expected::Dns("interceptor:0".to_owned())));
        assert_eq!(
            "interceptor.kipper:80".parse(),
            Ok(Expected::Dns("interceptor.kipper:80".to_owned()))
        );
        for bad in ["", "0"] {
            assert!(bad.parse::<Expected>().is_err(), "{bad:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn ends_with_the_last_expected_snapshot() {
        let warmup = Warmup::new(&"2".parse().unwrap(), WAIT, Clock::start());
        warmup.snapshot(1);
        warmup.snapshot(1);
        assert!(!warmup.is_over());
        warmup.snapshot(2);
        assert!(warmup.is_over());
    }

    #[tokio::test(start_paused = true)]
    async fn ends_by_itself_and_stays_over() {
        let warmup = Warmup::new(&"2".parse().unwrap(), WAIT, Clock::start());
        tokio::time::advance(WAIT - Duration::from_millis(1)).await;
        assert!(!warmup.is_over());
        tokio::time::advance(Duration::from_millis(1)).await;
        assert!(warmup.is_over());
    }

    #[tokio::test]
    async fn a_name_is_resolved() {
        let expected: Expected = "localhost".parse().unwrap();
        let warmup = Warmup::new(&expected, Duration::from_secs(3600), Clock::start());
        warmup.snapshot(1);
        warmup.snapshot(2);
        // `localhost` has one or two addresses, so two snapshots suffice either way.
        warmup.watch(&expected).await;
        assert!(warmup.is_over());
    }
}
