//! `kip function create`: a Function from flags, checked before anything is written.

use std::{collections::BTreeMap, path::PathBuf};

use clap::Args as ClapArgs;
use kipper_client::{
    edits,
    functions::{Apply, Written},
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

use super::{report, spec_args::SpecArgs};

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
    preflight::services(&session, &function).await?;
    preflight::volumes(&session, &function.spec.volumes).await?;
    preflight::image_pull_secrets(&session, &function.spec.image_pull_secrets).await?;
    if let Some(taken) = preflight::host(&session, &function).await? {
        return Err(taken.into());
    }
    if args.write.dry_run.is_some() {
        let written = session.functions.apply(&function, args.write.apply()).await?;
        return shown(
            args.output.output,
            &written.function,
            "would be accepted by the cluster (dry run)",
        );
    }
    let written = write(args, &session, &function, keys).await?;
    let kept = edits::beyond(&function.spec, &written.function.spec);
    if !kept.is_empty() {
        let name = &args.name;
        output::note(format!(
            "note: function {name} keeps what other commands added: {}; `kip function update \
             {name}{}` removes it, for example with --volume NAME-",
            kept.join(", "),
            session.settings.flags
        ));
    }
    report::after(&session, written, args.wait, args.output.output).await
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
