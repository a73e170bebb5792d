//! Functions from YAML text, as `kip dev` and `kip function create -f` read them.
//!
//! Text in, objects out: the caller reads the file. Documents of other kinds are skipped and
//! named, so a file may hold a Function beside its ConfigMap. A mistyped field is an error here,
//! with its path, because nothing later would notice it, and so is a document that was clearly meant to
//! be a Function.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use kube::CustomResourceExt;
use serde_json::{Map, Value};

use crate::{
    function::{Function, Problem},
    suggest,
};

/// The `apiVersion` of a Function.
const API_VERSION: &str = "kipper.run/v1alpha1";
/// Its `kind`.
const KIND: &str = "Function";
/// Fields of every object.
const FIELDS: [&str; 5] = ["apiVersion", "kind", "metadata", "spec", "status"];
/// Those of its metadata (`ObjectMeta`).
const METADATA: [&str; 15] = [
    "annotations",
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "finalizers",
    "generateName",
    "generation",
    "labels",
    "managedFields",
    "name",
    "namespace",
    "ownerReferences",
    "resourceVersion",
    "selfLink",
    "uid",
];

/// Most documents in one text.
pub const MAX_DOCUMENTS: usize = 1000;

/// What a text holds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Manifest {
    /// The Functions, in the order of the text.
    pub functions: Vec<Function>,
    /// The number of each one's document, from 1; empty documents are not counted.
    pub documents: Vec<usize>,
    /// Documents of other kinds.
    pub skipped: Vec<Skipped>,
}

/// A document that is no Function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skipped {
    /// Number of the document, from 1; empty documents are not counted.
    pub document: usize,
    /// Its `apiVersion`, or `-`.
    pub api_version: String,
    /// Its `kind`, or `-`.
    pub kind: String,
    /// Its name, or `-`.
    pub name: String,
}

/// Why a text cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// It is no YAML; the message has line and column.
    #[error("not valid YAML: {0}")]
    Syntax(String),
    /// It has more than [`MAX_DOCUMENTS`].
    #[error("more than {MAX_DOCUMENTS} documents")]
    TooMany,
    /// A Function does not have the form of one.
    #[error("document {document} (Function {name:?}): {}", join(problems))]
    Form {
        /// Number of the document, from 1.
        document: usize,
        /// Name of the Function, or `-`.
        name: String,
        /// Everything wrong with its form; never empty.
        problems: Vec<Problem>,
    },
}

fn join(problems: &[Problem]) -> String {
    problems.iter().map(Problem::to_string).collect::<Vec<_>>().join("; ")
}

/// Reads every Function of a YAML text. Values are checked for their form only; call
/// [`Function::validate`] for their meaning.
pub fn parse(text: &str) -> Result<Manifest, ManifestError> {
    let documents: Vec<Value> = serde_saphyr::from_multiple(text)
        .map_err(|error| ManifestError::Syntax(readable(&error.without_snippet().to_string())))?;
    if documents.len() > MAX_DOCUMENTS {
        return Err(ManifestError::TooMany);
    }
    let schema = schema();
    let mut manifest = Manifest::default();
    for (number, value) in (1..).zip(documents) {
        if is_function(&value) {
            manifest.functions.push(function(number, value, schema.as_ref())?);
            manifest.documents.push(number);
        } else {
            let text = |pointer: &str| {
                value.pointer(pointer).and_then(Value::as_str).unwrap_or("-").to_owned()
            };
            let problems = meant(&value);
            if !problems.is_empty() {
                let name = text("/metadata/name");
                return Err(ManifestError::Form { document: number, name, problems });
            }
            manifest.skipped.push(Skipped {
                document: number,
                api_version: text("/apiVersion"),
                kind: text("/kind"),
                name: text("/metadata/name"),
            });
        }
    }
    Ok(manifest)
}

/// What the parser says, without what only a program can do about it.
fn readable(message: &str) -> String {
    message.replace(", set DuplicateKeyPolicy in Options if acceptable", "")
}

fn is_function(value: &Value) -> bool {
    let group = text(value, "apiVersion").and_then(|version| version.split_once('/'));
    text(value, "kind") == Some(KIND)
        && group.is_some_and(|(group, _)| group == crate::names::GROUP)
}

fn text<'a>(value: &'a Value, field: &str) -> Option<&'a str> {
    value.get(field).and_then(Value::as_str)
}

/// What keeps a document from being the Function that it was meant to be; empty for an object of
/// another kind. Others have a kind `Function` too, in groups of their own.
fn meant(value: &Value) -> Vec<Problem> {
    let (version, kind) = (text(value, "apiVersion"), text(value, "kind"));
    let is_ours = version.is_some_and(|version| {
        let (group, _) = version.split_once('/').unwrap_or((version, ""));
        suggest::closest(group, [crate::names::GROUP]).is_some()
    });
    // Kubernetes' own group has no name, and nothing like it.
    let has_group = version.is_some_and(|version| version.contains('/'));
    let is_like = kind.is_some_and(|kind| suggest::closest(kind, [KIND]).is_some());
    let is_meant = if kind.is_none() { is_ours } else { is_like && (is_ours || !has_group) };
    let mut problems = Vec::new();
    if is_meant {
        problems.extend(version_problem(version));
        match kind {
            None => problems.push(problem("kind", "is required".to_owned())),
            Some(KIND) => {}
            Some(kind) => {
                problems.push(problem("kind", format!("{kind} is not known; did you mean {KIND}?")))
            }
        }
    }
    problems
}

fn version_problem(version: Option<&str>) -> Option<Problem> {
    let message = match version {
        Some(API_VERSION) => return None,
        Some(version) => format!("must be {API_VERSION}, not {version}"),
        None => format!("is required: {API_VERSION}"),
    };
    Some(problem("apiVersion", message))
}

fn problem(path: &str, message: String) -> Problem {
    Problem { path: path.to_owned(), message }
}

fn function(
    document: usize,
    value: Value,
    schema: Option<&JSONSchemaProps>,
) -> Result<Function, ManifestError> {
    let name = value.pointer("/metadata/name").and_then(Value::as_str).unwrap_or("-").to_owned();
    let mut problems = Vec::from_iter(version_problem(text(&value, "apiVersion")));
    let fields = |of: Option<&Value>, prefix: &str, known: &[&str]| {
        let keys = of.and_then(Value::as_object).into_iter().flat_map(|fields| fields.keys());
        let unknown = keys.filter(|key| !known.contains(&key.as_str()));
        let all = unknown.map(|key| unknown_field(&format!("{prefix}{key}"), key, known));
        all.collect::<Vec<_>>()
    };
    problems.extend(fields(Some(&value), "", &FIELDS));
    problems.extend(fields(value.get("metadata"), "metadata.", &METADATA));
    match (value.get("spec"), schema) {
        (None, _) => problems.push(problem("spec", "is required".to_owned())),
        (Some(spec), Some(schema)) => check_form("spec", spec, schema, &mut problems),
        (Some(_), None) => {}
    }
    if problems.is_empty() {
        match serde_json::from_value(value) {
            Ok(function) => return Ok(function),
            Err(error) => problems.push(problem("document", error.to_string())),
        }
    }
    Err(ManifestError::Form { document, name, problems })
}

/// A field that there is none of, with the one that was meant.
fn unknown_field(path: &str, key: &str, known: &[&str]) -> Problem {
    let meant = suggest::closest(key, known.iter().copied());
    let meant = meant.map(|meant| format!("; did you mean {meant}?"));
    problem(path, format!("is not a known field{}", meant.unwrap_or_default()))
}

/// Schema of the spec, from the CRD the API server would check it with.
fn schema() -> Option<JSONSchemaProps> {
    let version = Function::crd().spec.versions.into_iter().next()?;
    version.schema?.open_api_v3_schema?.properties?.remove("spec")
}

/// Reports fields the schema does not know and values of another type than it says. Recursion is
/// bounded by the depth of the schema.
fn check_form(path: &str, value: &Value, schema: &JSONSchemaProps, problems: &mut Vec<Problem>) {
    let expected = schema.type_.as_deref().unwrap_or_default();
    match (value, expected) {
        (Value::Null, _) => {}
        (Value::Object(fields), "object") => check_fields(path, fields, schema, problems),
        (Value::Array(items), "array") => {
            let Some(JSONSchemaPropsOrArray::Schema(schema)) = &schema.items else {
                return;
            };
            for (at, item) in items.iter().enumerate() {
                check_form(&format!("{path}[{at}]"), item, schema, problems);
            }
        }
        (Value::String(_), "string")
        | (Value::Bool(_), "boolean")
        | (Value::Number(_), "number")
        | (_, "") => {}
        (Value::Number(number), "integer") if !number.is_f64() => {}
        _ => {
            let hint = if expected == "string" { "; put it in quotes" } else { "" };
            let article =
                if matches!(expected, "integer" | "object" | "array") { "an" } else { "a" };
            let message = format!("must be {article} {expected}{hint}");
            problems.push(problem(path, message));
        }
    }
}

fn check_fields(
    path: &str,
    fields: &Map<String, Value>,
    schema: &JSONSchemaProps,
    problems: &mut Vec<Problem>,
) {
    for (key, value) in fields {
        let path = format!("{path}.{key}");
        let known = schema.properties.as_ref().and_then(|known| known.get(key));
        match (known, &schema.additional_properties) {
            (Some(schema), _) => check_form(&path, value, schema, problems),
            (None, Some(JSONSchemaPropsOrBool::Schema(schema))) => {
                check_form(&path, value, schema, problems)
            }
            (None, Some(JSONSchemaPropsOrBool::Bool(true))) => {}
            (None, _) => {
                let known = schema.properties.iter().flat_map(|known| known.keys());
                let known: Vec<&str> = known.map(String::as_str).collect();
                problems.push(unknown_field(&path, key, &known));
            }
        }
    }
    for key in schema.required.iter().flatten().filter(|key| !fields.contains_key(*key)) {
        problems.push(problem(&format!("{path}.{key}"), "is required".to_owned()));
    }
}
