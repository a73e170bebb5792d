//! What is wrong with a Function before it is saved: every rule of the resource, the controller and the
//! poller that needs no cluster, as problems at their fields. Pure.

use kipper_client::{check, secrets};
use kipper_function::{Function, FunctionSpec};

use crate::{
    Problem,
    backend::Result,
    catalog::MAX_SECRET_BYTES,
    error::FieldProblem,
    model::{Draft, SecretChanges},
};

/// Problems of a draft.
pub fn draft(draft: &Draft) -> Vec<FieldProblem> {
    let mut function = Function::new(&draft.name, draft.spec.clone());
    function.metadata.namespace = Some(draft.namespace.clone());
    let found = check::function(&function).into_iter().map(FieldProblem::from);
    // A name that is stored is none of the form's.
    found.filter(|problem| draft.is_new || problem.path != "metadata.name").collect()
}

/// Refuses a spec that is wrong where the stored one is not: what an older version let in may stay.
///
/// # Errors
/// With every problem at its field.
pub(crate) fn change(stored: &FunctionSpec, spec: &FunctionSpec) -> Result<()> {
    let known = check::spec(stored);
    let new = check::spec(spec).into_iter().filter(|problem| !known.contains(problem));
    let problems: Vec<FieldProblem> = new.map(FieldProblem::from).collect();
    if problems.is_empty() { Ok(()) } else { Err(Problem::invalid(problems)) }
}

/// Refuses secrets that cannot be stored.
///
/// # Errors
/// With every problem at its key.
pub(crate) fn secrets(changes: &SecretChanges) -> Result<()> {
    let mut problems = Vec::new();
    for (key, value) in &changes.set {
        let path = format!("secrets.{key}");
        if let Err(error) = secrets::check_key(key) {
            problems.push(FieldProblem { path: path.clone(), message: error.to_string() });
        }
        if value.contains('\0') {
            let message = "the value contains a null character".to_owned();
            problems.push(FieldProblem { path: path.clone(), message });
        }
        if value.len() > MAX_SECRET_BYTES {
            let message = format!("the value is longer than {MAX_SECRET_BYTES} bytes");
            problems.push(FieldProblem { path, message });
        }
    }
    if problems.is_empty() { Ok(()) } else { Err(Problem::invalid(problems)) }
}
