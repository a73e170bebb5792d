//! `kipper-bench observe`: what telling of requests costs.
//!
//! The same interceptor with nothing told, with traces to a collector that takes them, and with the
//! access log on a stdout that is read at once; beside another build of it, where one is given.

use std::{path::PathBuf, thread};

use anyhow::Context as _;
use kipper_measure::figures::{Figure, Goal, Ratio};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
    trace_service_server::{TraceService, TraceServiceServer},
};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status, transport::Server};

use super::{Contender, Run, RunArgs};
use crate::{
    measure::{Http1, Load, Sample},
    peer::{HOST, Interceptor, RouteTable},
};

/// Part of the requests that are traced, as by default.
const SAMPLING: &str = "0.01";
const BEFORE_GOAL: Goal = Goal::AtMost(1.01);
const TRACED_GOAL: Goal = Goal::AtMost(1.05);
/// A line for every request, made and written by a thread of its own.
const LOGGED_GOAL: Goal = Goal::AtMost(1.5);

/// Options of the comparison.
#[derive(Clone, Debug, clap::Args)]
pub struct ObserveArgs {
    #[command(flatten)]
    run: RunArgs,
    /// Another build of the interceptor, for what a change costs where nothing is told
    #[arg(long)]
    before: Option<PathBuf>,
    /// Keep-alive connections
    #[arg(long, default_value = "128")]
    connections: usize,
}

/// Runs the comparison and prints a table and `FIGURE` lines.
///
/// # Errors
/// When an interceptor is missing or fails, or the run is ended.
pub fn run(args: &ObserveArgs) -> Result<(), anyhow::Error> {
    let mut run = Run::start(&args.run)?;
    let collector = collector()?;
    let with = |args: &[&str]| {
        let mut interceptor = run.setup.interceptor.clone();
        interceptor.args.extend(args.iter().map(|arg| (*arg).to_owned()));
        interceptor
    };
    let mut kinds = vec![
        ("off", with(&[])),
        ("traced", with(&["--otlp-endpoint", &collector, "--trace-sampling", SAMPLING])),
        ("logged", with(&["--access-log"])),
    ];
    if let Some(binary) = &args.before {
        kinds.push(("before", Interceptor { binary: binary.clone(), ..with(&[]) }));
    }
    let table = RouteTable::one(HOST, run.setup.backend);
    let mut contenders = Vec::new();
    for (name, interceptor) in kinds {
        contenders.push(run.contender(name, &interceptor, &table)?);
    }
    let load = Load::Http1(Http1::keep_alive(args.connections));
    run.compare(&mut contenders, load, &args.run.size())?;
    report(&contenders);
    Ok(())
}

/// A collector that takes every trace; where it is.
fn collector() -> Result<String, anyhow::Error> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    thread::Builder::new()
        .name("collector".to_owned())
        .spawn(move || {
            runtime.block_on(async {
                let incoming = TcpListenerStream::new(tokio::net::TcpListener::from_std(listener)?);
                let server = Server::builder().add_service(TraceServiceServer::new(Taking));
                server.serve_with_incoming(incoming).await.map_err(std::io::Error::other)
            })
        })
        .context("start the collector")?;
    Ok(format!("http://{address}"))
}

struct Taking;

#[tonic::async_trait]
impl TraceService for Taking {
    async fn export(
        &self,
        _: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

fn report(contenders: &[Contender]) {
    let samples = |name| contenders.iter().find(|c| c.name == name).map(|c| &c.samples);
    for (name, base, goal) in [
        ("off", "before", BEFORE_GOAL),
        ("traced", "off", TRACED_GOAL),
        ("logged", "off", LOGGED_GOAL),
    ] {
        let (Some(ours), Some(theirs)) = (samples(name), samples(base)) else { continue };
        let cpu = |sample: &Sample| sample.cpu_micros_per_request;
        if let Some(ratio) = Ratio::by_round(ours.iter().map(cpu), theirs.iter().map(cpu)) {
            println!("{}", Figure::ratio(format!("observe_{name}_cpu_vs_{base}"), ratio, goal));
        }
    }
}
