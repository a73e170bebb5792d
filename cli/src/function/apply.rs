//! `kip function apply -f`: Functions as files say, all of them checked before one is written.

use std::{
    collections::BTreeSet,
    fs,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use clap::Args as ClapArgs;
use kipper_client::{functions::Written, namespaces};
use kipper_function::{Function, manifest};
use kipper_process::exit::UsageError;
use kube::ResourceExt as _;
use tokio::time::Instant;

use crate::{
    failure,
    output::{self, OutputArgs},
    preflight,
    session::Session,
    settings::ScopeArgs,
    write::{self, DryRun, WaitArgs, WriteArgs},
};

use super::report;

/// Largest file that is read.
const MAX_BYTES: u64 = 64 << 20;
/// Most files of all folders together.
const MAX_FILES: usize = 1000;

/// Create or change functions to match files.
#[derive(Clone, Debug, ClapArgs)]
pub struct Args {
    /// Files to read.
    #[command(flatten)]
    pub files: FileArgs,

    /// Create the namespace if it does not exist
    #[arg(long)]
    pub create_namespace: bool,

    /// How they are written.
    #[command(flatten)]
    pub write: WriteArgs,

    /// How they are waited for.
    #[command(flatten)]
    pub wait: WaitArgs,

    /// Output format.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// Files with Functions.
#[derive(Clone, Debug, ClapArgs)]
pub struct FileArgs {
    /// YAML or JSON file, folder of such files, or `-` for stdin (may be repeated)
    #[arg(short, long = "filename", required = true, value_name = "FILE|FOLDER")]
    pub file: Vec<PathBuf>,
}

impl FileArgs {
    /// Every Function of the files, none of them wrong.
    ///
    /// # Errors
    /// When a file cannot be read, or one of its Functions is wrong.
    pub(super) fn read(&self) -> anyhow::Result<Vec<Function>> {
        let mut functions: Vec<Function> = Vec::new();
        let mut seen = BTreeSet::new();
        for path in self.paths()? {
            let file = path.display().to_string();
            let text = read(&path).with_context(|| file.clone())?;
            let found =
                manifest::parse(&text).map_err(|e| UsageError::new(format!("{file}: {e}")))?;
            for skipped in found.skipped {
                let (kind, name) = (skipped.kind, skipped.name);
                output::note(format!("warning: {file}: skipped {kind} {name}: not a Function"));
            }
            for function in found.functions {
                preflight::fields(&function)
                    .map_err(|error| UsageError::new(format!("{file}: {error}")))?;
                if !seen.insert((function.namespace(), function.name_any())) {
                    let name = function.name_any();
                    let message = format!("{file}: function {name} is defined twice");
                    return Err(UsageError::new(message).into());
                }
                functions.push(function);
            }
        }
        if functions.is_empty() {
            return Err(UsageError::new("no Functions found in these files").into());
        }
        Ok(functions)
    }

    /// The files, those of folders by name.
    fn paths(&self) -> anyhow::Result<Vec<PathBuf>> {
        let mut paths = Vec::new();
        for path in &self.file {
            if !path.is_dir() {
                paths.push(path.clone());
                continue;
            }
            let entries = fs::read_dir(path).with_context(|| path.display().to_string())?;
            let mut found: Vec<PathBuf> = Vec::new();
            for entry in entries {
                let entry = entry.with_context(|| path.display().to_string())?.path();
                if entry.is_file() && is_manifest(&entry) {
                    found.push(entry);
                }
            }
            found.sort();
            paths.extend(found);
        }
        anyhow::ensure!(paths.len() <= MAX_FILES, "more than {MAX_FILES} files");
        Ok(paths)
    }
}

fn is_manifest(path: &Path) -> bool {
    // What editors and other systems leave.
    if path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b".")) {
        return false;
    }
    let ending = path.extension().and_then(|ending| ending.to_str());
    matches!(ending, Some("yaml" | "yml" | "json"))
}

fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    if path.as_os_str() == "-" {
        io::stdin().lock().take(MAX_BYTES).read_to_string(&mut text)?;
    } else {
        fs::File::open(path)?.take(MAX_BYTES).read_to_string(&mut text)?;
    }
    Ok(text)
}

pub(super) async fn run(args: &Args, scope: &ScopeArgs) -> anyhow::Result<()> {
    let functions = args.files.read()?;
    if args.write.dry_run == Some(DryRun::Client) {
        return match args.output.output {
            Some(format) => output::objects(format, output::FUNCTIONS, &functions),
            None => functions.iter().try_for_each(|function| {
                let name = function.name_any();
                output::line(format!(
                    "function {name} would be applied (dry run, no cluster contacted)"
                ))
            }),
        };
    }
    let session = Session::open(scope).await?;
    let mut failures = Vec::new();
    let mut written = Vec::new();
    for function in &functions {
        match one(args, &session, function).await {
            Ok(after) => written.push(after),
            Err(error) => failures.push(error),
        }
    }
    if let Some(format) = args.output.output {
        output::objects(
            format,
            output::FUNCTIONS,
            written.iter().map(|written| &written.function),
        )?;
    }
    failure::one_of(failures, functions.len())
}

async fn one(args: &Args, session: &Session, function: &Function) -> anyhow::Result<Written> {
    let session = session.within(function)?;
    let is_dry = args.write.dry_run.is_some();
    if args.create_namespace && !is_dry {
        namespaces::ensure(&session.connection, session.settings.place.as_ref()).await?;
    }
    // A file may come before the services it needs and before its host is free; its function then
    // waits for them.
    if let Err(error) = preflight::services(&session, function).await {
        output::note(format!("warning: function {}: {error}", function.name_any()));
    }
    if let Err(error) = preflight::volumes(&session, &function.spec.volumes).await {
        output::note(format!("warning: function {}: {error}", function.name_any()));
    }
    preflight::image_pull_secrets(&session, &function.spec.image_pull_secrets).await?;
    if let Some(taken) = preflight::host(&session, function).await? {
        output::note(format!("warning: function {}: {taken}", function.name_any()));
    }
    let mut written = session.functions.apply(function, args.write.apply()).await?;
    let name = function.name_any();
    let mut reported = write::outcome(&name, written.outcome);
    if is_dry {
        reported.push_str(" (server dry run)");
    } else if args.wait.wait {
        let deadline = Instant::now() + args.wait.timeout;
        (written.function, _) = report::waited(&session, &written.function, deadline).await?;
    }
    if args.output.output.is_none() {
        output::line(reported)?;
    }
    Ok(written)
}
