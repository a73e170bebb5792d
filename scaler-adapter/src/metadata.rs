//! The trigger of a ScaledObject, read from its `scalerMetadata`. Pure.

use kipper_externalscaler::ScaledObjectRef;
use kipper_trigger::scaler::{self, Metadata, Target};

use crate::{aggregate::Cadence, burst::Settings, functions::FunctionKey};

/// Longest name Kubernetes has (RFC 1123 subdomain).
pub(crate) const MAX_NAME_BYTES: usize = 253;

/// What KEDA asks about.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Trigger {
    pub(crate) function: FunctionKey,
    pub(crate) target: Target,
    pub(crate) cadence: Cadence,
    /// Unless it is left to the HPA.
    pub(crate) burst: Option<Settings>,
}

/// Why a `ScaledObjectRef` says nothing this scaler could answer.
#[derive(Debug, PartialEq, thiserror::Error)]
pub(crate) enum MetadataError {
    #[error("scaledObjectRef is missing")]
    NoObject,
    #[error("scaledObjectRef.{0} is empty or longer than {MAX_NAME_BYTES} bytes")]
    BadName(&'static str),
    #[error(transparent)]
    BadValue(#[from] scaler::MetadataError),
}

impl Trigger {
    pub(crate) fn parse(object: ScaledObjectRef) -> Result<Self, MetadataError> {
        let ScaledObjectRef { name, namespace, scaler_metadata } = object;
        let metadata = Metadata::parse(&scaler_metadata)?;
        let function = FunctionKey::new(
            checked_name(namespace, "namespace")?,
            checked_name(metadata.function.unwrap_or(name), "name")?,
        );
        let cadence = Cadence {
            polling_interval: metadata.polling_interval,
            idle_timeout: metadata.idle_timeout,
        };
        let Metadata { target, burst_max_replicas, .. } = metadata;
        let burst = (burst_max_replicas > 0).then(|| Settings::new(burst_max_replicas, target));
        Ok(Self { function, target, cadence, burst })
    }
}

fn checked_name(name: String, field: &'static str) -> Result<String, MetadataError> {
    if name.is_empty() || name.len() > MAX_NAME_BYTES {
        return Err(MetadataError::BadName(field));
    }
    Ok(name)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn parse(name: &str, pairs: &[(&str, &str)]) -> Result<Trigger, MetadataError> {
        let pairs = pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        Trigger::parse(ScaledObjectRef {
            name: name.to_owned(),
            namespace: "shop-prod".to_owned(),
            scaler_metadata: pairs.collect(),
        })
    }

    #[test]
    fn the_function_is_named_by_the_metadata_or_the_object() {
        let named = parse("so", &[("function", "hello")]).unwrap();
        assert_eq!(named.function, FunctionKey::new("shop-prod", "hello"));
        let unnamed = parse("hello", &[("function", "")]).unwrap();
        assert_eq!(unnamed.function, named.function);
        assert_eq!(parse("", &[]), Err(MetadataError::BadName("name")));
    }

    #[test]
    fn a_bucket_is_scaled_by_its_events_alone() {
        let bucket = parse("so", &[("bucket", "true"), ("targetEvents", "25")]).unwrap();
        assert_eq!(bucket.target, Target::Bucket(25.0));
        let rows = parse("so", &[("backlog", "true"), ("targetEvents", "25")]).unwrap();
        assert_eq!(rows.target, Target::Backlog(25.0));
        let http = parse("so", &[("targetEvents", "25")]).unwrap();
        assert!(matches!(http.target, Target::Requests { .. }));
        let error = parse("so", &[("targetRequestRate", "many")]).unwrap_err().to_string();
        assert!(error.starts_with("scalerMetadata.targetRequestRate: \"many\""), "{error}");
    }
}
