//! `kip function restart`: replaces the pods of a function one after the other, without a change.

use clap::Args as ClapArgs;
use kipper_client::restart::{Restarted, restart};

use crate::{
    output::{self, OutputArgs},
    session::Session,
    settings::ScopeArgs,
    write::WaitArgs,
};

use super::report;

/// Replace the pods of a function.
#[derive(Clone, Debug, ClapArgs)]
pub struct Args {
    /// Name of the function
    pub name: String,

    /// How it is waited for.
    #[command(flatten)]
    pub wait: WaitArgs,

    /// Output format.
    #[command(flatten)]
    pub output: OutputArgs,
}

pub(super) async fn run(args: &Args, scope: &ScopeArgs) -> anyhow::Result<()> {
    let session = Session::open(scope).await?;
    let (name, format) = (&args.name, args.output.output);
    match restart(&session.functions, name).await? {
        Restarted::Nothing(function, why) => match format {
            Some(format) => output::object(format, output::FUNCTIONS, &function),
            None => output::line(format!("function {name} {why}: there is nothing to restart")),
        },
        Restarted::Begun(function) => {
            let reported = format!("function {name} restarted");
            report::after_saying(&session, &reported, &function, args.wait, format).await
        }
    }
}
