//! `kip function bind` and `unbind`.

use clap::Args as ClapArgs;
use kipper_client::{
    ApiError, edits,
    functions::Outcome,
    services::{Services, injected},
};
use kipper_function::{Function, function::ServiceBinding};

use crate::{output, preflight, session::Session, settings::ScopeArgs, write::WaitArgs};

use super::report;

/// Bind a service.
#[derive(Clone, Debug, ClapArgs)]
pub struct BindArgs {
    /// Name of the function
    pub name: String,

    /// Name of the service
    pub service: String,

    /// Prefix of the variables [default: DB_, REDIS_ or S3_]
    #[arg(long, value_name = "PREFIX")]
    pub prefix: Option<String>,

    /// Existing database to use instead of the function's own one
    #[arg(long, value_name = "NAME")]
    pub database: Option<String>,

    /// Create that database if it does not exist
    #[arg(long, requires = "database")]
    pub create_database: bool,

    /// How it is waited for.
    #[command(flatten)]
    pub wait: WaitArgs,
}

/// Remove the binding of a service.
#[derive(Clone, Debug, ClapArgs)]
pub struct UnbindArgs {
    /// Name of the function
    pub name: String,

    /// Name of the service
    pub service: String,

    /// How it is waited for.
    #[command(flatten)]
    pub wait: WaitArgs,
}

pub(super) async fn bind(args: &BindArgs, scope: &ScopeArgs) -> anyhow::Result<()> {
    let session = Session::open(scope).await?;
    let binding = ServiceBinding {
        name: args.service.clone(),
        prefix: args.prefix.clone(),
        database: args.database.clone(),
        create_database: args.create_database,
        deletion_policy: None,
    };
    let mut function = session.functions.get(&args.name).await?;
    edits::bind(&mut function.spec, &binding);
    preflight::services(&session, &function).await?;
    let bind = |spec: &mut _| {
        edits::bind(spec, &binding);
        Ok(())
    };
    let written = session.functions.edit(&args.name, bind).await?;
    let (name, service) = (&args.name, &args.service);
    let reported = match written.outcome {
        Outcome::Unchanged => format!("service {service} already bound to function {name}"),
        _ => format!("service {service} bound to function {name}"),
    };
    output::line(reported)?;
    if args.database.is_some() && !args.wait.wait {
        // Only the controller can ask the server whether it has that database.
        report::observed(&session, &written.function).await?;
    }
    say_names(&session, "injects", &written.function, service).await?;
    report::settle(&session, &written.function, args.wait).await
}

pub(super) async fn unbind(args: &UnbindArgs, scope: &ScopeArgs) -> anyhow::Result<()> {
    let session = Session::open(scope).await?;
    let (name, service) = (&args.name, &args.service);
    let before = session.functions.get(name).await?;
    let unbind = |spec: &mut _| edits::unbind(spec, service).map(drop);
    let written = session.functions.edit(name, unbind).await?;
    output::line(format!("service {service} unbound from function {name}"))?;
    say_names(&session, "removes", &before, service).await?;
    report::settle(&session, &written.function, args.wait).await
}

/// A line with the variables that the binding of a service injects, if it is known which.
async fn say_names(
    session: &Session,
    what: &str,
    function: &Function,
    service: &str,
) -> anyhow::Result<()> {
    let mut bindings = function.spec.service_bindings.iter();
    let Some(bound) = bindings.find(|bound| bound.name == service) else { return Ok(()) };
    let names = names(session, bound).await?;
    if names.is_empty() { Ok(()) } else { output::line(format!("{what:<10}{}", names.join(" "))) }
}

/// The variables of a binding; none where the service is gone or the user may not look.
async fn names(session: &Session, binding: &ServiceBinding) -> anyhow::Result<Vec<String>> {
    match Services::read(&session.connection).await {
        Ok(services) => {
            let kind = services.kind(&binding.name);
            Ok(kind.map(|kind| injected(binding, kind)).unwrap_or_default())
        }
        Err(ApiError::Forbidden(_)) => Ok(Vec::new()),
        Err(error) => Err(error.into()),
    }
}
