//! What a running system must survive: one scenario per module, listed in [`FAULTS`].
//!
//! A scenario is `pub(super) async fn run(run: &mut Run, cluster: &Cluster)`. It works in a
//! namespace from `cluster.namespace(name)`, stops parts of the cluster through `cluster.components`,
//! and reports through `run.outcome.condition`, whose limits are in `limits.json`.

mod burst;
mod clients;
mod cold;
mod control_plane_restarts;
mod counts_port;
mod delete_pod;
mod fleet;
mod hold_bounds;
mod interceptor_restart;
mod keep_alive_node;
mod kill_container;
mod ledger;
mod many_active;
mod pods;
mod registry_down;
mod rollback;
mod rollout;
mod scale_in;
mod traffic;
mod worst_bodies;

use super::scenario::{MINUTE, Scenario};

/// Every fault, in the order in which `faults` and `all` run them: what takes long and shares the
/// cluster begins first.
pub(super) const FAULTS: &[Scenario] = &[
    Scenario {
        name: "registry_down",
        about: "The package registry is down at a wake, and comes back",
        shares: true,
        max_time: MINUTE.saturating_mul(10),
        start: |run, cluster| Box::pin(registry_down::run(run, cluster)),
    },
    Scenario {
        name: "rollout",
        about: "New code under load",
        shares: true,
        max_time: MINUTE.saturating_mul(4),
        start: |run, cluster| Box::pin(rollout::run(run, cluster)),
    },
    Scenario {
        name: "rollback",
        about: "Back to earlier code under load",
        shares: true,
        max_time: MINUTE.saturating_mul(4),
        start: |run, cluster| Box::pin(rollback::run(run, cluster)),
    },
    Scenario {
        name: "scale_in",
        about: "From five replicas to one under load",
        shares: true,
        max_time: MINUTE.saturating_mul(4),
        start: |run, cluster| Box::pin(scale_in::run(run, cluster)),
    },
    Scenario {
        name: "delete_pod",
        about: "Pods deleted under load",
        shares: true,
        max_time: MINUTE.saturating_mul(4),
        start: |run, cluster| Box::pin(delete_pod::run(run, cluster)),
    },
    Scenario {
        name: "kill_container",
        about: "kill -9 in containers under load",
        shares: true,
        max_time: MINUTE.saturating_mul(4),
        start: |run, cluster| Box::pin(kill_container::run(run, cluster)),
    },
    Scenario {
        name: "burst",
        about: "Replicas ahead of the HPA: overwritten, rolled out, refused, paused",
        shares: false,
        max_time: MINUTE.saturating_mul(8),
        start: |run, cluster| Box::pin(burst::run(run, cluster)),
    },
    Scenario {
        name: "burst_parts",
        about: "The same: adapters killed, no metrics API, no HPA, no admission policy",
        shares: false,
        max_time: MINUTE.saturating_mul(12),
        start: |run, cluster| Box::pin(burst::parts(run, cluster)),
    },
    Scenario {
        name: "worst_bodies",
        about: "The bodies that cost a Node and a Python pod most memory",
        shares: false,
        max_time: MINUTE.saturating_mul(5),
        start: |run, cluster| Box::pin(worst_bodies::run(run, cluster)),
    },
    Scenario {
        name: "interceptor_restart",
        about: "Interceptors replaced while requests are held and others run",
        shares: false,
        max_time: MINUTE.saturating_mul(5),
        start: |run, cluster| Box::pin(interceptor_restart::run(run, cluster)),
    },
    Scenario {
        name: "control_plane_restarts",
        about: "Controller, adapter, KEDA and API server killed under load and mid-wake",
        shares: false,
        max_time: MINUTE.saturating_mul(10),
        start: |run, cluster| Box::pin(control_plane_restarts::run(run, cluster)),
    },
    Scenario {
        name: "keep_alive_node",
        about: "Pooled connections that Node closes after 5 s",
        shares: true,
        max_time: MINUTE.saturating_mul(5),
        start: |run, cluster| Box::pin(keep_alive_node::run(run, cluster)),
    },
    Scenario {
        name: "hold_bounds",
        about: "One function fills its hold bounds while another wakes",
        shares: false,
        max_time: MINUTE.saturating_mul(5),
        start: |run, cluster| Box::pin(hold_bounds::run(run, cluster)),
    },
    Scenario {
        name: "many_active",
        about: "Cold wakes beside many active functions",
        shares: false,
        max_time: MINUTE.saturating_mul(15),
        start: |run, cluster| Box::pin(many_active::run(run, cluster)),
    },
    Scenario {
        name: "counts_port",
        about: "Another pod reports counts without a certificate",
        shares: false,
        max_time: MINUTE.saturating_mul(4),
        start: |run, cluster| Box::pin(counts_port::run(run, cluster)),
    },
];
