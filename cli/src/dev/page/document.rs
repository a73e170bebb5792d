//! One Function among the documents of a YAML file: found, replaced, removed, the rest of the file left
//! as it is. Pure.

use kipper_function::{Function, FunctionSpec, manifest};
use serde_json::json;

/// Why a document cannot be replaced.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DocumentError {
    #[error("it has no Function {0:?} any more")]
    Gone(String),
    #[error("it cannot be written as YAML: {0}")]
    Unwritable(String),
}

/// The documents of a file, each with the line that begins it.
fn documents(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let (mut start, mut at) = (0, 0);
    for line in text.split_inclusive('\n') {
        // At the first column it can be nothing else (YAML 1.2, 9.1.2).
        if at > start && is_separator(line) {
            found.push(&text[start..at]);
            start = at;
        }
        at += line.len();
    }
    found.push(&text[start..]);
    found
}

fn is_separator(line: &str) -> bool {
    let rest = line.strip_prefix("---");
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n']))
}

fn is_of(document: &str, name: &str) -> Option<Function> {
    let mut manifest = manifest::parse(document).ok()?;
    let function = manifest.functions.pop()?;
    (function.metadata.name.as_deref() == Some(name)).then_some(function)
}

/// The file with the Function of this name as `spec` says.
pub(crate) fn replaced(
    text: &str,
    name: &str,
    spec: &FunctionSpec,
) -> Result<String, DocumentError> {
    let mut is_found = false;
    let mut written = String::with_capacity(text.len());
    for document in documents(text) {
        match is_of(document, name).filter(|_| !is_found) {
            Some(function) => {
                is_found = true;
                let head = head(document);
                written.push_str(head);
                written.push_str(&yaml(&function, spec)?);
            }
            None => written.push_str(document),
        }
    }
    if is_found { Ok(written) } else { Err(DocumentError::Gone(name.to_owned())) }
}

/// The file without the Function of this name; `None` when nothing is left of it.
pub(crate) fn removed(text: &str, name: &str) -> Result<Option<String>, DocumentError> {
    let all = documents(text);
    let left: Vec<&str> =
        all.iter().filter(|document| is_of(document, name).is_none()).copied().collect();
    if left.len() == all.len() {
        return Err(DocumentError::Gone(name.to_owned()));
    }
    let text = left.concat();
    let is_empty = text.lines().all(|line| is_separator(line) || line.trim().is_empty());
    Ok((!is_empty).then_some(text))
}

/// A file with one Function.
pub(crate) fn new(name: &str, spec: &FunctionSpec) -> Result<String, DocumentError> {
    yaml(&Function::new(name, spec.clone()), spec)
}

/// Has the document of this name comments that a save would lose?
pub(crate) fn has_comments(text: &str, name: &str) -> bool {
    let document = documents(text).into_iter().find(|document| is_of(document, name).is_some());
    // Deeper ones are as a rule of the code in it.
    let is_comment = |line: &str| line.starts_with('#') || line.starts_with("  #");
    document.is_some_and(|document| document[head(document).len()..].lines().any(is_comment))
}

/// The separator and the comments above a document: they stay.
fn head(document: &str) -> &str {
    let mut end = 0;
    for line in document.split_inclusive('\n') {
        if !(is_separator(line) || line.starts_with('#') || line.trim().is_empty()) {
            break;
        }
        end += line.len();
    }
    &document[..end]
}

fn yaml(function: &Function, spec: &FunctionSpec) -> Result<String, DocumentError> {
    let meta = &function.metadata;
    let mut object = json!({
        "apiVersion": "kipper.run/v1alpha1",
        "kind": "Function",
        "metadata": { "name": meta.name },
        "spec": spec,
    });
    if let Some(namespace) = &meta.namespace {
        object["metadata"]["namespace"] = json!(namespace);
    }
    for (field, value) in [("labels", &meta.labels), ("annotations", &meta.annotations)] {
        if let Some(value) = value {
            object["metadata"][field] = json!(value);
        }
    }
    crate::output::yaml(&object).map_err(|error| DocumentError::Unwritable(error.to_string()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const FILE: &str = "# All of ours.\n---\n# The first.\napiVersion: kipper.run/v1alpha1\n\
        kind: Function\nmetadata: {name: a, labels: {team: x}}\nspec:\n  # Which.\n  runtime: node\n  \
        source:\n    code: |\n      // ---\n      module.exports = () => 1\n---\nkind: Other\n---\n\
        apiVersion: kipper.run/v1alpha1\nkind: Function\nmetadata: {name: b}\n\
        spec: {runtime: python, source: {code: 'def handler(e): pass'}}\n";

    fn spec(text: &str, name: &str) -> FunctionSpec {
        let functions = manifest::parse(text).unwrap().functions;
        functions.into_iter().find(|f| f.metadata.name.as_deref() == Some(name)).unwrap().spec
    }

    #[test]
    fn one_document_changes_and_the_others_stay() {
        let mut changed = spec(FILE, "a");
        changed.env.insert("A".to_owned(), "1\n2".to_owned());
        let text = replaced(FILE, "a", &changed).unwrap();
        assert_eq!(spec(&text, "a"), changed);
        assert_eq!(spec(&text, "b"), spec(FILE, "b"));
        assert!(text.starts_with("# All of ours.\n---\n# The first.\napiVersion"), "{text}");
        assert!(text.contains("---\nkind: Other\n---\n") && text.contains("team: x"), "{text}");
        replaced(FILE, "c", &changed).unwrap_err();
    }

    #[test]
    fn a_removed_document_leaves_the_rest() {
        let text = removed(FILE, "a").unwrap().unwrap();
        assert!(!text.contains("name: a") && text.contains("kind: Other"), "{text}");
        assert_eq!(spec(&text, "b"), spec(FILE, "b"));
        let single = new("a", &spec(FILE, "a")).unwrap();
        assert_eq!(spec(&single, "a"), spec(FILE, "a"));
        assert_eq!(removed(&single, "a").unwrap(), None);
        removed(FILE, "c").unwrap_err();
    }

    #[test]
    fn comments_that_would_be_lost_are_seen() {
        assert!(has_comments(FILE, "a"));
        assert!(!has_comments(FILE, "b"));
    }
}
