//! What the `kip` command does: one module per subcommand.
//!
//! `dev` runs functions on this machine. `console` shows those of a cluster in a browser. `function`, `service`, `volume` and `version` are about a
//! cluster, by way of `kipper-client`. What a file or a folder of code is, `code` tells both. They share `settings` (which cluster, which namespace) and `session` (the
//! connection to it), `preflight` (what is checked before a write), `secret_value` (where a value comes
//! from) and `write` (how, and what came of it), `output` (what is printed), `empty` (what is said where there is nothing), `visible` (what of others' text reaches a
//! terminal), `duration` (a flag's), `complete` (names that a shell asks for), `progress` and `prompt`
//! (what a person at a terminal sees and is asked), `interrupt` (what Ctrl-C does) and `failure` (how a
//! command ends).

mod ai_args;
mod code;
mod complete;
pub mod console;
pub mod dev;

mod duration;
mod empty;
mod env_file;
mod env_flag;
pub mod failure;
pub mod function;
pub mod interrupt;
pub mod output;
mod preflight;
pub mod progress;
pub mod prompt;
mod secret_value;
pub mod service;
mod session;
pub mod settings;
pub mod shell;
mod token;
pub mod trigger_flags;
pub mod version;
pub mod visible;
pub mod volume;
pub mod write;

use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};
use kipper_process::{
    exit::{self, UsageError},
    telemetry::{self, LogArgs, LogFormat},
};

/// What is logged where nobody asks for more.
const DEFAULT_LOG_LEVEL: &str = "warn";
/// The same for commands that print their errors: the client's log would print them first.
const CLIENT_LOG_LEVEL: &str = "warn,kube_client=off,kube_runtime=off";

/// Kipper Functions from the command line.
#[derive(Debug, Parser)]
#[command(name = "kip", version)]
pub struct Cli {
    /// What to log on stderr: a level, or `target=level` directives separated by commas
    #[arg(
        long,
        global = true,
        env = "KIPPER_LOG",
        value_name = "FILTER",
        default_value = DEFAULT_LOG_LEVEL
    )]
    pub log_level: String,

    /// The subcommand.
    #[command(subcommand)]
    pub command: Command,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run functions on this machine, as a cluster would: from zero, up, and back to zero
    Dev(Box<dev::Args>),
    /// Manage the functions of a cluster: create, change, invoke, read their logs
    #[command(visible_alias = "fn")]
    Function(Box<function::Args>),
    /// Manage services that functions bind or take events from: databases, caches, bucket stores
    Service(service::Args),
    /// Manage volumes that functions mount
    Volume(volume::Args),
    /// Open the web console, with your own rights in the cluster
    Console(console::Args),
    /// Print the versions of kip, of Kipper in the cluster, and of the cluster
    Version(version::Args),
    /// Print completions for a shell
    Completion(shell::CompletionArgs),
    /// Write the man pages into a folder
    #[command(hide = true)]
    Man(shell::ManArgs),
}

/// Runs the command line of this process to its end.
pub fn main() -> ExitCode {
    // Whoever was first has set the same one.
    let _ = rustls::crypto::ring::default_provider().install_default();
    complete::answer(Cli::command);
    let cli = parse();
    let is_dev = matches!(cli.command, Command::Dev(_));
    let flags = match &cli.command {
        Command::Function(args) => args.scope.flags(),
        Command::Service(args) => args.scope.flags(),
        Command::Volume(args) => args.scope.flags(),
        Command::Console(args) => args.scope.flags(),
        _ => String::new(),
    };
    match run(cli) {
        // `kip dev` is a server while it runs, and ends as servers do.
        result if is_dev => exit::main_result(result),
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failure::report(&error, &flags),
    }
}

/// The command line, or the end of the process. A usage error is printed as clap does; its exit code is
/// 64 for `kip dev`, as with every server, and 2 for any other.
fn parse() -> Cli {
    Cli::try_parse().unwrap_or_else(|error| {
        let lenient = Cli::command().ignore_errors(true).try_get_matches();
        let is_dev = lenient.is_ok_and(|matches| matches.subcommand_name() == Some("dev"));
        if !is_dev || !error.use_stderr() {
            error.exit();
        }
        // A closed stderr is no reason to end otherwise.
        let _ = error.print();
        std::process::exit(exit::USAGE_EXIT_CODE.into())
    })
}

/// Runs the subcommand.
///
/// # Errors
/// Whatever ends the command.
pub fn run(cli: Cli) -> anyhow::Result<()> {
    let is_client = !matches!(cli.command, Command::Dev(_)) && cli.log_level == DEFAULT_LOG_LEVEL;
    let log_level = if is_client { CLIENT_LOG_LEVEL.to_owned() } else { cli.log_level };
    let log = LogArgs { log_level: log_level.clone(), log_format: LogFormat::Text };
    telemetry::init(&log)
        .map_err(|error| UsageError::new(format!("invalid value for '--log-level': {error}")))?;
    match cli.command {
        Command::Dev(args) => dev::main(*args, &log_level),
        Command::Function(args) => function::main(*args),
        Command::Service(args) => service::main(args),
        Command::Volume(args) => volume::main(args),
        Command::Console(args) => console::main(&args),
        Command::Version(args) => version::main(&args),
        Command::Completion(args) => shell::complete(&args),
        Command::Man(args) => shell::man(Cli::command(), &args),
    }
}
