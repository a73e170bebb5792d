//! What packages of `kip` carry: completions and man pages, made from the command line itself.

use std::{fs, io, path::PathBuf};

use anyhow::Context as _;
use clap::{Args, Command};
use clap_complete::Shell;

use crate::output;

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

/// Prints the completions.
///
/// # Errors
/// When stdout cannot be written to.
pub fn complete(mut kip: Command, args: &CompletionArgs) -> anyhow::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut kip, "kip", &mut script);
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
