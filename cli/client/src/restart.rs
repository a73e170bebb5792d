//! A restart: the pods of a function are replaced one after the other, without a change.
//!
//! An annotation of the Function becomes one of its pods, and another value of it other pods. What
//! `kubectl rollout restart` writes is on the Deployment, which is the controller's.

use kipper_function::{Function, FunctionSpec, Timestamp, function::Phase, names};

use crate::functions::{ChangeError, Functions};

/// What a restart did.
#[derive(Clone, Debug)]
pub enum Restarted {
    /// The pods are being replaced.
    Begun(Function),
    /// There was nothing to restart, and why.
    Nothing(Function, &'static str),
}

/// Restarts a function.
///
/// # Errors
/// Whatever the cluster says.
pub async fn restart(functions: &Functions, name: &str) -> Result<Restarted, ChangeError> {
    let function = functions.get(name).await?;
    let phase = function.status.as_ref().and_then(|status| status.phase());
    if let Some(why) = nothing_to_restart(&function.spec, phase) {
        return Ok(Restarted::Nothing(function, why));
    }
    // To the millisecond: two restarts are two, however soon.
    let now = Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string();
    let written = functions.annotate(name, names::RESTARTED_AT, &now).await?;
    Ok(Restarted::Begun(written.function))
}

/// Why there is nothing to restart, if there is not.
pub fn nothing_to_restart(spec: &FunctionSpec, phase: Option<Phase>) -> Option<&'static str> {
    if !spec.is_served() {
        return Some("has no pods between its runs");
    }
    (phase == Some(Phase::Idle)).then_some("is at zero replicas")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    #[test]
    fn without_pods_there_is_nothing_to_restart() {
        let check = |type_: &str, phase: Option<Phase>, expected: Option<&str>| {
            let spec = json!({ "triggers": [{ "type": type_ }] });
            let spec: FunctionSpec = serde_json::from_value(spec).unwrap();
            assert_eq!(nothing_to_restart(&spec, phase), expected, "{type_} {phase:?}");
        };
        check("http", Some(Phase::Running), None);
        check("http", Some(Phase::Scaling), None);
        // Its pods may crash again and again.
        check("redis", Some(Phase::Failed), None);
        check("http", None, None);
        check("http", Some(Phase::Idle), Some("is at zero replicas"));
        check("cron", Some(Phase::Idle), Some("has no pods between its runs"));
    }
}
