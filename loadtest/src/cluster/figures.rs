//! What the system must reach: one scenario per module, listed in [`FIGURES`].

mod backlog;
mod cold_start;
mod console;
mod dependencies;
mod kip;
mod load;
mod source;
mod thousand_functions;
mod truth;
mod waking;
mod without_keda;

use super::scenario::{MINUTE, Scenario};

/// Every figure, in the order in which `figures` and `all` run them.
pub(super) const FIGURES: &[Scenario] = &[
    Scenario {
        name: "cold_start",
        about: "Request to first byte of the static test server, noTmp, through KEDA",
        shares: false,
        max_time: MINUTE.saturating_mul(20),
        start: |run, cluster| Box::pin(cold_start::bare(run, cluster)),
    },
    Scenario {
        name: "cold_start_tmp",
        about: "The same with a /tmp that its image declares",
        shares: false,
        max_time: MINUTE.saturating_mul(10),
        start: |run, cluster| Box::pin(cold_start::with_tmp(run, cluster)),
    },
    Scenario {
        name: "cold_start_node",
        about: "The same of an inline Node hello",
        shares: false,
        max_time: MINUTE.saturating_mul(10),
        start: |run, cluster| Box::pin(cold_start::node(run, cluster)),
    },
    Scenario {
        name: "cold_start_python",
        about: "The same of an inline Python hello",
        shares: false,
        max_time: MINUTE.saturating_mul(10),
        start: |run, cluster| Box::pin(cold_start::python(run, cluster)),
    },
    Scenario {
        name: "cold_start_dependencies",
        about: "The same of an inline Node function that installs three packages first",
        shares: false,
        max_time: MINUTE.saturating_mul(10),
        start: |run, cluster| Box::pin(dependencies::run(run, cluster)),
    },
    Scenario {
        name: "without_keda",
        about: "The first one while KEDA's operator is stopped",
        shares: false,
        max_time: MINUTE.saturating_mul(5),
        start: |run, cluster| Box::pin(without_keda::run(run, cluster)),
    },
    Scenario {
        name: "truth",
        about: "How soon a source that cannot work is told, and a wait ends that is hopeless",
        shares: false,
        max_time: MINUTE.saturating_mul(15),
        start: |run, cluster| Box::pin(truth::run(run, cluster)),
    },
    Scenario {
        name: "kip",
        about: "What a user waits for: kip function list among twenty functions",
        shares: false,
        max_time: MINUTE.saturating_mul(5),
        start: |run, cluster| Box::pin(kip::run(run, cluster)),
    },
    Scenario {
        name: "console",
        about: "A save in the web console beside kip function apply, and twenty users who watch",
        shares: false,
        max_time: MINUTE.saturating_mul(5),
        start: |run, cluster| Box::pin(console::run(run, cluster)),
    },
    Scenario {
        name: "thousand_functions",
        about: "A thousand idle functions: rendered, gone over again, and then left alone",
        shares: false,
        max_time: MINUTE.saturating_mul(45),
        start: |run, cluster| Box::pin(thousand_functions::run(run, cluster)),
    },
    Scenario {
        name: "ramp",
        about: "2, 20, 60 and no requests per second through the HPA",
        shares: false,
        max_time: MINUTE.saturating_mul(12),
        start: |run, cluster| Box::pin(load::ramp(run, cluster)),
    },
    Scenario {
        name: "step",
        about: "From zero to 100 requests per second: time to ten ready pods",
        shares: false,
        max_time: MINUTE.saturating_mul(10),
        start: |run, cluster| Box::pin(load::step(run, cluster)),
    },
    Scenario {
        name: "backlog",
        about: "A thousand rows at once: time to five ready pods, from one and from zero",
        shares: false,
        max_time: MINUTE.saturating_mul(15),
        start: |run, cluster| Box::pin(backlog::run(run, cluster)),
    },
    Scenario {
        name: "crowd",
        about: "Thirty requests at once, and then none: nobody asks for replicas",
        shares: false,
        max_time: MINUTE.saturating_mul(5),
        start: |run, cluster| Box::pin(load::crowd(run, cluster)),
    },
    Scenario {
        name: "steady",
        about: "A steady Poisson load: the replicas it needs, and not one more",
        shares: false,
        max_time: MINUTE.saturating_mul(10),
        start: |run, cluster| Box::pin(load::steady(run, cluster)),
    },
];
