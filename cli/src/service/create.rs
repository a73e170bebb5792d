//! `kip service create`.

use clap::Args as ClapArgs;
use kipper_client::{Connection, credentials::Credentials};
use kipper_function::{names, service::ServiceKind};
use kipper_process::exit::UsageError;

use super::details::DetailArgs;
use crate::{
    interrupt,
    output::{self, OutputArgs},
};

/// Create a service.
#[derive(Clone, Debug, ClapArgs)]
pub struct Args {
    /// Name of the service
    pub name: String,

    /// What it is: postgres, mysql, mongodb, redis or minio [default: as the connection URL says]
    #[arg(long = "type", value_name = "TYPE", value_parser = kind)]
    pub kind: Option<ServiceKind>,

    /// Where it is.
    #[command(flatten)]
    pub details: DetailArgs,

    /// Output format.
    #[command(flatten)]
    pub output: OutputArgs,
}

fn kind(text: &str) -> Result<ServiceKind, String> {
    let known = || ServiceKind::ALL.iter().map(|kind| kind.as_str()).collect::<Vec<_>>().join(", ");
    ServiceKind::parse(text).ok_or_else(|| format!("must be one of {}", known()))
}

impl Args {
    /// Checks what can be checked without a cluster and without reading anything.
    pub(super) fn check(&self) -> Result<(), UsageError> {
        names::check_label(&self.name)
            .map_err(|error| UsageError::new(format!("service {}: the name {error}", self.name)))?;
        match self.kind {
            Some(kind) => self.details.check(kind, true),
            None if self.details.has_url() => Ok(()),
            None => Err(UsageError::new("--type is required, or a connection URL")),
        }
    }
}

pub(super) async fn run(args: &Args, connection: &Connection) -> anyhow::Result<()> {
    let url = if args.details.has_url() { Some(args.details.url()?) } else { None };
    let said = url.as_ref().map(|url| url.kind);
    if let (Some(kind), Some(said)) = (args.kind, said)
        && kind != said
    {
        let message = format!("--type is {kind}, but the connection URL is one of {said}");
        return Err(UsageError::new(message).into());
    }
    let Some(kind) = args.kind.or(said) else {
        return Err(UsageError::new("--type is required").into());
    };
    let changes = args.details.changes(kind, url, true)?;
    kind.check_keys(&[], |key| changes.get(key).is_some_and(Option::is_some))
        .map_err(|missing| UsageError::new(format!("service {}: {missing}", args.name)))?;
    let values = changes.into_iter().filter_map(|(key, value)| Some((key, value?))).collect();
    let services = Credentials::new(connection);
    let service = interrupt::whole(services.create(&args.name, kind, &values)).await??;
    if let Some(format) = args.output.output {
        return output::object(format, output::SERVICES, &service);
    }
    let (name, namespace) = (&args.name, &connection.namespace);
    output::line(format!("service {name} ({kind}) created in namespace {namespace}"))?;
    output::line(format!("bind it with kip function bind <function> {name} -n {namespace}"))
}
