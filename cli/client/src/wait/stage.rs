//! Where a Function stands, as its status says. Pure.

use kipper_function::{Function, names::condition::READY};

/// Reasons that no waiting helps against: the Function itself has to change, or what it meets with. A
/// container that crashed is started again all the same, and may do better then: who waited knows why it
/// did not come up, and can wait again.
const FINAL: [&str; 15] = [
    "ContainerCrashed",
    "ContainerNotStarted",
    "CredentialsInvalid",
    "DatabaseNotFound",
    "EnvironmentClash",
    "Evicted",
    "HostInvalid",
    "HostTaken",
    "ImagePullFailed",
    "Invalid",
    "NameTaken",
    "NamespaceDenied",
    "OutOfMemory",
    "TriggerInvalid",
    "TriggerRefused",
];

/// Where a Function stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The controller has not looked at the present spec.
    NotObserved,
    /// It cannot run now.
    NotReady {
        /// One word.
        reason: String,
        /// The rest, as a sentence.
        message: String,
    },
    /// Everything declared is in place.
    Ready,
}

impl Stage {
    /// Whether waiting cannot help.
    pub fn is_final(&self) -> bool {
        matches!(self, Self::NotReady { reason, .. } if FINAL.contains(&reason.as_str()))
    }
}

impl std::fmt::Display for Stage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NotObserved => f.write_str("the controller has not processed it yet"),
            Self::NotReady { reason, message } if message.is_empty() => f.write_str(reason),
            Self::NotReady { reason, message } => write!(f, "{reason}: {message}"),
            Self::Ready => f.write_str("ready"),
        }
    }
}

/// Where a Function stands with the spec of `generation`.
pub fn stage(function: &Function, generation: i64) -> Stage {
    let Some(status) = &function.status else { return Stage::NotObserved };
    if status.observed_generation.is_none_or(|observed| observed < generation) {
        return Stage::NotObserved;
    }
    match status.condition(READY) {
        Some(ready) if ready.status == "True" => Stage::Ready,
        Some(ready) => {
            Stage::NotReady { reason: ready.reason.clone(), message: ready.message.clone() }
        }
        None => Stage::NotObserved,
    }
}

#[cfg(test)]
mod tests {
    use kipper_function::{FunctionSpec, FunctionStatus};
    use serde_json::{Value, json};

    use super::*;

    #[track_caller]
    fn check(status: Value, expected: &str, is_final: bool) {
        let mut function = Function::new("f", FunctionSpec::default());
        function.status = serde_json::from_value::<FunctionStatus>(status).ok();
        let stage = stage(&function, 2);
        assert_eq!((stage.to_string().as_str(), stage.is_final()), (expected, is_final));
    }

    #[test]
    fn a_stage_is_that_of_the_present_spec() {
        let ready = |status: &str, reason: &str, message: &str| {
            json!([{
                "type": "Ready", "status": status, "reason": reason, "message": message,
                "lastTransitionTime": "2026-01-01T00:00:00Z",
            }])
        };
        let reported = |generation: i64, conditions: Value| json!({ "observedGeneration": generation, "conditions": conditions });
        let unknown = "the controller has not processed it yet";
        check(json!(null), unknown, false);
        check(json!({}), unknown, false);
        check(reported(1, ready("True", "Reconciled", "")), unknown, false);
        check(reported(2, ready("True", "Reconciled", "")), "ready", false);
        check(reported(2, ready("False", "HostTaken", "it is b/f")), "HostTaken: it is b/f", true);
        check(reported(2, ready("False", "ServiceNotFound", "")), "ServiceNotFound", false);
    }
}
