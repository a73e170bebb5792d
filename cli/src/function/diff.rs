//! `kip function diff`: with `-f` what `apply` would change, as the API server sees it; with
//! `--revision` what has changed since.

use std::{collections::BTreeMap, path::PathBuf};

use clap::Args as ClapArgs;
use kipper_client::{functions::Apply, history};
use kipper_function::{
    Function, FunctionSpec, code,
    function::{Source, effective::Workload},
};
use kipper_process::exit::UsageError;
use kube::ResourceExt as _;
use serde_json::{Value, json};
use similar::TextDiff;

use crate::{failure::Report, output, session::Session, settings::ScopeArgs};

use super::apply::FileArgs;

/// Lines shown around a change.
const CONTEXT: usize = 3;

/// Show what `apply` would change, or what has changed since a revision.
#[derive(Clone, Debug, ClapArgs)]
pub struct Args {
    /// Function to compare with one of its revisions
    #[arg(requires = "revision", conflicts_with = "file")]
    pub name: Option<String>,

    /// Show what has changed since this revision
    #[arg(long, value_name = "N", requires = "name")]
    pub revision: Option<i64>,

    /// YAML or JSON file, folder of such files, or `-` for stdin (may be repeated)
    #[arg(short, long = "filename", value_name = "FILE|FOLDER")]
    pub file: Vec<PathBuf>,

    /// Take over fields that others set
    #[arg(long, requires = "file")]
    pub force_conflicts: bool,

    /// Exit with code 1 if there are differences
    #[arg(long)]
    pub exit_code: bool,
}

pub(super) async fn run(args: &Args, scope: &ScopeArgs) -> anyhow::Result<()> {
    let differs = match (&args.name, args.revision) {
        (Some(name), Some(number)) => since(name, number, scope).await?,
        _ => of_files(args, scope).await?,
    };
    if differs && args.exit_code {
        return Err(Report("differences found".to_owned()).into());
    }
    Ok(())
}

/// Prints what `apply` would change; whether that is anything.
async fn of_files(args: &Args, scope: &ScopeArgs) -> anyhow::Result<bool> {
    if args.file.is_empty() {
        let message = "either --filename, or a function and --revision, is required";
        return Err(UsageError::new(message).into());
    }
    let functions = FileArgs { file: args.file.clone() }.read()?;
    let session = Session::open(scope).await?;
    let mut differs = false;
    for function in &functions {
        let session = session.within(function)?;
        let name = function.name_any();
        let before = session.functions.find(&name).await?;
        let how = Apply { dry_run: true, force: args.force_conflicts };
        let after = session.functions.apply(function, how).await?;
        let before = before.as_ref().map(text).transpose()?.unwrap_or_default();
        let after = text(&after.function)?;
        let headers = [format!("cluster/{name}"), format!("files/{name}")];
        let shown = unified(&headers, &before, &after);
        differs |= !shown.is_empty();
        output::print(shown)?;
    }
    Ok(differs)
}

/// Prints what has changed since a revision; whether that is anything.
async fn since(name: &str, number: i64, scope: &ScopeArgs) -> anyhow::Result<bool> {
    let session = Session::open(scope).await?;
    let function = session.functions.get(name).await?;
    let history = history::read(&session.connection, &function).await?;
    let revision = &history.get(number)?.revision;
    let shown = between(name, number, &revision.spec, &function.spec)?;
    let differs = !shown.is_empty();
    output::print(shown)?;
    Ok(differs)
}

/// The differences of two specs: as YAML, and their code as the file that it is.
fn between(
    name: &str,
    number: i64,
    before: &FunctionSpec,
    after: &FunctionSpec,
) -> anyhow::Result<String> {
    let headers = |of: &str| [format!("revision-{number}/{of}"), format!("current/{of}")];
    let (old, new) = (code_files(name, before), code_files(name, after));
    let mut shown = unified(&headers(name), &without_code(before)?, &without_code(after)?);
    let files = old.keys().chain(new.keys().filter(|file| !old.contains_key(*file)));
    for file in files {
        let text = |files: &BTreeMap<_, String>| files.get(file).cloned().unwrap_or_default();
        shown.push_str(&unified(&headers(file), &text(&old), &text(&new)));
    }
    Ok(shown)
}

fn without_code(spec: &FunctionSpec) -> anyhow::Result<String> {
    let mut spec = spec.clone();
    if let Some(source) = &mut spec.source {
        source.code = None;
        source.files.clear();
    }
    Ok(serde_saphyr::to_string(&spec)?)
}

/// Inline code by file. A list of packages that is made of the spec is left out: the spec has it.
pub(super) fn code_files(name: &str, spec: &FunctionSpec) -> BTreeMap<String, String> {
    let Some(Workload::Inline(runtime, source)) = spec.workload() else {
        return BTreeMap::new();
    };
    let own = Source { dependencies: BTreeMap::new(), npmrc: None, ..source.clone() };
    code::files(name, runtime, &own)
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

pub(super) fn unified([old, new]: &[String; 2], before: &str, after: &str) -> String {
    if before == after {
        return String::new();
    }
    let diff = TextDiff::from_lines(before, after);
    diff.unified_diff().context_radius(CONTEXT).header(old, new).to_string()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn only_what_differs_is_shown() {
        let headers = ["cluster/f".to_owned(), "files/f".to_owned()];
        assert_eq!(unified(&headers, "a\n", "a\n"), "");
        assert_eq!(
            unified(&headers, "a\nb\n", "a\nc\n"),
            "--- cluster/f\n+++ files/f\n@@ -1,2 +1,2 @@\n a\n-b\n+c\n"
        );
    }

    #[track_caller]
    fn check_since(before: Value, after: Value, expected: &str) {
        let spec = |spec: Value| serde_json::from_value::<FunctionSpec>(spec).unwrap();
        assert_eq!(between("f", 2, &spec(before), &spec(after)).unwrap(), expected);
    }

    #[test]
    fn spec_and_code_are_compared_apart() {
        let inline = |code: &str, env: &str| {
            let dependencies = json!({ "pg": "8" });
            let source = json!({ "code": code, "dependencies": dependencies });
            json!({ "env": { "A": env }, "source": source })
        };
        check_since(inline("a\n", "1"), inline("a\n", "1"), "");
        check_since(
            inline("a\nb\n", "1"),
            inline("a\nc\n", "1"),
            "--- revision-2/index.js\n+++ current/index.js\n@@ -1,2 +1,2 @@\n a\n-b\n+c\n",
        );
        check_since(
            json!({ "image": "x:1" }),
            json!({ "image": "x:2" }),
            "--- revision-2/f\n+++ current/f\n@@ -1 +1 @@\n-image: x:1\n+image: x:2\n",
        );
        let to_an_image = between(
            "f",
            1,
            &serde_json::from_value(inline("a\n", "1")).unwrap(),
            &serde_json::from_value(json!({ "image": "x" })).unwrap(),
        );
        let shown = to_an_image.unwrap();
        assert!(
            shown.contains("+image: x\n") && shown.contains("+++ current/index.js\n"),
            "{shown}"
        );
        assert!(!shown.contains("package.json"), "{shown}");
    }

    #[test]
    fn a_folder_is_compared_file_by_file() {
        let folder = |code: &str| {
            let files = json!({ "index.js": "x\n", "lib/a.js": code, "package.json": "{}\n" });
            json!({ "source": { "files": files } })
        };
        check_since(
            folder("a\n"),
            folder("b\n"),
            "--- revision-2/lib/a.js\n+++ current/lib/a.js\n@@ -1 +1 @@\n-a\n+b\n",
        );
        let file = json!({ "runtime": "node", "source": { "code": "x\n" } });
        let gone = "--- revision-2/package.json\n+++ current/package.json\n@@ -1 +0,0 @@\n-{}\n";
        let spec = |spec: Value| serde_json::from_value::<FunctionSpec>(spec).unwrap();
        let shown = between("f", 2, &spec(folder("a\n")), &spec(file)).unwrap();
        assert!(shown.ends_with(gone) && !shown.contains("index.js"), "{shown}");
    }
}
