//! `kip function update`: changes what the flags say, under the version it was read at.

use clap::Args as ClapArgs;
use kipper_function::{
    FunctionSpec, code,
    function::{Source, effective::Workload},
};
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
    overridden, report,
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
    let before = match &args.spec.code_file {
        Some(_) => session.functions.get(&args.name).await?.spec.source.unwrap_or_default(),
        None => Source::default(),
    };
    let written = session.functions.edit(&args.name, |spec| change.update(spec)).await?;
    let spec = &written.function.spec;
    for warning in change.warnings(spec).into_iter().chain(dropped(&before, spec)) {
        output::note(format!("warning: {warning}"));
    }
    overridden::warn_of_env(&written.function, change.variables(), &session.settings.flags);
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

/// Packages that were declared for the code before, and that the list of a folder does not name.
fn dropped(before: &Source, after: &FunctionSpec) -> Option<String> {
    let Some(Workload::Inline(runtime, source)) = after.workload() else { return None };
    let packages = code::packages(runtime, source);
    let dropped = before.dependencies.keys().filter(|name| !packages.contains_key(*name));
    let dropped: Vec<_> = dropped.map(String::as_str).collect();
    let list = code::package_list(runtime);
    (!dropped.is_empty()).then(|| {
        format!(
            "the folder's {list} does not list these packages, which are no longer installed: {}",
            dropped.join(", ")
        )
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::{Value, json};

    use super::*;

    #[track_caller]
    fn check(after: Value, expected: Option<&str>) {
        let before = json!({ "code": "x", "dependencies": { "ms": "2", "pg": "8" } });
        let before: Source = serde_json::from_value(before).unwrap();
        let after: FunctionSpec = serde_json::from_value(after).unwrap();
        assert_eq!(dropped(&before, &after).as_deref(), expected);
    }

    #[test]
    fn packages_that_a_folder_does_not_bring_are_named() {
        let folder =
            |list: &str| json!({ "source": { "files": { "index.js": "", "package.json": list } } });
        check(folder("{\"dependencies\": {\"pg\": \"8\", \"ms\": \"2\"}}"), None);
        check(
            folder("{\"dependencies\": {\"pg\": \"8\"}}"),
            Some(
                "the folder's package.json does not list these packages, which are no longer \
                 installed: ms",
            ),
        );
        let kept = json!({ "source": { "code": "y", "dependencies": { "ms": "2", "pg": "8" } } });
        check(kept, None);
        check(json!({ "image": "i" }), None);
    }
}
