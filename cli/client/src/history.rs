//! Earlier specs of a function: its revisions, which of them is the present one, and the way back.
//!
//! The controller writes a revision for each spec that it applies. A function goes back by getting the
//! spec of one of them again ([`Functions::restore`](crate::functions::Functions::restore)): the
//! Function stays what everything follows from.

use k8s_openapi::api::apps::v1::ControllerRevision;
use kipper_function::{Function, FunctionSpec, names, revision::Revision};
use kube::{Api, ResourceExt as _, api::ListParams};

use crate::{ApiError, Connection};

/// Revisions of a function that are looked at: more than its controller keeps.
const MAX_REVISIONS: u32 = 100;

/// Why there is no such revision.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RevisionError {
    /// None has this number.
    #[error("function {name} has no revision {number}; it has {}", numbers(known))]
    Unknown {
        /// The function.
        name: String,
        /// What was asked for.
        number: i64,
        /// Those there are, oldest first.
        known: Vec<i64>,
    },
    /// None is older than the present one.
    #[error("function {name} has no earlier revision; it has {}", numbers(known))]
    NoEarlier {
        /// The function.
        name: String,
        /// Those there are, oldest first.
        known: Vec<i64>,
    },
}

fn numbers(known: &[i64]) -> String {
    if known.is_empty() {
        return "none".to_owned();
    }
    known.iter().map(i64::to_string).collect::<Vec<_>>().join(", ")
}

/// One revision.
#[derive(Clone, Debug)]
pub struct Entry {
    /// What it says.
    pub revision: Revision,
    /// As the API server has it.
    pub object: ControllerRevision,
}

/// The revisions of one function.
#[derive(Clone, Debug)]
pub struct History {
    /// The function.
    pub name: String,
    /// Oldest first.
    pub entries: Vec<Entry>,
    /// Number of the one with the function's spec; `None` while the controller has not applied that.
    pub current: Option<i64>,
}

/// Reads the revisions of a function.
///
/// # Errors
/// Whatever the cluster says.
pub async fn read(connection: &Connection, function: &Function) -> Result<History, ApiError> {
    let api: Api<ControllerRevision> =
        Api::namespaced(connection.client.clone(), &connection.namespace);
    let selector = format!("{}={},{}", names::APP, function.name_any(), names::FUNCTION_SELECTOR);
    let listed = api.list(&ListParams::default().labels(&selector).limit(MAX_REVISIONS)).await;
    let listed = listed
        .map_err(|error| ApiError::read(error, "controllerrevisions", &connection.namespace))?;
    Ok(History::new(function, listed.items))
}

impl History {
    fn new(function: &Function, objects: Vec<ControllerRevision>) -> Self {
        let uid = function.uid();
        let is_its = |object: &ControllerRevision| {
            let owners = object.owner_references();
            owners
                .iter()
                .any(|owner| owner.controller == Some(true) && Some(&owner.uid) == uid.as_ref())
        };
        let entry =
            |object: ControllerRevision| Some(Entry { revision: Revision::read(&object)?, object });
        let mut entries: Vec<_> = objects.into_iter().filter(is_its).filter_map(entry).collect();
        entries.sort_by_key(|entry| entry.revision.number);
        let current = current(&entries, &function.spec);
        Self { name: function.name_any(), entries, current }
    }

    /// The revision with this number.
    ///
    /// # Errors
    /// [`RevisionError::Unknown`] where there is none.
    pub fn get(&self, number: i64) -> Result<&Entry, RevisionError> {
        let found = self.entries.iter().find(|entry| entry.revision.number == number);
        found.ok_or_else(|| RevisionError::Unknown {
            name: self.name.clone(),
            number,
            known: self.numbers(),
        })
    }

    /// The revision before the present one. While the present spec is not applied that is the last one
    /// that was.
    ///
    /// # Errors
    /// [`RevisionError::NoEarlier`] where there is none.
    pub fn previous(&self) -> Result<&Entry, RevisionError> {
        let is_earlier =
            |entry: &&Entry| self.current.is_none_or(|current| entry.revision.number < current);
        let found = self.entries.iter().rfind(is_earlier);
        found.ok_or_else(|| RevisionError::NoEarlier {
            name: self.name.clone(),
            known: self.numbers(),
        })
    }

    fn numbers(&self) -> Vec<i64> {
        self.entries.iter().map(|entry| entry.revision.number).collect()
    }
}

fn current(entries: &[Entry], spec: &FunctionSpec) -> Option<i64> {
    let found = entries.iter().rfind(|entry| entry.revision.spec == *spec);
    found.map(|entry| entry.revision.number)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::{Value, json};

    use super::*;

    const UID: &str = "u";

    fn function(code: &str) -> Function {
        serde_json::from_value(json!({
            "apiVersion": "kipper.run/v1alpha1", "kind": "Function",
            "metadata": { "name": "f", "uid": UID }, "spec": spec(code),
        }))
        .unwrap()
    }

    fn spec(code: &str) -> Value {
        json!({ "source": { "code": code } })
    }

    fn object(number: i64, uid: &str, code: &str) -> ControllerRevision {
        let owner = json!({ "apiVersion": "kipper.run/v1alpha1", "kind": "Function", "name": "f",
            "uid": uid, "controller": true });
        serde_json::from_value(json!({
            "metadata": { "name": format!("f-{number}"), "ownerReferences": [owner] },
            "data": { "spec": spec(code) }, "revision": number,
        }))
        .unwrap()
    }

    /// What a function with this code has, of revisions with these numbers and codes.
    fn history(code: &str, revisions: &[(i64, &str)]) -> History {
        let objects = revisions.iter().map(|(number, code)| object(*number, UID, code));
        History::new(&function(code), objects.collect())
    }

    #[track_caller]
    fn check_previous(code: &str, revisions: &[(i64, &str)], expected: Result<i64, &str>) {
        let history = history(code, revisions);
        let found = history.previous().map(|entry| entry.revision.number);
        assert_eq!(found.map_err(|error| error.to_string()), expected.map_err(str::to_owned));
    }

    #[test]
    fn the_previous_revision_is_the_one_before_the_present_spec() {
        check_previous("c", &[(1, "a"), (3, "c"), (2, "b")], Ok(2));
        check_previous("b", &[(4, "b"), (3, "a")], Ok(3));
        // Not applied: the last one that was.
        check_previous("wrong", &[(1, "a"), (2, "b")], Ok(2));
        check_previous("a", &[(1, "a")], Err("function f has no earlier revision; it has 1"));
        check_previous("a", &[], Err("function f has no earlier revision; it has none"));
        let gap = Err("function f has no earlier revision; it has 4, 7");
        check_previous("a", &[(7, "b"), (4, "a")], gap);
    }

    #[test]
    fn a_revision_that_is_not_there_is_refused_with_those_that_are() {
        let history = history("b", &[(2, "b"), (1, "a")]);
        assert_eq!(history.current, Some(2));
        assert_eq!(history.get(1).unwrap().revision.number, 1);
        let error = history.get(9).unwrap_err();
        assert_eq!(error.to_string(), "function f has no revision 9; it has 1, 2");
    }

    #[test]
    fn what_a_former_function_of_that_name_left_is_not_its_history() {
        let mut no_spec = object(3, UID, "c");
        no_spec.data = None;
        let objects = vec![object(1, "former", "a"), object(2, UID, "b"), no_spec];
        let history = History::new(&function("b"), objects);
        assert_eq!((history.entries.len(), history.current), (1, Some(2)));
    }
}
