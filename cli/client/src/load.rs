//! How busy a function is, as its autoscaler sees it.
//!
//! KEDA makes a `HorizontalPodAutoscaler` of each ScaledObject, whose status has what the adapter
//! counts, for each replica: whoever may view a namespace may read it. It is written every 15 s.

use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use kipper_function::quantity;
use kube::Api;

use crate::{ApiError, Connection};

/// The adapter's metric of requests per second (`scaler-adapter/src/external_scaler.rs`); KEDA puts the
/// trigger's place before it.
const REQUEST_RATE: &str = "-request-rate";

/// How busy a function is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Load {
    /// Requests per second, as the adapter tells them: the larger of the mean of the last 60 s and of what
    /// the last 10 s show beyond chance; for 30 s after it has asked for replicas, at least what keeps them.
    pub requests_per_second: f64,
    /// Pods that share them.
    pub replicas: i32,
}

/// The load of a function of the connection's namespace; `None` where nothing is measured.
///
/// # Errors
/// [`ApiError::Forbidden`] where the user may not look at autoscalers.
pub async fn read(connection: &Connection, function: &str) -> Result<Option<Load>, ApiError> {
    let namespace = &connection.namespace;
    let api: Api<HorizontalPodAutoscaler> = Api::namespaced(connection.client.clone(), namespace);
    let name = format!("keda-hpa-{function}");
    let found = api.get_opt(&name).await;
    let found = found.map_err(|error| ApiError::read(error, &name, namespace))?;
    Ok(found.as_ref().and_then(load))
}

fn load(autoscaler: &HorizontalPodAutoscaler) -> Option<Load> {
    let metrics = autoscaler.spec.as_ref()?.metrics.as_deref().unwrap_or_default();
    let counts = metrics.iter().filter_map(|metric| metric.external.as_ref());
    // What takes no requests has another metric.
    counts.map(|external| &external.metric.name).find(|name| name.ends_with(REQUEST_RATE))?;
    let status = autoscaler.status.as_ref()?;
    let replicas = status.current_replicas.unwrap_or_default();
    if replicas == 0 {
        // Nothing is measured then, and nothing is answered.
        return Some(Load { requests_per_second: 0.0, replicas });
    }
    let current = status.current_metrics.as_deref().unwrap_or_default();
    let mut current = current.iter().filter_map(|metric| metric.external.as_ref());
    let rate = current.find(|external| external.metric.name.ends_with(REQUEST_RATE))?;
    let each = quantity::parse(&rate.current.average_value.as_ref()?.0).ok()?;
    Some(Load { requests_per_second: each * f64::from(replicas), replicas })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::{Value, json};

    use super::*;

    /// An autoscaler as KEDA 2 and Kubernetes write it.
    fn autoscaler(metric: &str, replicas: i32, average: Option<&str>) -> HorizontalPodAutoscaler {
        let metric = json!({ "name": metric, "selector": { "matchLabels": {
            "scaledobject.keda.sh/name": "hello" } } });
        let external = |field: &str, value: Value| json!([{ "type": "External", "external": { "metric": metric, field: value } }]);
        let target = json!({ "type": "AverageValue", "averageValue": "5" });
        let current = average.map(|text| external("current", json!({ "averageValue": text })));
        serde_json::from_value(json!({
            "spec": { "maxReplicas": 10, "metrics": external("target", target),
                "scaleTargetRef": { "kind": "Deployment", "name": "hello" } },
            "status": { "currentReplicas": replicas, "desiredReplicas": replicas,
                "currentMetrics": current },
        }))
        .unwrap()
    }

    #[test]
    fn the_load_is_that_of_all_replicas() {
        let check = |metric, replicas, average, expected: Option<f64>| {
            let found = load(&autoscaler(metric, replicas, average));
            assert_eq!(found.map(|load| load.requests_per_second), expected, "{average:?}");
        };
        check("s0-request-rate", 1, Some("500m"), Some(0.5));
        check("s0-request-rate", 3, Some("2"), Some(6.0));
        check("s1-request-rate", 2, Some("2k"), Some(4000.0));
        check("s0-request-rate", 0, None, Some(0.0));
        // Not measured yet, and of a function that takes no requests.
        check("s0-request-rate", 1, None, None);
        check("s0-redis-jobs", 1, Some("3"), None);
    }
}
