//! `kip volume`: volumes that functions mount.

use std::time::Duration;

use clap::{Args as ClapArgs, Subcommand, ValueEnum};
use kipper_client::{
    ApiError, Connection, connect,
    functions::Functions,
    volumes::{AccessMode, NewVolume, Volume, Volumes, mounted_by},
    wait,
};
use kipper_function::{names, quantity};
use kipper_process::exit::UsageError;
use tokio::time::Instant;

use crate::{
    empty,
    output::{self, Format, OutputArgs},
    prompt,
    settings::ScopeArgs,
};

/// Plural of the claims that volumes are.
const RESOURCE: &str = "persistentvolumeclaims";
/// How long the end of a volume is waited for: without a pod that mounts it, it is immediate.
const LOOK: Duration = Duration::from_secs(10);

/// Volumes that functions mount.
#[derive(Clone, Debug, ClapArgs)]
pub struct Args {
    /// Which cluster, and where in it.
    #[command(flatten)]
    pub scope: ScopeArgs,

    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Create a volume
    Create(CreateArgs),
    /// List volumes
    #[command(visible_alias = "ls")]
    List {
        /// Output format.
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Delete volumes and the data in them
    Delete(DeleteArgs),
}

/// Create a volume.
#[derive(Clone, Debug, ClapArgs)]
pub struct CreateArgs {
    /// Name of the volume
    pub name: String,

    /// Size of the volume
    #[arg(long, value_name = "QUANTITY", default_value = "1Gi")]
    pub size: String,

    /// Whether pods of one node or of many may mount it at once
    #[arg(long, value_enum, value_name = "MODE", default_value_t = Access::One)]
    pub access: Access,

    /// StorageClass [default: the cluster's]
    #[arg(long, value_name = "NAME")]
    pub class: Option<String>,

    /// Output format.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// Who may mount a volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Access {
    /// Pods of one node (ReadWriteOnce)
    One,
    /// Pods of every node (ReadWriteMany), where the StorageClass can
    Many,
}

/// Delete volumes.
#[derive(Clone, Debug, ClapArgs)]
pub struct DeleteArgs {
    /// Names of volumes
    #[arg(required = true, value_name = "NAME")]
    pub names: Vec<String>,

    /// Do not ask for confirmation
    #[arg(short, long)]
    pub yes: bool,

    /// Delete volumes even if functions mount them
    #[arg(long)]
    pub force: bool,
}

/// Runs the command on this thread.
///
/// # Errors
/// Whatever ends it.
pub fn main(args: Args) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(run(args))
}

async fn run(args: Args) -> anyhow::Result<()> {
    if let Command::Create(create) = &args.command {
        check(create)?;
    }
    let connection = connect::connect(&args.scope.settings()?.target).await?;
    match &args.command {
        Command::Create(args) => create(args, &connection).await,
        Command::List { output } => list(output.output, &connection).await,
        Command::Delete(args) => delete(args, &connection).await,
    }
}

fn check(args: &CreateArgs) -> Result<(), UsageError> {
    let name = &args.name;
    names::check_label(name)
        .map_err(|error| UsageError::new(format!("volume {name}: the name {error}")))?;
    // The claim's name is longer, and may have no more characters either.
    names::check_label(&names::volume_claim(name))
        .map_err(|error| UsageError::new(format!("volume {name}: shared-{name} {error}")))?;
    check_size(&args.size).map_err(UsageError::new)
}

/// Is this a size that a volume may have?
fn check_size(text: &str) -> Result<(), String> {
    let size = quantity::parse(text).map_err(|error| format!("--size {error}"))?;
    if size <= 0.0 {
        return Err("--size must be greater than zero".to_owned());
    }
    if size >= quantity::LEAST_BYTES {
        return Ok(());
    }
    // `500m` is half a byte.
    let number = quantity::number(text);
    let unit = if text.ends_with('m') { "Mi" } else { "Gi" };
    Err(format!(
        "--size {text} is less than 1Mi: a number without a unit counts bytes; did you mean \
         {number}{unit}?"
    ))
}

async fn create(args: &CreateArgs, connection: &Connection) -> anyhow::Result<()> {
    let volumes = Volumes::new(connection);
    let access_mode = match args.access {
        Access::One => AccessMode::ReadWriteOnce,
        Access::Many => AccessMode::ReadWriteMany,
    };
    let (name, size, class) = (args.name.clone(), args.size.clone(), args.class.clone());
    let (volume, claim) = volumes.create(&NewVolume { name, size, access_mode, class }).await?;
    if access_mode == AccessMode::ReadWriteOnce && volumes.nodes().await.unwrap_or(0) > 1 {
        output::note(
            "warning: pods of one node can mount it, and the cluster has several: a function that \
             mounts it runs on one of them only (--access many, where the StorageClass can)",
        );
    }
    match args.output.output {
        Some(format) => output::object(format, RESOURCE, &claim),
        None => output::line(format!(
            "volume {} of {} created in namespace {}\nmount it with --volume {}:/<path>",
            volume.name, volume.size, connection.namespace, volume.name
        )),
    }
}

async fn list(format: Option<Format>, connection: &Connection) -> anyhow::Result<()> {
    let volumes = Volumes::new(connection).list().await?;
    if volumes.is_empty() {
        empty::note("volumes", connection, format).await;
    }
    if let Some(format) = format {
        return output::objects(format, RESOURCE, volumes.into_iter().map(|(_, claim)| claim));
    }
    // Who may not look at functions sees the volumes.
    let functions = match Functions::new(connection).list().await {
        Err(ApiError::Forbidden(_)) => Vec::new(),
        other => other?,
    };
    let rows: Vec<_> = volumes
        .into_iter()
        .map(|(volume, _)| row(volume, |name| mounted_by(&functions, name).join(",")))
        .collect();
    output::print(output::table(
        &["NAME", "STATUS", "SIZE", "ACCESS", "CLASS", "MOUNTED BY"],
        &rows,
    ))
}

fn row(volume: Volume, mounted_by: impl Fn(&str) -> String) -> Vec<String> {
    let mounted_by = mounted_by(&volume.name);
    vec![
        volume.name,
        volume.phase,
        volume.size,
        volume.access_modes.join(","),
        volume.class.filter(|class| !class.is_empty()).unwrap_or_else(|| "-".to_owned()),
        if mounted_by.is_empty() { "-".to_owned() } else { mounted_by },
    ]
}

async fn delete(args: &DeleteArgs, connection: &Connection) -> anyhow::Result<()> {
    let volumes = Volumes::new(connection);
    if !args.force {
        let functions = Functions::new(connection).list().await?;
        for name in &args.names {
            let users = mounted_by(&functions, name);
            if !users.is_empty() {
                anyhow::bail!(
                    "volume {name} is mounted by {}; --force deletes it all the same",
                    users.join(", ")
                );
            }
        }
    }
    if !args.yes {
        let (names, namespace) = (args.names.join(", "), &connection.namespace);
        let question = format!("Delete {names} in namespace {namespace}, with all data in them?");
        prompt::before_deleting(&question)?;
    }
    let mut failures = Vec::new();
    for name in &args.names {
        match one(connection, &volumes, name).await {
            Ok(reported) => output::line(reported)?,
            Err(error) => failures.push(error.into()),
        }
    }
    crate::failure::one_of(failures, args.names.len())
}

/// Deletes a volume; what came of it.
async fn one(connection: &Connection, volumes: &Volumes, name: &str) -> Result<String, ApiError> {
    let uid = volumes.delete(name).await?;
    let deadline = Instant::now() + LOOK;
    Ok(match wait::volume_gone(connection, name, &uid, deadline).await? {
        true => format!("volume {name} deleted"),
        false => format!("volume {name} is deleted as soon as no pod mounts it"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(size: &str, expected: Result<(), &str>) {
        let found = check_size(size);
        assert!(
            match (&found, expected) {
                (Ok(()), Ok(())) => true,
                (Err(error), Err(part)) => error.contains(part),
                _ => false,
            },
            "{size}: {found:?}"
        );
    }

    #[test]
    fn a_size_without_its_unit_is_refused_with_what_was_meant() {
        check("1Gi", Ok(()));
        check("1Mi", Ok(()));
        check("1048576", Ok(()));
        check("5", Err("did you mean 5Gi?"));
        check("1.5", Err("did you mean 1.5Gi?"));
        check("500m", Err("did you mean 500Mi?"));
        check("5Ki", Err("did you mean 5Gi?"));
        check("0", Err("must be greater than zero"));
        check("much", Err("--size "));
    }
}
