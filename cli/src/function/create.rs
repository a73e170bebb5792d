//! `kip function create`: a Function from flags, checked before anything is written.

use std::{collections::BTreeMap, path::PathBuf};

use clap::Args as ClapArgs;
use kipper_client::{
    changes::{Changes, changes},
    functions::{Apply, Outcome, Written},
    namespaces,
    secrets::{self, SecretValue, Secrets},
};
use kipper_function::Function;
use kipper_process::exit::UsageError;
use kube::ResourceExt as _;

use crate::{
    interrupt,
    output::{self, Format, OutputArgs},
    preflight, prompt, secret_value,
    session::Session,
    settings::ScopeArgs,
    write::{DryRun, WaitArgs, WriteArgs},
};

use super::{overridden, report, spec_args::SpecArgs, trigger_args::TriggerArgs};

/// Create a function, or change an existing one to match the flags.
#[derive(Clone, Debug, ClapArgs)]
pub struct Args {
    /// Name of the function
    pub name: String,

    /// What it is.
    #[command(flatten)]
    pub spec: SpecArgs,

    /// Key of a secret whose value is prompted for or read from stdin (may be repeated)
    #[arg(long, value_name = "KEY")]
    pub secret: Vec<String>,

    /// Secret whose value is in a file (may be repeated)
    #[arg(long, value_name = "KEY=PATH", value_parser = secret_file)]
    pub secret_file: Vec<(String, PathBuf)>,

    /// Create the namespace if it does not exist
    #[arg(long)]
    pub create_namespace: bool,

    /// How it is written.
    #[command(flatten)]
    pub write: WriteArgs,

    /// How it is waited for.
    #[command(flatten)]
    pub wait: WaitArgs,

    /// Output format.
    #[command(flatten)]
    pub output: OutputArgs,
}

pub(super) async fn run(args: &Args, scope: &ScopeArgs) -> anyhow::Result<()> {
    let change = args.spec.read()?;
    let mut function = Function::new(&args.name, change.create()?);
    preflight::fields(&function)?;
    for warning in change.warnings(&function.spec) {
        output::note(format!("warning: {warning}"));
    }
    let keys = args.secret_keys()?;
    if args.write.dry_run == Some(DryRun::Client) {
        function.metadata.namespace = scope.settings()?.target.namespace;
        return shown(
            args.output.output,
            &function,
            "would be created (dry run, no cluster contacted)",
        );
    }
    let session = Session::open(scope).await?;
    if args.create_namespace && args.write.dry_run.is_none() {
        namespaces::ensure(&session.connection, session.settings.place.as_ref()).await?;
    }
    if args.spec.trigger == TriggerArgs::default()
        && session.functions.has_other_triggers(&args.name).await?
    {
        function.spec.triggers.clear();
    }
    preflight::services(&session, &function).await?;
    preflight::volumes(&session, &function.spec.volumes).await?;
    preflight::image_pull_secrets(&session, &function.spec.image_pull_secrets).await?;
    if !function.spec.triggers.is_empty()
        && let Some(taken) = preflight::host(&session, &function).await?
    {
        return Err(taken.into());
    }
    if args.write.dry_run.is_some() {
        let written = session.functions.apply(&function, args.write.apply()).await?;
        tell(&session, &function, &written);
        return shown(
            args.output.output,
            &written.function,
            "would be accepted by the cluster (dry run)",
        );
    }
    let names: Vec<String> = keys.iter().map(|key| key.name.clone()).collect();
    let written = write(args, &session, &function, keys).await?;
    tell(&session, &function, &written);
    let flags = &session.settings.flags;
    overridden::warn_of_secrets(&function, names.iter().map(String::as_str), flags);
    let new = |name: &&String| !names.contains(name);
    let variables = function.spec.env.keys().filter(new).map(String::as_str);
    overridden::warn_of_env(&written.function, variables, flags);
    report::after(&session, written, args.wait, args.output.output).await
}

/// Says of a function that was there already what changed, what stayed though no flag mentions it, and
/// what went.
fn tell(session: &Session, function: &Function, written: &Written) {
    let Some(before) = &written.before else { return };
    let changes = changes(&function.spec, before, &written.function.spec);
    let is_changed = written.outcome == Outcome::Changed;
    for line in words(&function.name_any(), &changes, is_changed, &session.settings.flags) {
        output::note(line);
    }
}

/// They in a line each; `flags` are those of the cluster.
fn words(name: &str, changes: &Changes, is_changed: bool, flags: &str) -> Vec<String> {
    let mut lines = Vec::new();
    if is_changed && !changes.changed.is_empty() {
        lines.push(format!("note: changed: {}", changes.changed.join(", ")));
    }
    if !changes.dropped.is_empty() {
        let dropped = changes.dropped.join(", ");
        lines.push(format!("note: removed, because no flag mentions it: {dropped}"));
    }
    if !changes.kept.is_empty() {
        let kept: Vec<_> = changes.kept.iter().map(|kept| kept.part.as_str()).collect();
        let removals: Option<Vec<_>> =
            changes.kept.iter().map(|kept| kept.removal.as_deref()).collect();
        let how = match removals {
            Some(removals) => {
                format!("`kip function update {name} {}{flags}` removes it", removals.join(" "))
            }
            None => format!("`kip function edit {name}{flags}` can remove it"),
        };
        let kept = kept.join(", ");
        lines.push(format!("note: kept, because it was set by another command: {kept}; {how}"));
    }
    lines
}

/// Prints what was not written.
fn shown(format: Option<Format>, function: &Function, what: &str) -> anyhow::Result<()> {
    match format {
        Some(format) => output::object(format, output::FUNCTIONS, function),
        None => output::line(format!("function {} {what}", function.name_any())),
    }
}

/// Secrets first, so that the first pod has them, but not before the cluster takes the Function.
async fn write(
    args: &Args,
    session: &Session,
    function: &Function,
    keys: Vec<Key>,
) -> anyhow::Result<Written> {
    if keys.is_empty() {
        return Ok(session.functions.apply(function, args.write.apply()).await?);
    }
    let dry = Apply { dry_run: true, ..args.write.apply() };
    session.functions.apply(function, dry).await?;
    let mut values = BTreeMap::new();
    for key in keys {
        values.insert(key.name.clone(), key.value()?);
    }
    interrupt::whole(async {
        let secrets = Secrets::new(&session.connection);
        secrets.set(&args.name, &values).await?;
        let written = session.functions.apply(function, args.write.apply()).await?;
        secrets.adopt(&written.function).await?;
        Ok(written)
    })
    .await?
}

/// A secret that is to be set, and where its value comes from.
struct Key {
    name: String,
    from: Origin,
}

enum Origin {
    Prompt,
    Stdin,
    /// A file, which was read.
    File(SecretValue),
}

impl Key {
    fn value(self) -> anyhow::Result<SecretValue> {
        match self.from {
            Origin::Prompt => secret_value::prompted(&self.name),
            Origin::Stdin => secret_value::from_stdin(),
            Origin::File(value) => Ok(value),
        }
    }
}

impl Args {
    fn secret_keys(&self) -> anyhow::Result<Vec<Key>> {
        let asks = prompt::is_possible();
        if self.secret.len() > 1 && !asks {
            let message = "stdin is one value: give the other secrets with --secret-file";
            return Err(UsageError::new(message).into());
        }
        let of_files = self.secret_file.iter().map(|(name, _)| name);
        for name in self.secret.iter().chain(of_files) {
            secrets::check_key(name).map_err(UsageError::new)?;
        }
        let asked = self.secret.iter().map(|name| {
            let from = if asks { Origin::Prompt } else { Origin::Stdin };
            Ok(Key { name: name.clone(), from })
        });
        let files = self.secret_file.iter().map(|(name, path)| {
            let from = Origin::File(secret_value::from_file(path)?);
            Ok(Key { name: name.clone(), from })
        });
        asked.chain(files).collect()
    }
}

fn secret_file(text: &str) -> Result<(String, PathBuf), String> {
    let (key, path) = text.split_once('=').ok_or("expected KEY=PATH")?;
    Ok((key.to_owned(), PathBuf::from(path)))
}

#[cfg(test)]
mod tests {
    use kipper_client::changes::Kept;

    use super::*;

    #[test]
    fn what_became_of_a_function_is_told() {
        let kept = |part: &str, removal: Option<&str>| Kept {
            part: part.to_owned(),
            removal: removal.map(str::to_owned),
        };
        let mut changes = Changes {
            changed: vec!["code".to_owned(), "variable A".to_owned()],
            kept: vec![kept("variable B", Some("--env B-"))],
            dropped: vec!["variable C".to_owned()],
        };
        let expected = [
            "note: changed: code, variable A",
            "note: removed, because no flag mentions it: variable C",
            "note: kept, because it was set by another command: variable B; \
             `kip function update hello --env B- -n shop` removes it",
        ];
        assert_eq!(words("hello", &changes, true, " -n shop"), expected);
        changes.kept.push(kept("memory limit", None));
        let last = words("hello", &changes, true, "").pop();
        assert_eq!(
            last.as_deref(),
            Some(
                "note: kept, because it was set by another command: variable B, memory limit; \
                 `kip function edit hello` can remove it"
            )
        );
        assert!(words("hello", &Changes::default(), false, "").is_empty());
    }
}
