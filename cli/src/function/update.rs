//! `kip function update`: changes what the flags say, under the version it was read at.

use clap::Args as ClapArgs;
use kipper_process::exit::UsageError;

use crate::{
    output::{self, OutputArgs},
    preflight,
    session::Session,
    settings::ScopeArgs,
    write::WaitArgs,
};

use super::{report, spec_args::SpecArgs};

/// Change the given fields of a function, and nothing else.
#[derive(Clone, Debug, ClapArgs)]
pub struct Args {
    /// Name of the function
    pub name: String,

    /// What changes.
    #[command(flatten)]
    pub spec: SpecArgs,

    /// How it is waited for.
    #[command(flatten)]
    pub wait: WaitArgs,

    /// Output format.
    #[command(flatten)]
    pub output: OutputArgs,
}

pub(super) async fn run(args: &Args, scope: &ScopeArgs) -> anyhow::Result<()> {
    if args.spec == SpecArgs::default() {
        return Err(UsageError::new("nothing to change: pass at least one flag").into());
    }
    let change = args.spec.read()?;
    let session = Session::open(scope).await?;
    if !args.spec.bind.is_empty() || args.spec.trigger.source.is_some() {
        let mut function = session.functions.get(&args.name).await?;
        change.update(&mut function.spec)?;
        preflight::services(&session, &function).await?;
    }
    let written = session.functions.edit(&args.name, |spec| change.update(spec)).await?;
    for warning in change.warnings(&written.function.spec) {
        output::note(format!("warning: {warning}"));
    }
    report::after(&session, written, args.wait, args.output.output).await
}
