//! `kip function restart`: replaces the pods of a function one after the other, without a change.
//!
//! An annotation of the Function becomes one of its pods, and another value of it other pods. What
//! `kubectl rollout restart` writes is on the Deployment, which is the controller's.

use clap::Args as ClapArgs;
use kipper_function::{Function, Timestamp, function::Phase, names};

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
    let function = session.functions.get(name).await?;
    if let Some(why) = nothing_to_restart(&function) {
        return match format {
            Some(format) => output::object(format, output::FUNCTIONS, &function),
            None => output::line(format!("function {name} {why}: there is nothing to restart")),
        };
    }
    // To the millisecond: two restarts are two, however soon.
    let now = Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string();
    let written = session.functions.annotate(name, names::RESTARTED_AT, &now).await?;
    let reported = format!("function {name} restarted");
    report::after_saying(&session, &reported, &written.function, args.wait, format).await
}

fn nothing_to_restart(function: &Function) -> Option<&'static str> {
    if !function.spec.is_served() {
        return Some("has no pods between its runs");
    }
    let phase = function.status.as_ref().and_then(|status| status.phase());
    (phase == Some(Phase::Idle)).then_some("is at zero replicas")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    #[test]
    fn without_pods_there_is_nothing_to_restart() {
        let check = |type_: &str, phase: Option<&str>, expected: Option<&str>| {
            let function: Function = serde_json::from_value(json!({
                "apiVersion": "kipper.run/v1alpha1", "kind": "Function",
                "metadata": { "name": "f" }, "spec": { "triggers": [{ "type": type_ }] },
                "status": { "phase": phase },
            }))
            .unwrap();
            assert_eq!(nothing_to_restart(&function), expected, "{type_} {phase:?}");
        };
        check("http", Some("Running"), None);
        check("http", Some("Scaling"), None);
        // Its pods may crash again and again.
        check("redis", Some("Failed"), None);
        check("http", None, None);
        check("http", Some("Idle"), Some("is at zero replicas"));
        check("cron", Some("Idle"), Some("has no pods between its runs"));
    }
}
