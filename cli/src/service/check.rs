//! `kip service test`: the functions that use a service try to reach it, where they run and with what
//! they have.

use anyhow::Context as _;
use clap::Args as ClapArgs;
use kipper_client::{
    Connection, binding_check,
    cluster::Cluster,
    credentials::Credentials,
    functions::Functions,
    source_check,
    test_run::{TestRuns, Verdict},
};
use kipper_function::{Function, Service, function::ServiceBinding};
use kube::ResourceExt as _;

use crate::{
    failure::{self, Report},
    interrupt, output,
    visible::visible,
};

/// Check a service from the cluster.
#[derive(Clone, Debug, ClapArgs)]
pub struct TestArgs {
    /// Name of the service
    pub name: String,

    /// Only this function's access [default: every function that uses the service]
    #[arg(long, value_name = "NAME")]
    pub function: Option<String>,
}

/// What of a function's access is tried.
enum Access {
    Binding(ServiceBinding),
    Events,
}

pub(super) async fn test(
    args: &TestArgs,
    connection: &Connection,
    system_namespace: &str,
) -> anyhow::Result<()> {
    let service = Credentials::new(connection).get(&args.name).await?;
    let functions = Functions::new(connection);
    let functions = match &args.function {
        Some(name) => vec![functions.get(name).await?],
        None => functions.list().await?,
    };
    let tests: Vec<_> = functions
        .iter()
        .flat_map(|function| accesses(function, &args.name).map(move |access| (function, access)))
        .collect();
    if tests.is_empty() {
        anyhow::bail!(unused(&args.name, args.function.as_deref()));
    }
    let mut failures = Vec::new();
    for (function, access) in &tests {
        let tried = match access {
            Access::Events => events(function, &args.name, connection).await,
            Access::Binding(binding) => {
                bound(function, binding, &service, connection, system_namespace).await
            }
        };
        failures.extend(tried.err());
    }
    failure::one_of(failures, tests.len())
}

/// How a function uses a service.
fn accesses(function: &Function, service: &str) -> impl Iterator<Item = Access> {
    let bindings = function.spec.service_bindings.iter().filter(|it| it.name == service);
    let events = function.spec.event().filter(|event| event.source() == service);
    let bindings: Vec<_> = bindings.cloned().map(Access::Binding).collect();
    bindings.into_iter().chain(events.map(|_| Access::Events))
}

/// Why there is nothing to try, and what to do instead.
fn unused(service: &str, function: Option<&str>) -> String {
    let who = match function {
        Some(name) => format!("function {name} does not use"),
        None => "no function uses".to_owned(),
    };
    let name = function.unwrap_or("NAME");
    format!("{who} service {service}; `kip function bind {name} {service}` binds it")
}

async fn events(function: &Function, service: &str, connection: &Connection) -> anyhow::Result<()> {
    let name = function.name_any();
    let job = source_check::start(connection, &name).await?;
    let words = Words {
        done: format!("function {name} can take events from service {service}"),
        failed: format!("function {name} cannot take events from {service}"),
    };
    followed(connection, &name, &job, words).await
}

async fn bound(
    function: &Function,
    binding: &ServiceBinding,
    service: &Service,
    connection: &Connection,
    system_namespace: &str,
) -> anyhow::Result<()> {
    let (name, service_name) = (function.name_any(), &binding.name);
    let Some(kind) = service.spec.kind() else {
        anyhow::bail!("service {service_name} has unknown type {}", service.spec.type_);
    };
    let cluster = Cluster::read(connection, system_namespace).await?;
    let image = cluster.and_then(|cluster| cluster.poller_image);
    let image = image.context(
        "the cluster does not tell the image that tries bindings (ConfigMap kipper-cluster-info): its \
         chart is of an earlier version",
    )?;
    let job = binding_check::start(connection, function, binding, kind, &image).await?;
    let words = Words {
        done: format!("function {name} can connect to service {service_name}"),
        failed: format!("function {name} cannot connect to {service_name}"),
    };
    followed(connection, &name, &job, words).await
}

/// How a check is told.
struct Words {
    done: String,
    failed: String,
}

async fn followed(
    connection: &Connection,
    function: &str,
    job: &str,
    words: Words,
) -> anyhow::Result<()> {
    let runs = TestRuns::new(connection);
    let mut printed = Ok(());
    let following = runs.follow(job, |line| {
        if printed.is_ok() {
            printed = output::line(visible(&line.text));
        }
    });
    let goes_on = format!("the check {job} continues in the cluster");
    let verdict = interrupt::detached(following, &goes_on).await??;
    printed?;
    match verdict {
        Verdict::Complete => output::line(words.done),
        Verdict::Failed(why) => Err(Report(format!("{}: {why}", words.failed)).into()),
        Verdict::CannotStart { stage, .. } => {
            let message = format!("the check of function {function} cannot start: {stage}");
            Err(Report(message).into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_cannot_be_tested_is_told_what_to_do() {
        assert_eq!(
            unused("db", None),
            "no function uses service db; `kip function bind NAME db` binds it"
        );
        assert_eq!(
            unused("db", Some("f")),
            "function f does not use service db; `kip function bind f db` binds it"
        );
    }
}
