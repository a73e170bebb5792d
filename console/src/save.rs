//! One save, whatever the backend: secrets, then the spec, with a look at what others changed since the
//! form was loaded. What was written when a later step fails is named.

use kipper_function::FunctionSpec;
use serde_json::Value;

use crate::{
    Problem, Reason,
    backend::{Backend, Name, Result, Written},
    check,
    merge::{self, Merged},
    model::{Base, Detail, Failed, Outcome, Save, Saved},
};

/// Times a merge is made anew because somebody was quicker.
const MAX_TRIES: u32 = 5;

/// Saves a form.
pub(crate) async fn save(backend: &dyn Backend, name: Name<'_>, save: Save) -> Result<Saved> {
    let current = backend.get(name).await?;
    save_onto(backend, current, &save).await
}

/// Saves a form of the Function that was read as `current`.
pub(crate) async fn save_onto(
    backend: &dyn Backend,
    current: Detail,
    save: &Save,
) -> Result<Saved> {
    let (namespace, name) = (current.namespace.clone(), current.name.clone());
    let name = Name { namespace: &namespace, name: &name };
    // Whatever is refused is refused before anything is written.
    let mut target = merged(&current, save)?;
    check::secrets(&save.secrets)?;
    let mut written = Vec::new();
    if !save.secrets.is_empty() {
        backend.write_secrets(name, &save.secrets).await?;
        written.push("secrets");
    }
    let (function, failed) = match write(backend, name, save, current, &mut target).await {
        Ok((Outcome::Unchanged, function)) if written.is_empty() => {
            let (outcome, merged) = (Outcome::Unchanged, target.theirs);
            return Ok(Saved { function, outcome, merged, written, failed: None });
        }
        Ok((outcome, function)) => {
            if outcome != Outcome::Unchanged {
                written.push("spec");
            }
            (function, None)
        }
        Err(problem) if written.is_empty() => return Err(problem),
        Err(problem) => {
            let function = backend.get(name).await.map_err(|lost| lost.after(written.clone()))?;
            (function, Some(Failed { step: "spec", error: problem.error }))
        }
    };
    Ok(Saved { function, outcome: Outcome::Changed, merged: target.theirs, written, failed })
}

/// Writes what is merged, which is merged anew where somebody was quicker.
async fn write(
    backend: &dyn Backend,
    name: Name<'_>,
    save: &Save,
    mut current: Detail,
    target: &mut Target,
) -> Result<Written> {
    for _ in 0..MAX_TRIES {
        match backend.write(&current, &target.spec).await {
            Err(problem) if problem.reason == Reason::Conflict => {
                current = backend.get(name).await?;
                *target = merged(&current, save)?;
            }
            written => return written,
        }
    }
    Err(Problem::new(Reason::Conflict, "it was changed by others again and again"))
}

/// A spec to be written.
struct Target {
    spec: FunctionSpec,
    theirs: Vec<String>,
}

fn merged(current: &Detail, save: &Save) -> Result<Target> {
    let Base { generation, spec } = &save.base;
    if *generation == current.generation {
        check::change(&current.spec, &save.spec)?;
        return Ok(Target { spec: save.spec.clone(), theirs: Vec::new() });
    }
    let value = |spec: &FunctionSpec| serde_json::to_value(spec).unwrap_or_default();
    let Merged { value, theirs, conflicts } =
        merge::merge("spec", &value(spec), &value(&save.spec), &value(&current.spec));
    if !conflicts.is_empty() {
        // Never fails for these types, whose keys are strings.
        let stored = serde_json::to_value(current).unwrap_or_default();
        return Err(Problem::conflict(&current.name, conflicts, stored));
    }
    let spec = read(value)?;
    check::change(&current.spec, &spec)?;
    Ok(Target { spec, theirs })
}

/// Both sides were specs, so this is one.
fn read(value: Value) -> Result<FunctionSpec> {
    serde_json::from_value(value)
        .map_err(|error| Problem::new(Reason::Internal, format!("the merge is no spec: {error}")))
}
