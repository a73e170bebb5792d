//! The route of a Function resource. Pure.

use kipper_function::function::{FunctionSpec, Protocol as Declared, effective::Readiness};

use super::{FunctionId, Probe, Protocol, RouteSpec, SecurityHeaders, Timeouts};

/// What the data plane needs to know of a Function that is reached at `hosts`.
pub fn route(
    id: FunctionId,
    hosts: Vec<String>,
    spec: &FunctionSpec,
    retry_idempotent: bool,
) -> RouteSpec {
    RouteSpec {
        event_trigger: spec.event_trigger().is_some(),
        concurrency: spec.concurrency(),
        timeouts: Timeouts {
            cold_start: spec.cold_start_timeout(),
            response_header: spec.response_header_timeout(),
            request: spec.request_timeout(),
        },
        idle_timeout: spec.idle_timeout(),
        probe: match spec.readiness() {
            Readiness::Http(path) => Probe::Http(path.to_owned()),
            Readiness::Tcp => Probe::Tcp,
        },
        protocol: match spec.protocol() {
            Declared::Auto => Protocol::Auto,
            Declared::Http1 => Protocol::Http1,
            Declared::H2c => Protocol::H2c,
        },
        security: (!spec.no_security_headers)
            .then(|| SecurityHeaders { csp_allowlist: spec.csp_allowlist.clone() }),
        retry_idempotent,
        ..RouteSpec::new(id, hosts)
    }
}
