//! The trigger of a ScaledObject, read from its `scalerMetadata`.
//!
//! Pure. Keys that are not listed are ignored: KEDA passes its own (`scalerAddress`, …) along.
//!
//! | key | default | meaning |
//! |---|---|---|
//! | `function` | name of the ScaledObject | name of the Function, in the ScaledObject's namespace |
//! | `targetRequestRate` | 5 | requests per second that one replica should see; > 0 |
//! | `concurrency` | 0 | hard limit of requests in flight per replica; 0 = none, and no such metric |
//! | `idleTimeoutSeconds` | 300 | the ScaledObject's `cooldownPeriod` |
//! | `bucket` | | `true`: scaled by the events of a bucket, and by nothing of the above |
//! | `targetEvents` | 10 | events that one replica should have before it; > 0 |
//! | `pollingIntervalSeconds` | 30 | the ScaledObject's `pollingInterval` |

use std::{collections::HashMap, str::FromStr, time::Duration};

use kipper_externalscaler::ScaledObjectRef;

use crate::{aggregate::Cadence, functions::FunctionKey};

const DEFAULT_TARGET_REQUEST_RATE: f64 = 5.0;
const DEFAULT_TARGET_EVENTS: f64 = 10.0;
const DEFAULT_IDLE_TIMEOUT_SECONDS: u64 = 300;
const DEFAULT_POLLING_INTERVAL_SECONDS: u64 = 30;
/// Beyond these a value is a mistake.
const MAX_TARGET_REQUEST_RATE: f64 = 1e6;
const MAX_TARGET_EVENTS: f64 = 1e6;
const MAX_CONCURRENCY: u32 = 1_000_000;
const MAX_IDLE_TIMEOUT_SECONDS: u64 = 30 * 24 * 3600;
const MAX_POLLING_INTERVAL_SECONDS: u64 = 3600;
/// Longest name Kubernetes has (RFC 1123 subdomain).
pub(crate) const MAX_NAME_BYTES: usize = 253;

/// What KEDA asks about.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Trigger {
    pub(crate) function: FunctionKey,
    pub(crate) target_request_rate: f64,
    /// 0 = none.
    pub(crate) concurrency: u32,
    pub(crate) cadence: Cadence,
    /// Events per replica, if it is a bucket's trigger.
    pub(crate) target_events: Option<f64>,
}

/// Why a `ScaledObjectRef` says nothing this scaler could answer.
#[derive(Debug, PartialEq, thiserror::Error)]
pub(crate) enum MetadataError {
    #[error("scaledObjectRef is missing")]
    NoObject,
    #[error("scaledObjectRef.{0} is empty or longer than {MAX_NAME_BYTES} bytes")]
    BadName(&'static str),
    #[error("scalerMetadata.{key}: {value:?} is not {expected}")]
    BadValue { key: &'static str, value: String, expected: &'static str },
}

impl Trigger {
    pub(crate) fn parse(object: ScaledObjectRef) -> Result<Self, MetadataError> {
        let ScaledObjectRef { name, namespace, mut scaler_metadata } = object;
        let name =
            scaler_metadata.remove("function").filter(|name| !name.is_empty()).unwrap_or(name);
        let function = FunctionKey {
            namespace: checked_name(namespace, "namespace")?,
            name: checked_name(name, "name")?,
        };
        let metadata = &scaler_metadata;
        let target_request_rate = number(
            metadata,
            "targetRequestRate",
            DEFAULT_TARGET_REQUEST_RATE,
            |&rate: &f64| rate > 0.0 && rate <= MAX_TARGET_REQUEST_RATE,
            "a number above 0 and up to 1000000",
        )?;
        let concurrency = number(
            metadata,
            "concurrency",
            0,
            |&limit: &u32| limit <= MAX_CONCURRENCY,
            "a whole number from 0 to 1000000",
        )?;
        let idle_timeout = number(
            metadata,
            "idleTimeoutSeconds",
            DEFAULT_IDLE_TIMEOUT_SECONDS,
            |&seconds: &u64| seconds <= MAX_IDLE_TIMEOUT_SECONDS,
            "a whole number of seconds up to 30 days",
        )?;
        let polling_interval = number(
            metadata,
            "pollingIntervalSeconds",
            DEFAULT_POLLING_INTERVAL_SECONDS,
            |seconds: &u64| (1..=MAX_POLLING_INTERVAL_SECONDS).contains(seconds),
            "a whole number of seconds from 1 to 3600",
        )?;
        let cadence = Cadence {
            polling_interval: Duration::from_secs(polling_interval),
            idle_timeout: Duration::from_secs(idle_timeout),
        };
        let is_bucket = number(metadata, "bucket", false, |_| true, "true or false")?;
        let target_events = number(
            metadata,
            "targetEvents",
            DEFAULT_TARGET_EVENTS,
            |&events: &f64| events > 0.0 && events <= MAX_TARGET_EVENTS,
            "a number above 0 and up to 1000000",
        )?;
        let target_events = is_bucket.then_some(target_events);
        Ok(Self { function, target_request_rate, concurrency, cadence, target_events })
    }
}

fn checked_name(name: String, field: &'static str) -> Result<String, MetadataError> {
    if name.is_empty() || name.len() > MAX_NAME_BYTES {
        return Err(MetadataError::BadName(field));
    }
    Ok(name)
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
    let bad = || MetadataError::BadValue { key, value: value.to_owned(), expected };
    value.parse().ok().filter(is_valid).ok_or_else(bad)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn parse(name: &str, pairs: &[(&str, &str)]) -> Result<Trigger, MetadataError> {
        Trigger::parse(ScaledObjectRef {
            name: name.to_owned(),
            namespace: "shop-prod".to_owned(),
            scaler_metadata: pairs
                .iter()
                .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
                .collect(),
        })
    }

    #[test]
    fn defaults_are_those_of_a_function() {
        let trigger = parse("hello", &[("scalerAddress", "adapter:9090")]).unwrap();
        let expected = Trigger {
            function: FunctionKey::new("shop-prod", "hello"),
            target_request_rate: 5.0,
            concurrency: 0,
            cadence: Cadence {
                polling_interval: Duration::from_secs(30),
                idle_timeout: Duration::from_secs(300),
            },
            target_events: None,
        };
        assert_eq!(trigger, expected);
    }

    #[test]
    fn every_key_is_read() {
        let trigger = parse(
            "so",
            &[
                ("function", "hello"),
                ("targetRequestRate", "0.5"),
                ("concurrency", "8"),
                ("idleTimeoutSeconds", "60"),
                ("pollingIntervalSeconds", "5"),
            ],
        )
        .unwrap();
        assert_eq!(trigger.function, FunctionKey::new("shop-prod", "hello"));
        assert!((trigger.target_request_rate - 0.5).abs() < 1e-9);
        assert_eq!(trigger.concurrency, 8);
        assert_eq!(trigger.cadence.idle_timeout, Duration::from_secs(60));
        assert_eq!(trigger.cadence.polling_interval, Duration::from_secs(5));
        let bucket = parse("so", &[("bucket", "true"), ("targetEvents", "25")]).unwrap();
        assert_eq!(bucket.target_events, Some(25.0));
        assert_eq!(parse("so", &[("targetEvents", "25")]).unwrap().target_events, None);
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
            ("bucket", "photos"),
            ("targetEvents", "0"),
        ] {
            let error = parse("hello", &[(key, value)]).unwrap_err();
            assert!(error.to_string().contains(key), "{error}");
            assert!(error.to_string().contains(value), "{error}");
        }
        assert_eq!(parse("", &[]), Err(MetadataError::BadName("name")));
    }
}
