//! The `kip` command.

use std::process::ExitCode;

use kipper_process::exit;

fn main() -> ExitCode {
    let cli: kipper_cli::Cli = exit::parse();
    exit::main_result(kipper_cli::run(cli))
}
