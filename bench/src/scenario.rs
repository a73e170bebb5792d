//! What a run compares, and the options every comparison shares.

pub mod events;
pub mod observe;
pub mod proxy;
pub mod routes;

mod shapes;
mod table;

use std::{fs, num::NonZeroUsize, path::PathBuf, thread, time::Duration};

use anyhow::Context as _;
use tempfile::TempDir;

use crate::{
    budget::Budget,
    measure::{Load, Sample, Shape, measure},
    peer::{Backend, Certificate, Interceptor, Peer, RouteTable, Setup},
};

/// Measured window of a quick run.
const QUICK_DURATION: Duration = Duration::from_millis(200);

/// Options of every comparison.
#[derive(Clone, Debug, clap::Args)]
pub struct RunArgs {
    /// How often every peer is measured, in turns
    #[arg(long, default_value = "5")]
    pub rounds: NonZeroUsize,
    /// Length of each measured window; CPU time is counted in steps of 10 ms
    #[arg(long, default_value = "3s", value_parser = humantime::parse_duration)]
    pub duration: Duration,
    /// Load before each measured window
    #[arg(long, default_value = "1s", value_parser = humantime::parse_duration)]
    pub warm_up: Duration,
    /// Workers of every peer [default: the number of cores]
    #[arg(long)]
    pub workers: Option<NonZeroUsize>,
    /// The interceptor's binary [default: the one beside this binary]
    #[arg(long)]
    pub interceptor: Option<PathBuf>,
    /// A further argument for the interceptor; may be repeated
    #[arg(long, allow_hyphen_values = true)]
    pub interceptor_arg: Vec<String>,
    /// One short round: shows that everything works, and measures nothing
    #[arg(long)]
    pub quick: bool,
    /// The whole run ends with an error after this time
    #[arg(long, default_value = "1h", value_parser = humantime::parse_duration)]
    pub max_time: Duration,
}

/// How much is measured.
struct Size {
    rounds: usize,
    warm_up: Duration,
    duration: Duration,
}

impl RunArgs {
    fn size(&self) -> Size {
        if self.quick {
            return Size { rounds: 1, warm_up: Duration::ZERO, duration: QUICK_DURATION };
        }
        Size { rounds: self.rounds.get(), warm_up: self.warm_up, duration: self.duration }
    }
}

/// What a comparison works with. Dropping it stops the backend and removes the directory.
struct Run {
    budget: Budget,
    setup: Setup,
    backend: Backend,
    _dir: TempDir,
}

/// One of several interceptors under the same load.
struct Contender {
    name: String,
    peer: Peer,
    samples: Vec<Sample>,
}

impl Run {
    /// Starts an interceptor that is compared with others.
    fn contender(
        &self,
        name: &str,
        interceptor: &Interceptor,
        table: &RouteTable,
    ) -> Result<Contender, anyhow::Error> {
        let peer = Peer::start_interceptor(name, interceptor, table, &self.setup, &self.budget)?;
        Ok(Contender { name: name.to_owned(), peer, samples: Vec::new() })
    }

    /// Measures them in turns, and prints a table of their medians.
    fn compare(
        &mut self,
        contenders: &mut [Contender],
        load: Load,
        size: &Size,
    ) -> Result<(), anyhow::Error> {
        let shape = Shape { load, warm_up: size.warm_up, duration: size.duration };
        for _ in 0..size.rounds {
            for contender in &mut *contenders {
                self.backend.check_running()?;
                let sample = measure(&mut contender.peer, &shape, &self.setup, &self.budget)?;
                warn_of_errors(&contender.name, &sample);
                contender.samples.push(sample);
            }
        }
        println!("\n{}", table::head("median of rounds"));
        for contender in contenders {
            println!("{}", table::row(&contender.name, &contender.samples));
        }
        println!();
        Ok(())
    }

    fn start(args: &RunArgs) -> Result<Self, anyhow::Error> {
        let budget = Budget::with_signals(args.max_time)?;
        let dir = tempfile::Builder::new().prefix("kipper-bench-").tempdir()?;
        // Workers of a peer may run as another user and must reach their own directory in it.
        fs::set_permissions(dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
        let bench = std::env::current_exe().context("find this binary")?;
        let backend = Backend::start(&bench, dir.path(), &budget)?;
        let workers = args
            .workers
            .or_else(|| thread::available_parallelism().ok())
            .unwrap_or(NonZeroUsize::MIN);
        let binary = args.interceptor.clone().unwrap_or_else(|| Interceptor::beside(&bench));
        let setup = Setup {
            dir: dir.path().to_owned(),
            bench,
            workers,
            interceptor: Interceptor { binary, args: args.interceptor_arg.clone() },
            backend: backend.addr,
            certificate: Certificate::create(dir.path())?,
        };
        println!("{}", machine(workers));
        Ok(Self { budget, setup, backend, _dir: dir })
    }
}

/// One line on what the figures were measured with.
fn machine(workers: NonZeroUsize) -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let cpuinfo = read("/proc/cpuinfo");
    let model = cpuinfo
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
        .map_or("unknown CPU", |(_, model)| model);
    let cores = thread::available_parallelism().map_or(0, NonZeroUsize::get);
    let kernel = read("/proc/sys/kernel/osrelease");
    let kernel = kernel.trim();
    let build =
        if cfg!(debug_assertions) { ", unoptimised build: figures mean nothing" } else { "" };
    format!("{model}, {cores} cores, Linux {kernel}, {workers} workers per peer{build}")
}

/// A warning for a measurement in which requests failed.
fn warn_of_errors(who: &str, sample: &Sample) {
    let report = &sample.report;
    if report.errors.total() > 0 || report.reconnects > 0 {
        println!("  warning: {who}: {:?}, {} reconnects", report.errors, report.reconnects);
    }
}
