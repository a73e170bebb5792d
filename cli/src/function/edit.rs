//! `kip function edit`: a function as YAML in the user's editor, as `kubectl edit` does it.
//!
//! What is saved is checked as a file is, and written under the version that was read, so that nobody's
//! change is overwritten. What is refused is opened again with the reason; what is given up stays in
//! its file.

use std::{env, fs, path::Path, process::Command};

use anyhow::Context as _;
use clap::Args as ClapArgs;
use kipper_client::{
    ApiError,
    functions::{ChangeError, Written},
};
use kipper_function::{Function, manifest};
use serde_json::json;
use tempfile::NamedTempFile;

use crate::{failure, output, preflight, session::Session, settings::ScopeArgs, write::WaitArgs};

use super::report;

/// Times a text is opened again before it is given up.
const MAX_ROUNDS: usize = 20;
/// Editor of whoever names none, as for kubectl.
const DEFAULT_EDITOR: &str = "vi";
/// What stands above the text; lines like these at its beginning are no part of it.
const HEAD: &str = "\
# Edit the function below and save it; leave it as it is to change nothing.
# Should it be refused, it is opened again with the reason.
";

/// Edit a function as YAML in an editor: KUBE_EDITOR, EDITOR, or vi
#[derive(Clone, Debug, ClapArgs)]
pub struct Args {
    /// Name of the function
    pub name: String,

    /// How it is waited for.
    #[command(flatten)]
    pub wait: WaitArgs,
}

pub(super) async fn run(args: &Args, scope: &ScopeArgs) -> anyhow::Result<()> {
    let session = Session::open(scope).await?;
    let before = session.functions.get(&args.name).await?;
    let file = tempfile::Builder::new().prefix("kip-edit-").suffix(".yaml").tempfile()?;
    let mut offered = document(&before)?;
    let mut refused: Option<anyhow::Error> = None;
    for _ in 0..MAX_ROUNDS {
        let path = || file.path().display().to_string();
        fs::write(file.path(), &offered).with_context(path)?;
        open(&editor(), file.path())?;
        let text = fs::read_to_string(file.path()).with_context(path)?;
        if body(&text) == body(&offered) || body(&text).trim().is_empty() {
            return match refused {
                None => {
                    output::note("edit cancelled, no changes made");
                    Ok(())
                }
                Some(why) => Err(given_up(why, file)),
            };
        }
        match write(&session, &before, &text).await {
            Ok(written) => return report::after(&session, written, args.wait, None).await,
            Err(why) if is_final(&why) => return Err(given_up(why, file)),
            Err(why) => {
                offered = with_reason(&text, &failure::chain(&why));
                refused = Some(why);
            }
        }
    }
    Err(given_up(refused.unwrap_or_else(|| anyhow::anyhow!("it was refused")), file))
}

/// Checks a text and writes what it says.
async fn write(session: &Session, before: &Function, text: &str) -> anyhow::Result<Written> {
    let after = read(text, before)?;
    preflight::services(session, &after).await?;
    Ok(session.functions.replace(before, &after).await?)
}

/// Whether another text would fare no better.
fn is_final(why: &anyhow::Error) -> bool {
    let api = |error: &ApiError| !matches!(error, ApiError::Refused { .. });
    why.chain().any(|cause| match cause.downcast_ref::<ChangeError>() {
        Some(ChangeError::Api(error)) => api(error),
        _ => cause.downcast_ref::<ApiError>().is_some_and(api),
    })
}

/// The error, with where the text is.
fn given_up(why: anyhow::Error, file: NamedTempFile) -> anyhow::Error {
    match file.keep() {
        Ok((_, path)) => {
            output::note(format!("your text is kept in {}", path.display()));
            why
        }
        Err(error) => why.context(format!("your text could not be kept: {error}")),
    }
}

/// What of a function can be edited, as YAML.
fn document(function: &Function) -> anyhow::Result<String> {
    let meta = &function.metadata;
    let mut object = json!({
        "apiVersion": "kipper.run/v1alpha1",
        "kind": "Function",
        "metadata": { "name": meta.name, "namespace": meta.namespace },
        "spec": function.spec,
    });
    for (field, value) in [("labels", &meta.labels), ("annotations", &meta.annotations)] {
        if let Some(value) = value {
            object["metadata"][field] = json!(value);
        }
    }
    Ok(format!("{HEAD}{}", output::yaml(&object)?))
}

/// A text without the comments at its beginning.
fn body(text: &str) -> &str {
    let mut rest = text;
    while rest.starts_with('#') {
        rest = rest.split_once('\n').map_or("", |(_, rest)| rest);
    }
    rest
}

/// The text with the reason above it for which it was refused.
fn with_reason(text: &str, why: &str) -> String {
    let why: String = why.lines().map(|line| format!("# {line}\n")).collect();
    format!("{HEAD}#\n# It was refused:\n{why}{}", body(text))
}

/// The function that a text describes: the same one.
fn read(text: &str, before: &Function) -> anyhow::Result<Function> {
    let mut manifest = manifest::parse(text)?;
    let is_one = manifest.functions.len() == 1 && manifest.skipped.is_empty();
    let after = manifest.functions.pop().filter(|_| is_one).context("it must be one Function")?;
    let is_same = after.metadata.name == before.metadata.name
        && after
            .metadata
            .namespace
            .as_ref()
            .is_none_or(|_| after.metadata.namespace == before.metadata.namespace);
    anyhow::ensure!(is_same, "name and namespace cannot be changed: create another function");
    Ok(after)
}

/// The user's editor, which may have arguments.
fn editor() -> String {
    let set = |name: &str| env::var(name).ok().filter(|value| !value.trim().is_empty());
    set("KUBE_EDITOR").or_else(|| set("EDITOR")).unwrap_or_else(|| DEFAULT_EDITOR.to_owned())
}

fn open(editor: &str, path: &Path) -> anyhow::Result<()> {
    // As a shell would, because that is where such variables are written.
    let mut command = Command::new("sh");
    command.arg("-c").arg(format!("{editor} \"$1\"")).arg("sh").arg(path);
    let status = command.status().with_context(|| format!("editor {editor}"))?;
    anyhow::ensure!(status.success(), "editor {editor} failed ({status}), nothing was changed");
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn function() -> Function {
        let spec = json!({ "source": { "code": "# a comment\nprint(1)\n" }, "runtime": "python" });
        let mut function = Function::new("hello", serde_json::from_value(spec).unwrap());
        function.metadata.namespace = Some("shop".to_owned());
        function.metadata.labels = Some([("team".to_owned(), "web".to_owned())].into());
        function.metadata.uid = Some("u".to_owned());
        function
    }

    #[test]
    fn what_is_offered_reads_back() {
        let function = function();
        let text = document(&function).unwrap();
        assert!(text.starts_with(HEAD) && !text.contains("uid"), "{text}");
        let read_back = read(&text, &function).unwrap();
        assert_eq!(
            (&read_back.spec, &read_back.metadata.labels),
            (&function.spec, &function.metadata.labels)
        );
    }

    #[test]
    fn a_text_that_was_refused_has_the_reason_above_it() {
        let text = document(&function()).unwrap();
        let again = with_reason(&text, "spec.port: must be an integer\nand more");
        assert!(again.contains("# spec.port: must be an integer\n# and more\n"), "{again}");
        assert_eq!(body(&again), body(&text));
        // The reason of another round takes its place.
        let third = with_reason(&again, "other");
        assert!(third.contains("# other\n") && !third.contains("must be an integer"), "{third}");
        assert_eq!(body("# nothing"), "");
    }

    #[test]
    fn what_is_no_change_of_this_function_is_refused() {
        let function = function();
        let text = document(&function).unwrap();
        for (from, to, expected) in [
            ("name: hello", "name: other", "name and namespace cannot be changed"),
            ("namespace: shop", "namespace: other", "name and namespace cannot be changed"),
            ("runtime:", "runtimes:", "spec.runtimes: is not a known field; did you mean runtime?"),
            ("kind: Function", "kind: Other", "it must be one Function"),
            ("spec:", "spec: [", "not valid YAML"),
        ] {
            let error = read(&text.replace(from, to), &function).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn the_editor_may_have_arguments() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), "port: 1\n").unwrap();
        open("sed -i s/1/2/", file.path()).unwrap();
        assert_eq!(fs::read_to_string(file.path()).unwrap(), "port: 2\n");
        let failed = open("false", file.path()).unwrap_err().to_string();
        assert!(failed.contains("editor false failed"), "{failed}");
    }
}
