//! What packages of `kip` carry: completions and man pages, made from the command line itself.

use std::{fs, io, path::PathBuf};

use anyhow::Context as _;
use clap::{Args, Command};
use clap_complete::{Shell, env::Shells};

use crate::{complete, output};

/// Print completions for a shell.
#[derive(Clone, Debug, Args)]
pub struct CompletionArgs {
    /// The shell
    pub shell: Shell,
}

/// Write the man pages into a folder.
#[derive(Clone, Debug, Args)]
pub struct ManArgs {
    /// The folder; made where it does not exist
    #[arg(value_name = "FOLDER")]
    pub folder: PathBuf,
}

/// What zsh runs of a script in a folder of `fpath`: the first time it only defines the function.
const ZSH_FIRST: &str = "if [[ $funcstack[1] == _kip ]]; then _clap_dynamic_completer_kip; fi\n";

/// Prints a script by which the shell asks `kip` for completions.
///
/// # Errors
/// When stdout cannot be written to.
pub fn complete(args: &CompletionArgs) -> anyhow::Result<()> {
    let shell = Shells::builtins();
    let shell =
        shell.completer(&args.shell.to_string()).context("no completions for this shell")?;
    let mut script = Vec::new();
    shell.write_registration(complete::VARIABLE, "kip", "kip", "kip", &mut script)?;
    if args.shell == Shell::Zsh {
        script.extend_from_slice(ZSH_FIRST.as_bytes());
    }
    output::raw(script)
}

/// Writes `kip.1`, `kip-function-create.1` and so on.
///
/// # Errors
/// When the folder cannot be written to.
pub fn man(kip: Command, args: &ManArgs) -> anyhow::Result<()> {
    let write = |kip| -> io::Result<()> {
        fs::create_dir_all(&args.folder)?;
        clap_mangen::generate_to(kip, &args.folder)
    };
    write(kip).with_context(|| args.folder.display().to_string())
}
