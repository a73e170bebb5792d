//! What a ScaledObject tells the scaler-adapter: the `scalerMetadata` of its `external-push` trigger.
//!
//! | key | default | meaning |
//! |---|---|---|
//! | `function` | name of the ScaledObject | name of the Function, in the ScaledObject's namespace |
//! | `targetRequestRate` | 5 | requests per second that one replica should see; > 0 |
//! | `concurrency` | 0 | hard limit of requests in flight per replica; 0 = none, and no such metric |
//! | `idleTimeoutSeconds` | 300 | the ScaledObject's `cooldownPeriod` |
//! | `bucket` | | `true`: scaled by the events of a bucket, and by nothing of the above |
//! | `backlog` | | `true`: the same, by events that KEDA counts itself and that pollers report as well |
//! | `targetEvents` | 10 | events that one replica should have before it; > 0 |
//! | `pollingIntervalSeconds` | 30 | the ScaledObject's `pollingInterval` |
//! | `burstMaxReplicas` | | replicas up to which the adapter may scale ahead of the HPA; absent = it never does |
//!
//! Other keys are ignored: KEDA passes its own (`scalerAddress`, …) along.

use std::{
    collections::{BTreeMap, HashMap},
    str::FromStr,
    time::Duration,
};

const FUNCTION: &str = "function";
const TARGET_REQUEST_RATE: &str = "targetRequestRate";
const CONCURRENCY: &str = "concurrency";
const IDLE_TIMEOUT_SECONDS: &str = "idleTimeoutSeconds";
const BUCKET: &str = "bucket";
const BACKLOG: &str = "backlog";
const TARGET_EVENTS: &str = "targetEvents";
const POLLING_INTERVAL_SECONDS: &str = "pollingIntervalSeconds";
const BURST_MAX_REPLICAS: &str = "burstMaxReplicas";

const DEFAULT_TARGET_REQUEST_RATE: f64 = 5.0;
const DEFAULT_TARGET_EVENTS: f64 = 10.0;
const DEFAULT_IDLE_TIMEOUT_SECONDS: u64 = 300;
const DEFAULT_POLLING_INTERVAL_SECONDS: u64 = 30;
/// Beyond these a value is a mistake. No pod gets near this rate.
pub const MAX_TARGET_REQUEST_RATE: f64 = 1e6;
const MAX_TARGET_EVENTS: f64 = 1e6;
const MAX_CONCURRENCY: u32 = 1_000_000;
const MAX_IDLE_TIMEOUT_SECONDS: u64 = 30 * 24 * 3600;
const MAX_POLLING_INTERVAL_SECONDS: u64 = 3600;
const MAX_BURST_REPLICAS: u32 = 1000;

/// The metadata of one trigger.
#[derive(Clone, Debug, PartialEq)]
pub struct Metadata {
    /// Name of the Function; `None` where it is the ScaledObject's.
    pub function: Option<String>,
    /// Idle time before scale-to-zero, in whole seconds.
    pub idle_timeout: Duration,
    /// How often KEDA asks, in whole seconds.
    pub polling_interval: Duration,
    /// Replicas up to which it may be scaled ahead of the HPA; 0 = it is left to the HPA.
    pub burst_max_replicas: u32,
    /// What the function is scaled by.
    pub target: Target,
}

/// What a function is scaled by.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Target {
    /// Its requests.
    Requests {
        /// Requests per second that one replica should see.
        rate: f64,
        /// Requests in flight that a replica never exceeds; 0 = no limit.
        concurrency: u32,
    },
    /// The events of a bucket: as many as one replica should have before it.
    Bucket(f64),
    /// The same of another source. KEDA counts them itself; this is for what pollers report in between.
    Backlog(f64),
}

/// Why a value cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("scalerMetadata.{key}: {value:?} is not {expected}")]
pub struct MetadataError {
    /// Its key.
    pub key: &'static str,
    /// As it stands.
    pub value: String,
    /// What it must be.
    pub expected: &'static str,
}

impl Metadata {
    /// Reads what KEDA passes along. Every key that is there is checked, used or not.
    ///
    /// # Errors
    /// For the first value that cannot be used.
    pub fn parse(metadata: &HashMap<String, String>) -> Result<Self, MetadataError> {
        let rate = number(
            metadata,
            TARGET_REQUEST_RATE,
            DEFAULT_TARGET_REQUEST_RATE,
            |&rate: &f64| rate > 0.0 && rate <= MAX_TARGET_REQUEST_RATE,
            "a number above 0 and up to 1000000",
        )?;
        let concurrency = number(
            metadata,
            CONCURRENCY,
            0,
            |&limit: &u32| limit <= MAX_CONCURRENCY,
            "a whole number from 0 to 1000000",
        )?;
        let idle_timeout = number(
            metadata,
            IDLE_TIMEOUT_SECONDS,
            DEFAULT_IDLE_TIMEOUT_SECONDS,
            |&seconds: &u64| seconds <= MAX_IDLE_TIMEOUT_SECONDS,
            "a whole number of seconds up to 30 days",
        )?;
        let polling_interval = number(
            metadata,
            POLLING_INTERVAL_SECONDS,
            DEFAULT_POLLING_INTERVAL_SECONDS,
            |seconds: &u64| (1..=MAX_POLLING_INTERVAL_SECONDS).contains(seconds),
            "a whole number of seconds from 1 to 3600",
        )?;
        let burst_max_replicas = number(
            metadata,
            BURST_MAX_REPLICAS,
            0,
            |&replicas: &u32| replicas <= MAX_BURST_REPLICAS,
            "a whole number from 0 to 1000",
        )?;
        let is_bucket = number(metadata, BUCKET, false, |_| true, "true or false")?;
        let is_backlog = number(metadata, BACKLOG, false, |_| true, "true or false")?;
        let events = number(
            metadata,
            TARGET_EVENTS,
            DEFAULT_TARGET_EVENTS,
            |&events: &f64| events > 0.0 && events <= MAX_TARGET_EVENTS,
            "a number above 0 and up to 1000000",
        )?;
        Ok(Self {
            function: metadata.get(FUNCTION).cloned().filter(|name| !name.is_empty()),
            idle_timeout: Duration::from_secs(idle_timeout),
            polling_interval: Duration::from_secs(polling_interval),
            burst_max_replicas,
            target: match (is_bucket, is_backlog) {
                (true, _) => Target::Bucket(events),
                (false, true) => Target::Backlog(events),
                (false, false) => Target::Requests { rate, concurrency },
            },
        })
    }

    /// As it stands in a ScaledObject.
    pub fn texts(&self) -> BTreeMap<&'static str, String> {
        let mut texts = BTreeMap::from([
            (IDLE_TIMEOUT_SECONDS, self.idle_timeout.as_secs().to_string()),
            (POLLING_INTERVAL_SECONDS, self.polling_interval.as_secs().to_string()),
        ]);
        texts.extend(self.function.iter().map(|name| (FUNCTION, name.clone())));
        if self.burst_max_replicas > 0 {
            texts.insert(BURST_MAX_REPLICAS, self.burst_max_replicas.to_string());
        }
        match self.target {
            Target::Requests { rate, concurrency } => {
                texts.insert(TARGET_REQUEST_RATE, rate.to_string());
                if concurrency > 0 {
                    texts.insert(CONCURRENCY, concurrency.to_string());
                }
            }
            Target::Bucket(events) | Target::Backlog(events) => {
                let kind = if matches!(self.target, Target::Bucket(_)) { BUCKET } else { BACKLOG };
                texts.insert(kind, "true".to_owned());
                texts.insert(TARGET_EVENTS, events.to_string());
            }
        }
        texts
    }
}

fn number<T: FromStr>(
    metadata: &HashMap<String, String>,
    key: &'static str,
    default: T,
    is_valid: impl Fn(&T) -> bool,
    expected: &'static str,
) -> Result<T, MetadataError> {
    let Some(value) = metadata.get(key).map(|value| value.trim()).filter(|value| !value.is_empty())
    else {
        return Ok(default);
    };
    let bad = || MetadataError { key, value: value.to_owned(), expected };
    value.parse().ok().filter(is_valid).ok_or_else(bad)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn parse(pairs: &[(&str, &str)]) -> Result<Metadata, MetadataError> {
        let pairs = pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        Metadata::parse(&pairs.collect())
    }

    #[test]
    fn what_is_written_is_what_is_read() {
        let metadata = |target| Metadata {
            function: Some("hello".to_owned()),
            idle_timeout: Duration::from_secs(60),
            polling_interval: Duration::from_secs(5),
            burst_max_replicas: 10,
            target,
        };
        for target in [
            Target::Requests { rate: 0.5, concurrency: 8 },
            Target::Requests { rate: MAX_TARGET_REQUEST_RATE, concurrency: 0 },
            Target::Bucket(25.0),
            Target::Backlog(100.0),
        ] {
            let texts = metadata(target).texts();
            let pairs: Vec<_> = texts.iter().map(|(k, v)| (*k, v.as_str())).collect();
            assert_eq!(parse(&pairs), Ok(metadata(target)));
        }
    }

    #[test]
    fn defaults_are_those_of_a_function() {
        let expected = Metadata {
            function: None,
            idle_timeout: Duration::from_secs(300),
            polling_interval: Duration::from_secs(30),
            burst_max_replicas: 0,
            target: Target::Requests { rate: 5.0, concurrency: 0 },
        };
        assert_eq!(parse(&[("scalerAddress", "adapter:9090")]), Ok(expected));
        let bucket = parse(&[("bucket", "true")]).unwrap();
        assert_eq!(bucket.target, Target::Bucket(10.0));
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        for (key, value) in [
            ("targetRequestRate", "0"),
            ("targetRequestRate", "-1"),
            ("targetRequestRate", "NaN"),
            ("targetRequestRate", "inf"),
            ("targetRequestRate", "many"),
            ("concurrency", "-1"),
            ("concurrency", "1.5"),
            ("idleTimeoutSeconds", "5m"),
            ("pollingIntervalSeconds", "0"),
            ("burstMaxReplicas", "1001"),
            ("bucket", "photos"),
            ("backlog", "rows"),
            ("targetEvents", "0"),
        ] {
            let error = parse(&[(key, value)]).unwrap_err();
            assert!(error.to_string().contains(key), "{error}");
            assert!(error.to_string().contains(value), "{error}");
        }
    }
}
