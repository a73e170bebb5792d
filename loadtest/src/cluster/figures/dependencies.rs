//! Cold starts of a Node function that installs three pinned packages when it starts, from a
//! package server on this machine.

mod packages;

use kipper_cluster::{Cluster, functions};
use kipper_measure::samples::Samples;

use super::waking::{self, Plan};
use crate::{
    cluster::{timeline, wake::Wake},
    run::Run,
};

/// Pure JavaScript without dependencies of their own, small to middling, as functions use them.
const DEPENDENCIES: &[(&str, &str)] =
    &[("dayjs", "1.11.13"), ("lodash", "4.17.21"), ("zod", "3.23.8")];

const CODE: &str = "\
const lodash = require('lodash');
const dayjs = require('dayjs');
const { z } = require('zod');
const name = z.string();
module.exports = async () => name.parse(lodash.upperCase('hello')) + dayjs(0).year();
";

const SCENARIO: &str = "cold_start_dependencies";

pub(super) async fn run(run: &mut Run, cluster: &Cluster) -> Result<(), anyhow::Error> {
    let registry = packages::Registry::start(cluster, DEPENDENCIES).await?;
    let plan = Plan {
        scenario: SCENARIO,
        batches: run.size(2, 1),
        functions: run.size(15, 3),
        floors: run.size(3, 1),
    };
    let woken = waking::run(cluster, &plan, |name| {
        let mut function = functions::inline(name, "node", CODE, DEPENDENCIES);
        function.spec.env.insert("npm_config_registry".to_owned(), registry.url.clone());
        function
    });
    let woken = woken.await?;
    println!("{}\n{}", timeline::wakes(&woken.wakes), timeline::floors(&woken.floors));
    println!("   {} packages were served", registry.served());
    let whole: Samples = woken.wakes.iter().map(Wake::whole).collect();
    run.outcome.figure("cold_start_dependencies_whole_p50", whole.quantile(0.5))?;
    run.outcome.condition("cold_start_dependencies_errors", woken.errors())
}
