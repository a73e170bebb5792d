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
    let mut outcome = None;
    for _ in 0..MAX_TRIES {
        match backend.write(&current, &merged.spec).await {
            Ok(done) => {
                outcome = Some(Ok(done));
                break;
            }
            Err(problem) if problem.reason == Reason::Conflict => {
                current = backend.get(name).await?;
                match self::merged(&current, &save) {
                    Ok(anew) => merged = anew,
                    Err(problem) => {
                        outcome = Some(Err(problem));
                        break;
                    }
                }
            }
            Err(problem) => {
                outcome = Some(Err(problem));
                break;
            }
        }
    }
    let contended = || Problem::new(Reason::Conflict, "it was changed by others again and again");
    let failed = match outcome.unwrap_or_else(|| Err(contended())) {
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
