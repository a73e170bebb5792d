//! An interceptor as its own process, with the in-process sources behind a control port.
//!
//! The data plane, the reporter and the admin port are wired as the product wires them; only the
//! cluster is replaced. It prints one line, where it listens, and drains on SIGTERM.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use anyhow::Context as _;
use kipper_interceptor::{
    Interceptor,
    config::ProxyConfig,
    reporter::ReporterConfig,
    router::Router,
    source::{
        EndpointState, FunctionId, RouteSpec, Sources,
        memory::{self, MemoryFeed},
    },
};
use kipper_process::{
    admin::AdminServer,
    metrics,
    readiness::Readiness,
    signals,
    telemetry::{self, LogArgs},
};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

use crate::control::{self, Counts, Listening, NAMESPACE, Request};

/// Control connections served at a time; a scenario opens one or two.
const MAX_CONTROL_CONNECTIONS: usize = 16;

/// Options of the process.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    log: LogArgs,
    #[command(flatten)]
    proxy: ProxyConfig,
    #[command(flatten)]
    reporter: ReporterConfig,
    /// Functions it routes to, none of which has an endpoint yet
    #[arg(long, default_value = "1")]
    functions: usize,
    /// How long it accepts after SIGTERM
    #[arg(long, default_value = "0s", value_parser = humantime::parse_duration)]
    drain_delay: Duration,
    /// How long requests may take then
    #[arg(long, default_value = "20s", value_parser = humantime::parse_duration)]
    drain_deadline: Duration,
}

/// Runs until SIGTERM and the drain after it.
///
/// # Errors
/// When it cannot start.
pub fn run(args: Args) -> Result<(), anyhow::Error> {
    telemetry::init(&args.log)?;
    let _ = rustls::crypto::ring::default_provider().install_default();
    // As the product: the workers are threads of their own.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async { Box::pin(serve(args, signals::shutdown_token()?)).await })
}

async fn serve(args: Args, shutdown: CancellationToken) -> Result<(), anyhow::Error> {
    let registry = metrics::registry("interceptor", env!("CARGO_PKG_VERSION"))?;
    let (changes, routes, endpoints) = memory::feed(routes(args.functions), Vec::new());
    let sources = Sources::new(routes, endpoints);
    let interceptor = Interceptor::assemble(&args.proxy, &registry, sources, args.reporter)?;
    let readiness = Readiness::new();
    let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
    let admin = AdminServer::bind(loopback, readiness.clone(), registry).await?;
    let control = TcpListener::bind(loopback).await.context("bind the control port")?;
    let listening = Listening {
        proxy: interceptor.address()?,
        admin: admin.local_addr(),
        control: control.local_addr()?,
    };

    let mut tasks = JoinSet::new();
    tasks.spawn(accept_control(control, changes, interceptor.router()));
    let stop_admin = CancellationToken::new();
    let admin = tokio::spawn(admin.serve(stop_admin.clone()));
    let announced = shutdown.clone();
    tasks.spawn(async move {
        announced.cancelled().await;
        readiness.set_draining();
        std::future::pending().await
    });

    println!("{}", serde_json::to_string(&listening)?);
    let cut = interceptor.serve(shutdown, args.drain_delay, args.drain_deadline).await?;
    stop_admin.cancel();
    admin.await?;
    anyhow::ensure!(cut == 0, "{cut} connections were cut at the deadline");
    Ok(())
}

fn routes(count: usize) -> Vec<RouteSpec> {
    let route = |index| {
        let id = FunctionId::new(NAMESPACE, &control::function(index));
        RouteSpec::new(id, vec![control::host(index)])
    };
    (0..count).map(route).collect()
}

async fn accept_control(listener: TcpListener, changes: MemoryFeed, router: Arc<Router>) {
    let mut connections = JoinSet::new();
    loop {
        while connections.len() >= MAX_CONTROL_CONNECTIONS {
            connections.join_next().await;
        }
        // An error here is a client that left; the next accept says so if it is more.
        if let Ok((stream, _)) = listener.accept().await {
            connections.spawn(control_connection(stream, changes.clone(), Arc::clone(&router)));
        }
    }
}

/// Ends with its client.
async fn control_connection(stream: TcpStream, changes: MemoryFeed, router: Arc<Router>) {
    let _ = stream.set_nodelay(true);
    let (read, mut write) = stream.into_split();
    let mut lines = BufReader::new(read).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        let Ok(counts) = obey(&line, &changes, &router).await else { return };
        let Ok(mut answer) = serde_json::to_vec(&counts) else { return };
        answer.push(b'\n');
        if write.write_all(&answer).await.is_err() {
            return;
        }
    }
}

/// Answers once what is asked for is in place.
async fn obey(line: &str, changes: &MemoryFeed, router: &Router) -> Result<Counts, io::Error> {
    let function = match serde_json::from_str(line)? {
        Request::Endpoints { function, endpoints } => {
            let state = |endpoint: control::Endpoint| EndpointState {
                address: endpoint.address,
                ready: endpoint.ready,
                terminating: false,
            };
            let id = FunctionId::new(NAMESPACE, &function);
            let states = endpoints.into_iter().map(state).collect();
            changes.set_endpoints(id, states).map_err(io::Error::other)?;
            changes.applied().await.map_err(io::Error::other)?;
            function
        }
        Request::Counts { function } => function,
    };
    let id = FunctionId::new(NAMESPACE, &function);
    let found = router.functions().into_iter().find(|function| function.id == id);
    Ok(found.map_or_else(Counts::default, |function| Counts {
        total: function.counters.total(),
        in_flight: function.counters.in_flight(),
        held: function.held(),
    }))
}
