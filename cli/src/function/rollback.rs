//! `kip function rollback`: gives a function the spec of an earlier revision again.
//!
//! The Function is written, as by any other change; pods and history follow from it.

use clap::Args as ClapArgs;
use kipper_client::history;
use kube::ResourceExt as _;

use crate::{
    output::{self, OutputArgs},
    preflight,
    session::Session,
    settings::ScopeArgs,
    write::WaitArgs,
};

use super::report;

/// Give a function the spec of an earlier revision again.
#[derive(Clone, Debug, ClapArgs)]
pub struct Args {
    /// Name of the function
    pub name: String,

    /// Number of the revision [default: the one before the current one]
    #[arg(long, value_name = "N")]
    pub to: Option<i64>,

    /// How it is waited for.
    #[command(flatten)]
    pub wait: WaitArgs,

    /// Output format.
    #[command(flatten)]
    pub output: OutputArgs,
}

pub(super) async fn run(args: &Args, scope: &ScopeArgs) -> anyhow::Result<()> {
    let session = Session::open(scope).await?;
    let mut function = session.functions.get(&args.name).await?;
    let history = history::read(&session.connection, &function).await?;
    let revision = match args.to {
        Some(number) => &history.get(number)?.revision,
        None => &history.previous()?.revision,
    };
    let (name, number) = (function.name_any(), revision.number);
    if history.current == Some(number) {
        let reported = format!("function {name} unchanged: revision {number} is the current one");
        return report::after_saying(&session, &reported, &function, args.wait, args.output.output)
            .await;
    }
    function.spec = revision.spec.clone();
    // What it needs may have gone since; to hold up the way back would help less.
    if let Err(error) = preflight::services(&session, &function).await {
        output::note(format!("warning: function {name}: {error}"));
    }
    let cause = revision.cause.as_deref();
    let written = session.functions.restore(&name, &revision.spec, cause).await?;
    let reported = format!("function {name} rolled back to revision {number}");
    report::after_saying(&session, &reported, &written.function, args.wait, args.output.output)
        .await
}
