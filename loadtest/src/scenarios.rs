//! The scenarios, and how a run goes through them.

mod adapter_faults;
mod counts_feed;
mod dev_cold_start;
mod drain;
mod fleet;
mod held_memory;
mod herd;
mod idle_streams;
mod keep_alive_race;
mod kill_backends;
mod leave;
mod listen_to_first_byte;
mod many_routes;
mod release_10k;
mod shards;
mod slow_clients;
mod wake_signal;
mod worst_bucket;
mod worst_clients;

use std::{pin::Pin, time::Duration};

use anyhow::Context as _;
use clap::Subcommand;
use rustix::process::{Resource, getrlimit, setrlimit};
use tokio::time::Instant;

use crate::run::{Run, RunArgs};

/// No scenario takes longer; one that does has failed.
const MAX_TIME: Duration = Duration::from_secs(300);
/// Open files of each process, as far as the system allows.
const DESCRIPTORS: u64 = 20_000;

/// What can be run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Subcommand)]
#[command(rename_all = "snake_case")]
pub enum Scenario {
    /// First request of a function until `true` on KEDA's stream
    WakeSignal,
    /// A pod listens, and is not called ready, until the held request's first byte
    ListenToFirstByte,
    /// Memory of 10,000 held requests, and of the next 10,000
    HeldMemory,
    /// 10,000 routes of which one changes 100 times a second
    ManyRoutes,
    /// 1,000 idle functions with open streams
    IdleStreams,
    /// What the counts of many functions and interceptors cost an adapter
    CountsFeed,
    /// What a fleet of interceptors and KEDA's streams cost an adapter, per unit at three sizes
    Fleet,
    /// 10,000 held requests released onto one pod with a short accept queue
    #[command(name = "release_10k")]
    Release10k,
    /// Cold start under `kip dev` against starting the same runtime by hand
    DevColdStart,
    /// Backends that are killed under load
    KillBackends,
    /// Clients that leave while they are held
    Leave,
    /// Requests on pooled connections that the server is about to close
    KeepAliveRace,
    /// SIGTERM with held requests, running requests and WebSockets
    Drain,
    /// Scaler-adapter restarted, hung and gone; interceptor killed
    AdapterFaults,
    /// Functions that all need replicas in the same moment
    Herd,
    /// Three adapters that share the functions, of which one dies
    Shards,
    /// Clients that send or read slowly, or not at all
    SlowClients,
    /// Memory under the clients that make the interceptor keep most
    WorstClients,
    /// Memory under a bucket whose list has no end
    WorstBucket,
}

type Running<'a> = Pin<Box<dyn Future<Output = Result<(), anyhow::Error>> + 'a>>;

impl Scenario {
    /// Every scenario, figures first.
    pub const ALL: &[Self] = &[
        Self::WakeSignal,
        Self::ListenToFirstByte,
        Self::HeldMemory,
        Self::ManyRoutes,
        Self::IdleStreams,
        Self::CountsFeed,
        Self::Fleet,
        Self::Release10k,
        Self::DevColdStart,
        Self::KillBackends,
        Self::Leave,
        Self::KeepAliveRace,
        Self::Drain,
        Self::AdapterFaults,
        Self::Herd,
        Self::Shards,
        Self::SlowClients,
        Self::WorstClients,
        Self::WorstBucket,
    ];

    /// As on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::WakeSignal => "wake_signal",
            Self::ListenToFirstByte => "listen_to_first_byte",
            Self::HeldMemory => "held_memory",
            Self::ManyRoutes => "many_routes",
            Self::IdleStreams => "idle_streams",
            Self::CountsFeed => "counts_feed",
            Self::Fleet => "fleet",
            Self::Release10k => "release_10k",
            Self::DevColdStart => "dev_cold_start",
            Self::KillBackends => "kill_backends",
            Self::Leave => "leave",
            Self::KeepAliveRace => "keep_alive_race",
            Self::Drain => "drain",
            Self::AdapterFaults => "adapter_faults",
            Self::Herd => "herd",
            Self::Shards => "shards",
            Self::SlowClients => "slow_clients",
            Self::WorstClients => "worst_clients",
            Self::WorstBucket => "worst_bucket",
        }
    }

    fn start(self, run: &mut Run) -> Running<'_> {
        match self {
            Self::WakeSignal => Box::pin(wake_signal::run(run)),
            Self::ListenToFirstByte => Box::pin(listen_to_first_byte::run(run)),
            Self::HeldMemory => Box::pin(held_memory::run(run)),
            Self::ManyRoutes => Box::pin(many_routes::run(run)),
            Self::IdleStreams => Box::pin(idle_streams::run(run)),
            Self::CountsFeed => Box::pin(counts_feed::run(run)),
            Self::Fleet => Box::pin(fleet::run(run)),
            Self::Release10k => Box::pin(release_10k::run(run)),
            Self::DevColdStart => Box::pin(dev_cold_start::run(run)),
            Self::KillBackends => Box::pin(kill_backends::run(run)),
            Self::Leave => Box::pin(leave::run(run)),
            Self::KeepAliveRace => Box::pin(keep_alive_race::run(run)),
            Self::Drain => Box::pin(drain::run(run)),
            Self::AdapterFaults => Box::pin(adapter_faults::run(run)),
            Self::Herd => Box::pin(herd::run(run)),
            Self::Shards => Box::pin(shards::run(run)),
            Self::SlowClients => Box::pin(slow_clients::run(run)),
            Self::WorstClients => Box::pin(worst_clients::run(run)),
            Self::WorstBucket => Box::pin(worst_bucket::run(run)),
        }
    }
}

/// Runs scenarios one after the other.
///
/// # Errors
/// When a condition was broken, or a scenario could not be run to its end.
pub fn run(args: &RunArgs, scenarios: &[Scenario]) -> Result<(), anyhow::Error> {
    raise_descriptor_limit()?;
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let interrupted = kipper_process::signals::shutdown_token()?;
        let mut failed = Vec::new();
        for scenario in scenarios {
            let name = scenario.name();
            println!("== {name}");
            let started = Instant::now();
            let mut run = Run::new(args)?;
            let ended = tokio::select! {
                ended = tokio::time::timeout(MAX_TIME, scenario.start(&mut run)) => ended,
                // Its processes end with the future that is dropped here.
                () = interrupted.cancelled() => anyhow::bail!("interrupted"),
            };
            match ended.context("took too long").flatten() {
                Ok(()) => {}
                Err(error) => {
                    println!("ERROR {name}: {error:#}");
                    failed.push(format!("{name} ({error:#})"));
                }
            }
            failed.extend_from_slice(run.outcome.broken());
            println!("   {name} took {:.1} s", started.elapsed().as_secs_f64());
        }
        anyhow::ensure!(failed.is_empty(), "failed: {}", failed.join(", "));
        Ok(())
    })
}

/// Ten thousand clients are ten thousand descriptors, more than a shell usually allows.
fn raise_descriptor_limit() -> Result<(), anyhow::Error> {
    let mut limit = getrlimit(Resource::Nofile);
    let most = limit.maximum.unwrap_or(DESCRIPTORS);
    if limit.current.is_some_and(|current| current < DESCRIPTORS.min(most)) {
        limit.current = Some(DESCRIPTORS.min(most));
        setrlimit(Resource::Nofile, limit).context("raise the limit of open files")?;
    }
    Ok(())
}
