//! `kip service update` and `delete`.

use clap::Args as ClapArgs;
use kipper_client::{
    ApiError, Connection,
    credentials::{Credentials, users, uses},
    functions::Functions,
};
use kipper_function::names;
use kipper_process::exit::UsageError;

use super::details::DetailArgs;
use crate::{
    failure,
    output::{self, OutputArgs},
    prompt,
};

/// Change a service.
#[derive(Clone, Debug, ClapArgs)]
pub struct UpdateArgs {
    /// Name of the service
    pub name: String,

    /// What changes.
    #[command(flatten)]
    pub details: DetailArgs,

    /// Output format.
    #[command(flatten)]
    pub output: OutputArgs,
}

impl UpdateArgs {
    /// Checks what can be checked without a cluster.
    pub(super) fn check(&self) -> Result<(), UsageError> {
        if self.details == DetailArgs::default() {
            return Err(UsageError::new("nothing to change: pass at least one flag"));
        }
        Ok(())
    }
}

/// Delete services.
#[derive(Clone, Debug, ClapArgs)]
pub struct DeleteArgs {
    /// Names of services
    #[arg(required = true, value_name = "NAME")]
    pub names: Vec<String>,

    /// Do not ask for confirmation
    #[arg(short, long)]
    pub yes: bool,

    /// Delete services even if functions use them
    #[arg(long)]
    pub force: bool,
}

pub(super) async fn update(args: &UpdateArgs, connection: &Connection) -> anyhow::Result<()> {
    let services = Credentials::new(connection);
    let service = services.get(&args.name).await?;
    let name = &args.name;
    let Some(kind) = service.spec.kind() else {
        anyhow::bail!("service {name} has unknown type {}", service.spec.type_);
    };
    args.details.check(kind, false)?;
    let url = if args.details.has_url() { Some(args.details.url()?) } else { None };
    if let Some(url) = url.as_ref().filter(|url| url.kind != kind) {
        let message = format!("service {name} is {kind}, but the connection URL is {}", url.kind);
        return Err(UsageError::new(message).into());
    }
    let changes = args.details.changes(kind, url, false)?;
    services.update(&service, &changes).await?;
    if let Some(known) = ApiError::allowed(services.known(&service).await)?.flatten()
        && !known.missing.is_empty()
    {
        let (secret, missing) = (&known.secret, known.missing.join(", "));
        output::note(format!("warning: Secret {secret} has no value for {missing}"));
    }
    match args.output.output {
        Some(format) => output::object(format, output::SERVICES, &service),
        None => output::line(format!("service {name} changed")),
    }
}

pub(super) async fn delete(args: &DeleteArgs, connection: &Connection) -> anyhow::Result<()> {
    if !args.force {
        let functions = Functions::new(connection).list().await?;
        for name in &args.names {
            let uses = uses(&functions, name);
            if !uses.is_empty() {
                anyhow::bail!(
                    "service {name} is used by {}; --force deletes it all the same",
                    users(&uses).join(", ")
                );
            }
        }
    }
    if !args.yes {
        let (names, namespace) = (args.names.join(", "), &connection.namespace);
        let question =
            format!("Delete {names} in namespace {namespace}, with the stored credentials?");
        prompt::before_deleting(&question)?;
    }
    let services = Credentials::new(connection);
    let mut failures = Vec::new();
    for name in &args.names {
        match one(&services, name).await {
            Ok(reported) => output::line(reported)?,
            Err(error) => failures.push(error.into()),
        }
    }
    failure::one_of(failures, args.names.len())
}

/// Deletes a service; what came of it.
async fn one(services: &Credentials, name: &str) -> Result<String, ApiError> {
    let service = services.get(name).await?;
    let data = "the server and the data on it stay";
    Ok(match services.delete(&service).await? {
        false => format!("service {name} deleted; {data}"),
        true => {
            let secret = names::service_credentials(name);
            format!(
                "service {name} deleted; {data}, and so does Secret {secret}, which kip did not create"
            )
        }
    })
}
