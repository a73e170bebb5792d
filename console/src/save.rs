//! One save, whatever the backend: secrets, then the spec, with a look at what others changed since the
//! form was loaded. What was written when a later step fails is named.

use kipper_function::FunctionSpec;
use serde_json::Value;

use crate::{
    Problem, Reason,
    backend::{Backend, Name, Result},
    check,
    merge::{self, Merged},
    model::{Base, Detail, Failed, Outcome, Save, Saved},
};

/// Times a merge is made anew because somebody was quicker.
const MAX_TRIES: u32 = 5;

/// Saves a form.
pub(crate) async fn save(backend: &dyn Backend, name: Name<'_>, save: Save) -> Result<Saved> {
    let mut current = backend.get(name).await?;
    // Whatever is refused is refused before anything is written.
    let mut merged = merged(&current, &save)?;
    check::secrets(&save.secrets)?;
    let mut written = Vec::new();
    if !save.secrets.is_empty() {
        backend.write_secrets(name, &save.secrets).await?;
        written.push("secrets");
    }
    let failed = match write(backend, name, &save, &mut current, &mut merged).await {
        Ok(Outcome::Unchanged) if written.is_empty() => {
            let function = backend.get(name).await?;
            let outcome = Outcome::Unchanged;
            return Ok(Saved { function, outcome, merged: merged.theirs, written, failed: None });
        }
        Ok(Outcome::Unchanged) => None,
        Ok(_) => {
            written.push("spec");
            None
        }
        Err(problem) if written.is_empty() => return Err(problem),
        Err(problem) => Some(Failed { step: "spec", error: problem.error }),
    };
    let function = backend.get(name).await?;
    Ok(Saved { function, outcome: Outcome::Changed, merged: merged.theirs, written, failed })
}

/// Writes what is merged, which is merged anew where somebody was quicker.
async fn write(
    backend: &dyn Backend,
    name: Name<'_>,
    save: &Save,
    current: &mut Detail,
    target: &mut Target,
) -> Result<Outcome> {
    for _ in 0..MAX_TRIES {
        match backend.write(current, &target.spec).await {
            Err(problem) if problem.reason == Reason::Conflict => {
                *current = backend.get(name).await?;
                *target = merged(current, save)?;
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
