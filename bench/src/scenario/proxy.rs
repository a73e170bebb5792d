//! `kipper-bench proxy`: our proxy beside those everybody knows.
//!
//! Shape by shape: closed loops for what a request costs, and an open loop at a fraction of nginx's
//! capacity for latency under the same load. Peers take turns within every round.

use std::collections::BTreeMap;

use kipper_measure::figures::{Figure, Goal, Ratio, median};

use super::{Run, RunArgs, shapes::ShapeKind, table, warn_of_errors};
use crate::{
    measure::{Load, Sample, Shape, measure},
    peer::{Peer, PeerKind},
};

/// The open loop asks for this share of what nginx reached in the same run.
const OPEN_LOOP_SHARE: f64 = 0.7;
const OPEN_LOOP_GOAL: Goal = Goal::AtMost(1.0);

/// Options of the comparison.
#[derive(Clone, Debug, clap::Args)]
pub struct ProxyArgs {
    #[command(flatten)]
    run: RunArgs,
    /// Who is compared, in this order; ratios are of kipper to each other one
    #[arg(
        long = "peer",
        value_enum,
        value_delimiter = ',',
        default_value = "kipper,nginx,haproxy_http,haproxy_tcp,envoy,hyper,hyper_per_core,direct"
    )]
    peers: Vec<PeerKind>,
    /// Shapes of load to compare by, in this order; a peer that cannot take one is left out of it
    #[arg(
        long = "shape",
        value_enum,
        value_delimiter = ',',
        default_value = "c16,c32,c128,open_loop,once,post,tls,h2_8x16,h2_64x1,down,up"
    )]
    shapes: Vec<ShapeKind>,
    /// Rate of the open loop [default: 70 % of what nginx reached with c128 before it]
    #[arg(long)]
    open_loop_rate: Option<u64>,
}

type Samples = BTreeMap<PeerKind, Vec<Sample>>;

/// Runs the comparison and prints tables and `FIGURE` lines.
///
/// # Errors
/// When a peer is missing or fails, or the run is ended.
pub fn run(args: &ProxyArgs) -> Result<(), anyhow::Error> {
    let mut run = Run::start(&args.run)?;
    let mut peers = BTreeMap::new();
    for &kind in &args.peers {
        peers.insert(kind, Peer::start(kind, &run.setup, &run.budget)?);
    }
    let mut figures = Vec::new();
    let mut nginx_rps = None;
    for &shape in &args.shapes {
        let mut load = shape.load(args.run.quick);
        if shape == ShapeKind::OpenLoop {
            let Some(rate) = open_loop_rate(args, nginx_rps) else {
                println!("\nopen_loop needs --open-loop-rate, or nginx with c128 before it");
                continue;
            };
            if let Load::Http1(http1) = &mut load {
                http1.rate = Some(rate);
            }
            println!("\n{shape}, {rate} requests/s");
        } else {
            println!("\n{shape}");
        }
        let samples = rounds(args, shape, load, &mut peers, &mut run)?;
        match shape {
            ShapeKind::OpenLoop => figures.extend(open_loop_figure(&samples)),
            _ => figures.extend(cpu_figures(&samples, shape)),
        }
        if shape == ShapeKind::C128 {
            nginx_rps = samples.get(&PeerKind::Nginx).and_then(|samples| rps(samples));
        }
    }
    println!();
    for figure in figures {
        println!("{figure}");
    }
    Ok(())
}

fn rounds(
    args: &ProxyArgs,
    shape: ShapeKind,
    load: Load,
    peers: &mut BTreeMap<PeerKind, Peer>,
    run: &mut Run,
) -> Result<Samples, anyhow::Error> {
    let kinds: Vec<_> = args.peers.iter().copied().filter(|kind| shape.is_for(*kind)).collect();
    let size = args.run.size();
    let shape = Shape { load, warm_up: size.warm_up, duration: size.duration };
    let mut samples = Samples::new();
    for _ in 0..size.rounds {
        for kind in &kinds {
            let Some(peer) = peers.get_mut(kind) else {
                continue;
            };
            run.backend.check_running()?;
            let sample = measure(peer, &shape, &run.setup, &run.budget)?;
            warn_of_errors(&kind.to_string(), &sample);
            samples.entry(*kind).or_default().push(sample);
        }
    }
    println!("{}", table::head("median of rounds"));
    for kind in &kinds {
        if let Some(samples) = samples.get(kind) {
            println!("{}", table::row(&kind.to_string(), samples));
        }
    }
    print_ratios(&kinds, &samples);
    Ok(samples)
}

/// Ours to each peer, with the spread over the rounds.
fn print_ratios(kinds: &[PeerKind], samples: &Samples) {
    let Some(ours) = samples.get(&PeerKind::Kipper) else {
        return;
    };
    let columns: [(&str, Value); 4] =
        [("CPU", cpu), ("rq/s", |sample| Some(sample.report.rps)), ("p50", p50), ("p99", p99)];
    for kind in kinds.iter().filter(|kind| **kind != PeerKind::Kipper) {
        let Some(theirs) = samples.get(kind) else {
            continue;
        };
        let cells: Vec<String> = columns
            .iter()
            .filter_map(|(name, value)| {
                let Ratio { median, low, high } = ratio(ours, theirs, *value)?;
                Some(format!("{name} {median:.2} ({low:.2}..{high:.2})"))
            })
            .collect();
        println!("kipper / {kind:<14}: {}", cells.join("  "));
    }
}

type Value = fn(&Sample) -> Option<f64>;

fn cpu(sample: &Sample) -> Option<f64> {
    sample.cpu_micros_per_request
}

fn p50(sample: &Sample) -> Option<f64> {
    Some(sample.report.latency_us.p50)
}

fn p99(sample: &Sample) -> Option<f64> {
    Some(sample.report.latency_us.p99)
}

fn ratio(ours: &[Sample], theirs: &[Sample], value: Value) -> Option<Ratio> {
    Ratio::by_round(ours.iter().map(value), theirs.iter().map(value))
}

fn rps(samples: &[Sample]) -> Option<f64> {
    median(samples.iter().map(|sample| sample.report.rps))
}

fn cpu_figures(samples: &Samples, shape: ShapeKind) -> Vec<Figure> {
    let Some(ours) = samples.get(&PeerKind::Kipper) else {
        return Vec::new();
    };
    let figure = |(kind, goal): &(PeerKind, Goal)| {
        let ratio = ratio(ours, samples.get(kind)?, cpu)?;
        Some(Figure::ratio(format!("proxy_cpu_vs_{kind}_{shape}"), ratio, *goal))
    };
    shape.cpu_goals().iter().filter_map(figure).collect()
}

fn open_loop_rate(args: &ProxyArgs, nginx_rps: Option<f64>) -> Option<u64> {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rate fits")]
    let share = |rps: f64| (rps * OPEN_LOOP_SHARE) as u64;
    args.open_loop_rate.or(nginx_rps.map(share)).filter(|rate| *rate > 0)
}

fn open_loop_figure(samples: &Samples) -> Option<Figure> {
    let ratio = ratio(samples.get(&PeerKind::Kipper)?, samples.get(&PeerKind::Nginx)?, p99)?;
    Some(Figure::ratio("proxy_p99_vs_nginx_open_loop", ratio, OPEN_LOOP_GOAL))
}
