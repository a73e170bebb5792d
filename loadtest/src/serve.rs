//! The processes that scenarios start from this same binary.

pub mod adapter;
pub mod function;
pub mod interceptor;

use clap::Subcommand;

/// What a process of a scenario does.
#[derive(Debug, Subcommand)]
#[command(hide = true)]
pub enum Role {
    /// Run an interceptor whose endpoints are set over a control port
    #[command(hide = true)]
    ServeInterceptor(interceptor::Args),
    /// Run a scaler-adapter
    #[command(hide = true)]
    ServeAdapter(kipper_scaler_adapter::Config),
    /// Run a function that notes which requests it executes
    #[command(hide = true)]
    ServeFunction(function::Args),
    /// Send load to one address and print what came of it as JSON
    #[command(hide = true)]
    Load(kipper_measure::load::LoadArgs),
    /// Serve a small canned answer
    #[command(hide = true)]
    Backend(kipper_measure::backend::BackendArgs),
}

/// Runs one process until a signal.
///
/// # Errors
/// When it cannot start, or fails by itself.
pub fn run(role: Role) -> Result<(), anyhow::Error> {
    match role {
        Role::ServeInterceptor(args) => interceptor::run(args),
        Role::ServeAdapter(config) => adapter::run(config),
        Role::ServeFunction(args) => function::run(args),
        Role::Load(args) => kipper_measure::load::run_and_print(&args),
        Role::Backend(args) => kipper_measure::backend::run(&args),
    }
}
