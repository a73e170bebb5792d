//! The route of a Function resource. Pure.

use std::time::Duration;

use kipper_function::{function::Protocol as Declared, route::Route};

use super::{FunctionId, Probe, Protocol, RouteSpec, SecurityHeaders, Timeouts};

/// What the data plane needs to know of a Function that is reached at `hosts`.
pub fn route(id: FunctionId, hosts: Vec<String>, route: &Route) -> RouteSpec {
    RouteSpec {
        // Of no known age: the youngest.
        created: route.created.unwrap_or(i64::MAX),
        event_trigger: route.event_trigger,
        concurrency: route.concurrency,
        timeouts: Timeouts {
            cold_start: Duration::from_secs(route.cold_start),
            response_header: Duration::from_secs(route.response_header),
            request: route.request.map(Duration::from_secs),
        },
        idle_timeout: Duration::from_secs(route.idle),
        probe: route.probe_path.clone().map_or(Probe::Tcp, Probe::Http),
        protocol: match route.protocol() {
            Declared::Auto => Protocol::Auto,
            Declared::Http1 => Protocol::Http1,
            Declared::H2c => Protocol::H2c,
        },
        security: route
            .csp_allowlist
            .clone()
            .map(|csp_allowlist| SecurityHeaders { csp_allowlist }),
        retry_idempotent: route.retry_idempotent,
        ..RouteSpec::new(id, hosts)
    }
}
