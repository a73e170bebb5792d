//! `kip service test`: the functions that take events from a service try to reach it, where they run.

use clap::Args as ClapArgs;
use kipper_client::{
    Connection,
    credentials::{Credentials, Purpose, Use, uses},
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
        anyhow::bail!(untested(service, args.function.as_deref(), &uses));
    }
    let mut failures = Vec::new();
    for function in &takers {
        if let Err(error) = one(function, service, connection).await {
            failures.push(error);
        }
    }
    failure::one_of(failures, takers.len())
}

/// Why there is nothing to try, and what to do instead. None of the uses takes events.
fn untested(service: &str, asked: Option<&str>, uses: &[Use]) -> String {
    let who = match asked {
        Some(name) => format!("function {name} does not take"),
        None => "no function takes".to_owned(),
    };
    let instead = match uses.first() {
        Some(bound) => format!(
            "bindings are tried by the controller, and `kip function describe {}` shows the result",
            bound.function
        ),
        None => {
            let name = asked.unwrap_or("NAME");
            format!("`kip function bind {name} {service}` binds it")
        }
    };
    format!("{who} events from service {service}; {instead}")
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
    fn who_cannot_be_tested_is_told_where_to_look() {
        let purpose = Purpose::Binding;
        let bound = Use { function: "report".to_owned(), purpose, database: None };
        assert_eq!(
            untested("db", None, &[bound]),
            "no function takes events from service db; bindings are tried by the controller, and \
             `kip function describe report` shows the result"
        );
        assert_eq!(
            untested("db", Some("f"), &[]),
            "function f does not take events from service db; `kip function bind f db` binds it"
        );
    }
}
