//! `kip function update`: changes what the flags say, under the version it was read at.

use clap::Args as ClapArgs;
use kipper_process::exit::UsageError;
use kipper_trigger::Setting;

use crate::{
    output::{self, OutputArgs},
    preflight,
    session::Session,
    settings::ScopeArgs,
    write::WaitArgs,
};

use super::{
    entry::Entry,
    report,
    spec_args::{Change, SpecArgs},
};

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
    references(args, &change, &session).await?;
    let written = session.functions.edit(&args.name, |spec| change.update(spec)).await?;
    for warning in change.warnings(&written.function.spec) {
        output::note(format!("warning: {warning}"));
    }
    report::after(&session, written, args.wait, args.output.output).await
}

/// Checks what the flags refer to, unless the change would be refused all the same.
async fn references(args: &Args, change: &Change<'_>, session: &Session) -> anyhow::Result<()> {
    let SpecArgs { bind, volume, image_pull_secret, trigger, .. } = &args.spec;
    let is_source = |(name, _): &(String, String)| name == Setting::Source.name();
    let moves = trigger.source.is_some()
        || trigger.trigger.is_some()
        || trigger.trigger_setting.iter().any(is_source);
    if moves || !bind.is_empty() {
        let mut function = session.functions.get(&args.name).await?;
        change.update(&mut function.spec)?;
        preflight::services(session, &function).await?;
    }
    let volumes = volume.iter().filter_map(Entry::added);
    if volumes.clone().next().is_some() {
        let mut spec = session.functions.get(&args.name).await?.spec;
        change.update(&mut spec)?;
        if spec.validate().is_empty() {
            preflight::volumes(session, volumes).await?;
        }
    }
    preflight::image_pull_secrets(session, image_pull_secret.iter().filter_map(Entry::added)).await
}
