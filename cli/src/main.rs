//! The `kip` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    kipper_cli::main()
}
