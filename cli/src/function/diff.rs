//! `kip function diff -f`: what `apply` would change, as the API server sees it.

use clap::Args as ClapArgs;
use kipper_client::functions::Apply;
use kipper_function::Function;
use kube::ResourceExt as _;
use serde_json::{Value, json};
use similar::TextDiff;

use crate::{failure::Report, output, session::Session, settings::ScopeArgs};

use super::apply::FileArgs;

/// Lines shown around a change.
const CONTEXT: usize = 3;

/// Show what `apply` would change.
#[derive(Clone, Debug, ClapArgs)]
pub struct Args {
    /// Files to read.
    #[command(flatten)]
    pub files: FileArgs,

    /// Take over fields that others set
    #[arg(long)]
    pub force_conflicts: bool,

    /// Exit with code 1 if something would change
    #[arg(long)]
    pub exit_code: bool,
}

pub(super) async fn run(args: &Args, scope: &ScopeArgs) -> anyhow::Result<()> {
    let functions = args.files.read()?;
    let session = Session::open(scope).await?;
    let mut differs = false;
    for function in &functions {
        let session = session.within(function)?;
        let name = function.name_any();
        let before = session.functions.find(&name).await?;
        let how = Apply { dry_run: true, force: args.force_conflicts };
        let after = session.functions.apply(function, how).await?;
        let before = before.as_ref().map(text).transpose()?.unwrap_or_default();
        let shown = unified(&name, &before, &text(&after.function)?);
        differs |= !shown.is_empty();
        output::print(shown)?;
    }
    if differs && args.exit_code {
        return Err(Report("differences found".to_owned()).into());
    }
    Ok(())
}

/// What of a Function a user writes, as YAML.
fn text(function: &Function) -> anyhow::Result<String> {
    let mut object = json!({
        "apiVersion": "kipper.run/v1alpha1",
        "kind": "Function",
        "metadata": { "name": function.name_any() },
        "spec": function.spec,
    });
    for (field, value) in [
        ("labels", json!(function.metadata.labels)),
        ("annotations", json!(function.metadata.annotations)),
    ] {
        if value != Value::Null {
            object["metadata"][field] = value;
        }
    }
    Ok(serde_saphyr::to_string(&object)?)
}

fn unified(name: &str, before: &str, after: &str) -> String {
    if before == after {
        return String::new();
    }
    let (old, new) = (format!("cluster/{name}"), format!("files/{name}"));
    let diff = TextDiff::from_lines(before, after);
    diff.unified_diff().context_radius(CONTEXT).header(&old, &new).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_differs_is_shown() {
        assert_eq!(unified("f", "a\n", "a\n"), "");
        assert_eq!(
            unified("f", "a\nb\n", "a\nc\n"),
            "--- cluster/f\n+++ files/f\n@@ -1,2 +1,2 @@\n a\n-b\n+c\n"
        );
    }
}
