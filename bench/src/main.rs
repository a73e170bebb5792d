//! The command line of the benchmarks: one subcommand per role a process can play in a run.

use std::process::ExitCode;

#[cfg(target_os = "linux")]
mod command {
    //! The subcommands.
    use clap::{Parser, Subcommand};
    use kipper_bench::{hyper_proxy, scenario};
    use kipper_measure::{backend, load};

    /// Side-by-side benchmarks of the Kipper data plane
    #[derive(Debug, Parser)]
    #[command(version)]
    struct Cli {
        #[command(subcommand)]
        command: Command,
    }

    #[derive(Debug, Subcommand)]
    enum Command {
        /// Compare proxies: CPU per request, throughput, latency and memory
        Proxy(scenario::proxy::ProxyArgs),
        /// Compare a table of many routes with a table of one
        Routes(scenario::routes::RoutesArgs),
        /// Compare an interceptor that tells of requests with one that does not
        Observe(scenario::observe::ObserveArgs),
        /// Empty event sources with the poller, beside a plain consumer
        Events(scenario::events::EventsArgs),
        /// Send load to one address and print what came of it as JSON
        Load(load::LoadArgs),
        /// Send or fetch one large body and print what came of it as JSON
        Transfer(load::TransferArgs),
        /// Serve a small canned answer
        Backend(backend::BackendArgs),
        /// Run a bare hyper reverse proxy
        HyperProxy(hyper_proxy::HyperProxyArgs),
    }

    /// Parses the command line and runs the role it names.
    pub(crate) fn run() -> Result<(), anyhow::Error> {
        match kipper_process::exit::parse::<Cli>().command {
            Command::Proxy(args) => scenario::proxy::run(&args),
            Command::Routes(args) => scenario::routes::run(&args),
            Command::Observe(args) => scenario::observe::run(&args),
            Command::Events(args) => scenario::events::run(&args),
            Command::Load(args) => load::run_and_print(&args),
            Command::Transfer(args) => load::transfer_and_print(&args),
            Command::Backend(args) => backend::run(&args),
            Command::HyperProxy(args) => hyper_proxy::run(&args),
        }
    }
}

fn main() -> ExitCode {
    #[cfg(target_os = "linux")]
    let result = command::run();
    #[cfg(not(target_os = "linux"))]
    let result = Err(anyhow::anyhow!("the benchmarks read /proc and need Linux"));
    kipper_process::exit::main_result(result)
}
