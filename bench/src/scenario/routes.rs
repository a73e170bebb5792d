//! `kipper-bench routes`: what a large route table costs.
//!
//! The same connections ask for the same number of hosts, once against an interceptor that knows
//! one function with all of them and once against one that knows thousands of functions.

use kipper_measure::figures::{Figure, Goal, Ratio};

use super::{Contender, Run, RunArgs};
use crate::{
    measure::{Http1, Load, Sample},
    peer::RouteTable,
};

const RPS_GOAL: Goal = Goal::AtLeast(0.97);
const CPU_GOAL: Goal = Goal::AtMost(1.03);

/// Options of the comparison.
#[derive(Clone, Debug, clap::Args)]
pub struct RoutesArgs {
    #[command(flatten)]
    run: RunArgs,
    /// Functions of the large table
    #[arg(long, default_value = "10000")]
    routes: std::num::NonZeroUsize,
    /// Hosts the load asks for, spread over the large table
    #[arg(long, default_value = "16")]
    active_hosts: std::num::NonZeroUsize,
    /// Keep-alive connections
    #[arg(long, default_value = "128")]
    connections: usize,
}

/// Runs the comparison and prints a table and `FIGURE` lines.
///
/// # Errors
/// When the interceptor is missing or fails, or the run is ended.
pub fn run(args: &RoutesArgs) -> Result<(), anyhow::Error> {
    let mut run = Run::start(&args.run)?;
    let routes = args.routes.get();
    let many = RouteTable::many(routes, run.setup.backend);
    let hosts = many.sample_hosts(args.active_hosts.get());
    let one = RouteTable::aliases(hosts.clone(), run.setup.backend);
    let mut contenders = Vec::new();
    for (name, table) in [("routes_1".to_owned(), one), (format!("routes_{routes}"), many)] {
        contenders.push(run.contender(&name, &run.setup.interceptor, &table)?);
    }
    let load = Load::Http1(Http1 { hosts, ..Http1::keep_alive(args.connections) });
    run.compare(&mut contenders, load, &args.run.size())?;
    report(&contenders, routes);
    Ok(())
}

fn report(contenders: &[Contender], routes: usize) {
    let [one, many] = contenders else { return };
    let ratio = |value: fn(&Sample) -> Option<f64>| {
        Ratio::by_round(many.samples.iter().map(value), one.samples.iter().map(value))
    };
    if let Some(rps) = ratio(|sample| Some(sample.report.rps)) {
        println!("{}", Figure::ratio(format!("routes_{routes}_rps_vs_1"), rps, RPS_GOAL));
    }
    if let Some(cpu) = ratio(|sample| sample.cpu_micros_per_request) {
        println!("{}", Figure::ratio(format!("routes_{routes}_cpu_vs_1"), cpu, CPU_GOAL));
    }
}
