//! What the data plane needs to know of a Function, and nothing else: no code, no environment.
//!
//! The controller writes it into the claim of the function's host, which it alone may write; interceptors
//! read it there. Whatever it is made of, its size is that of a few settings.

use serde::{Deserialize, Serialize};

use crate::{Function, FunctionSpec, function::effective::Readiness, kinds::Protocol};

/// What [`Route::parse`] understands. A later one is for interceptors that know it.
const VERSION: u32 = 1;

/// How a function is reached, with every default applied. Times are in seconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Route {
    version: u32,
    /// When the Function was made, since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<i64>,
    /// It has an event trigger, so `/event` is its poller's.
    #[serde(default, skip_serializing_if = "is_false")]
    pub event_trigger: bool,
    /// Hard limit of requests in flight per pod; 0 = none.
    pub concurrency: u32,
    /// How long a request is held for a pod.
    pub cold_start: u64,
    /// From the request's last byte to the response's head.
    pub response_header: u64,
    /// The whole request once forwarded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<u64>,
    /// After which it is scaled to zero.
    pub idle: u64,
    /// What the readiness probe asks for; without it, whether the port accepts a connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probe_path: Option<String>,
    /// `auto`, `http1` or `h2c`.
    pub protocol: String,
    /// Sources that the security headers allow; without it, responses get none of these headers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub csp_allowlist: Option<Vec<String>>,
    /// Idempotent methods are replayed once.
    #[serde(default, skip_serializing_if = "is_false")]
    pub retry_idempotent: bool,
}

#[allow(clippy::trivially_copy_pass_by_ref)] // as serde calls it
fn is_false(value: &bool) -> bool {
    !value
}

impl Route {
    /// The route of a Function.
    pub fn of(function: &Function) -> Self {
        let created = function.metadata.creation_timestamp.as_ref();
        let created = created.map(|time| time.0.as_second());
        Self { created, ..Self::new(&function.spec, function.retries_idempotent()) }
    }

    /// The route of a spec, of no known age.
    pub fn new(spec: &FunctionSpec, retry_idempotent: bool) -> Self {
        Self {
            version: VERSION,
            created: None,
            event_trigger: spec.event_trigger().is_some(),
            concurrency: spec.concurrency(),
            cold_start: spec.cold_start_timeout().as_secs(),
            response_header: spec.response_header_timeout().as_secs(),
            request: spec.request_timeout().map(|timeout| timeout.as_secs()),
            idle: spec.idle_timeout().as_secs(),
            probe_path: match spec.readiness() {
                Readiness::Http(path) => Some(path.to_owned()),
                Readiness::Tcp => None,
            },
            protocol: spec.protocol().to_string(),
            csp_allowlist: (!spec.no_security_headers).then(|| spec.csp_allowlist.clone()),
            retry_idempotent,
        }
    }

    /// Protocol spoken to the pod; an unknown word is `auto`.
    pub fn protocol(&self) -> Protocol {
        Protocol::parse(&self.protocol).unwrap_or(Protocol::Auto)
    }

    /// As the claim's annotation has it.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Reads the annotation; `None` for what another version wrote.
    pub fn parse(json: &str) -> Option<Self> {
        serde_json::from_str(json).ok().filter(|route: &Self| route.version == VERSION)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::{Value, json};

    use super::*;

    fn function(spec: Value) -> Function {
        let metadata = json!({ "name": "hello", "namespace": "shop",
            "creationTimestamp": "2026-07-01T09:00:00Z",
            "annotations": { "kipper.run/retry-idempotent": "true" } });
        let object = json!({ "apiVersion": "kipper.run/v1alpha1", "kind": "Function",
            "metadata": metadata, "spec": spec });
        serde_json::from_value(object).unwrap()
    }

    #[test]
    fn it_says_what_a_spec_says() {
        let route = Route::of(&function(json!({
            "source": { "code": "x" }, "scaling": { "concurrency": 3 }, "protocol": "h2c",
            "timeouts": { "coldStartSeconds": 5, "requestSeconds": 9 }, "idleTimeoutSeconds": 60,
            "cspAllowlist": ["https://cdn.example.com"],
        })));
        let json = r#"{"version":1,"created":1782896400,"concurrency":3,"coldStart":5,"responseHeader":300,"request":9,"idle":60,"probePath":"/health","protocol":"h2c","cspAllowlist":["https://cdn.example.com"],"retryIdempotent":true}"#;
        assert_eq!(route.to_json(), json);
        assert_eq!(Route::parse(json), Some(route));
    }

    #[test]
    fn other_versions_are_not_understood_and_further_fields_are_left_out() {
        let json = Route::of(&function(json!({ "image": "i" }))).to_json();
        assert!(Route::parse(&json.replace(r#""version":1"#, r#""version":2"#)).is_none());
        assert!(Route::parse(&json.replace(r#""version":1"#, r#""version":1,"new":1"#)).is_some());
        for bad in ["", "{}", "null", "[]"] {
            assert_eq!(Route::parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn code_adds_nothing() {
        let size = |code: usize| {
            let source = json!({ "code": "x".repeat(code) });
            Route::of(&function(json!({ "source": source }))).to_json().len()
        };
        assert_eq!(size(900_000), size(1_000));
        assert!(size(1_000) < 300);
    }
}
