//! `kip service test`: the functions that take events from a service try to reach it, where they run.

use clap::Args as ClapArgs;
use kipper_client::{
    Connection,
    credentials::{Credentials, Purpose, uses},
    functions::Functions,
    source_check,
    test_run::{TestRuns, Verdict},
};

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

    /// Only this function's access [default: every function that takes events from the service]
    #[arg(long, value_name = "NAME")]
    pub function: Option<String>,
}

pub(super) async fn test(args: &TestArgs, connection: &Connection) -> anyhow::Result<()> {
    let service = &args.name;
    Credentials::new(connection).get(service).await?;
    let functions = Functions::new(connection);
    let functions = match &args.function {
        Some(name) => vec![functions.get(name).await?],
        None => functions.list().await?,
    };
    let uses = uses(&functions, service);
    let takers = uses.iter().filter(|it| matches!(it.purpose, Purpose::Events(_)));
    let takers: Vec<_> = takers.map(|it| it.function.as_str()).collect();
    if takers.is_empty() {
        let (who, name) = match &args.function {
            Some(name) => (format!("function {name} does not take"), name.as_str()),
            None => ("no function takes".to_owned(), "NAME"),
        };
        anyhow::bail!(
            "{who} events from service {service}; a binding is tried by the controller, and \
             `kip function describe {name}` shows what came of it"
        );
    }
    let mut failures = Vec::new();
    for function in &takers {
        if let Err(error) = one(function, service, connection).await {
            failures.push(error);
        }
    }
    failure::one_of(failures, takers.len())
}

async fn one(function: &str, service: &str, connection: &Connection) -> anyhow::Result<()> {
    let job = source_check::start(connection, function).await?;
    let runs = TestRuns::new(connection);
    let mut printed = Ok(());
    let following = runs.follow(&job, |line| {
        if printed.is_ok() {
            printed = output::line(visible(&line.text));
        }
    });
    let goes_on = format!("the check {job} continues in the cluster");
    let verdict = interrupt::detached(following, &goes_on).await??;
    printed?;
    match verdict {
        Verdict::Complete => {
            output::line(format!("function {function} can take events from service {service}"))
        }
        Verdict::Failed(why) => {
            let message = format!("function {function} cannot take events from {service}: {why}");
            Err(Report(message).into())
        }
    }
}
