//! Functions as they are stored: applied, read, changed and deleted.
//!
//! A whole Function is written by server-side apply, so that fields which others set are named and
//! not overwritten. A change of a few fields reads the Function and writes the difference under the
//! version it was read at; when somebody was quicker it is made again on what they left.

mod apply;
mod forms;
mod ownership;
mod watch;

use std::time::Duration;

use kipper_function::{Function, FunctionSpec, function::Problem, names::CHANGE_CAUSE};
use kipper_process::backoff::Backoff;
use kube::{
    Api, ResourceExt as _,
    api::{DeleteParams, ListParams, Patch},
};
use serde_json::{Map, Value, json};

use crate::{
    ApiError, Connection, FIELD_MANAGER, check,
    edits::EditError,
    error::{OwnedField, Patience},
    params,
};

pub use watch::Seen;

/// Functions per page of a list.
const PAGE_SIZE: u32 = 500;
/// Pages of a list at the most: beyond any cluster.
const MAX_PAGES: usize = 1000;
/// Times a change is made anew because somebody was quicker.
const MAX_TRIES: u32 = 20;
/// Pauses after somebody was quicker.
pub(crate) const CONFLICTS: Backoff =
    Backoff::new(Duration::from_millis(20), Duration::from_millis(500));

/// Why a Function was not changed.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// The cluster said no.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// The change makes no sense for this function.
    #[error("function {name}: {source}")]
    Edit {
        /// The function.
        name: String,
        /// Why.
        source: EditError,
    },
    /// The result would not be a valid Function.
    #[error("function {name}: {}", join(problems))]
    Invalid {
        /// The function.
        name: String,
        /// What is wrong; never empty.
        problems: Vec<Problem>,
    },
    /// Others changed it every time.
    #[error("function {0} was changed by others {MAX_TRIES} times in a row")]
    Contended(String),
}

/// Problems in one line.
pub fn join(problems: &[Problem]) -> String {
    problems.iter().map(Problem::to_string).collect::<Vec<_>>().join("; ")
}

/// What a write did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// There was none before.
    Created,
    /// It is another one now.
    Changed,
    /// It was so already.
    Unchanged,
}

/// A Function as the cluster has it after a write.
#[derive(Clone, Debug)]
pub struct Written {
    /// The Function.
    pub function: Function,
    /// The spec it had before, if it was there.
    pub before: Option<FunctionSpec>,
    /// What the write did.
    pub outcome: Outcome,
}

impl Written {
    fn unchanged(function: Function) -> Self {
        let before = Some(function.spec.clone());
        Self { function, before, outcome: Outcome::Unchanged }
    }

    fn changed(function: Function, before: FunctionSpec) -> Self {
        Self { function, before: Some(before), outcome: Outcome::Changed }
    }
}

/// How a Function is applied.
#[derive(Clone, Copy, Debug, Default)]
pub struct Apply {
    /// Only ask whether it could be.
    pub dry_run: bool,
    /// Take over the fields that others set.
    pub force: bool,
}

/// The Functions of one namespace.
#[derive(Clone)]
pub struct Functions {
    api: Api<Function>,
    all: Api<Function>,
    watched: Api<Function>,
    watched_all: Api<Function>,
    namespace: String,
}

/// Which Functions are meant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// Those of every namespace.
    pub everywhere: bool,
    /// A label selector; empty selects all.
    pub labels: String,
}

/// A function as users know it.
pub(crate) fn what(name: &str) -> String {
    format!("function {name}")
}

impl Functions {
    /// Those of the connection's namespace.
    pub fn new(connection: &Connection) -> Self {
        let namespace = connection.namespace.clone();
        Self {
            api: Api::namespaced(connection.client.clone(), &namespace),
            all: Api::all(connection.client.clone()),
            watched: Api::namespaced(connection.streams.clone(), &namespace),
            watched_all: Api::all(connection.streams.clone()),
            namespace,
        }
    }

    /// Their namespace.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// For watching one of them.
    pub(crate) fn watched(&self) -> Api<Function> {
        self.watched.clone()
    }

    fn error(&self, name: &str) -> impl Fn(kube::Error) -> ApiError {
        let namespace = self.namespace.clone();
        let what = what(name);
        move |error| ApiError::read(error, &what, &namespace)
    }

    /// One Function.
    ///
    /// # Errors
    /// [`ApiError::NotFound`] where there is none.
    pub async fn get(&self, name: &str) -> Result<Function, ApiError> {
        self.api.get(name).await.map_err(self.error(name))
    }

    /// One Function, if it is there.
    ///
    /// # Errors
    /// Whatever the cluster says.
    pub async fn find(&self, name: &str) -> Result<Option<Function>, ApiError> {
        match self.get(name).await {
            Err(error) if error.is_absence() => Ok(None),
            other => other.map(Some),
        }
    }

    /// All of the namespace, by name.
    ///
    /// # Errors
    /// Whatever the cluster says.
    pub async fn list(&self) -> Result<Vec<Function>, ApiError> {
        self.select(&Selection::default()).await
    }

    /// Those that are selected, by namespace and name.
    ///
    /// # Errors
    /// Whatever the cluster says.
    pub async fn select(&self, selection: &Selection) -> Result<Vec<Function>, ApiError> {
        let api = if selection.everywhere { &self.all } else { &self.api };
        let params = ListParams::default();
        self.pages(api, params.labels(&selection.labels)).await
    }

    /// Hands over those that are selected, and then each that is added, changed or deleted, forever.
    ///
    /// # Errors
    /// When they cannot be watched, and without patience when the cluster does not answer.
    pub async fn watch(
        &self,
        selection: &Selection,
        patience: Patience,
        take: impl FnMut(Seen) + Send,
    ) -> Result<(), ApiError> {
        let api = if selection.everywhere { &self.watched_all } else { &self.watched };
        let settings = kipper_kubernetes::Settings::labels(selection.labels.as_str());
        let ended =
            kipper_kubernetes::follow(api.clone(), settings, watch::Watching::new(patience, take));
        let read = |error| ApiError::read(error, "functions", &self.namespace);
        ended.await.map(|never| match never {}).map_err(read)
    }

    /// Those of that name in other namespaces: a host is a name, whatever the namespace.
    ///
    /// # Errors
    /// [`ApiError::Forbidden`] where the user may not look there.
    pub async fn namesakes(&self, name: &str) -> Result<Vec<Function>, ApiError> {
        let params = ListParams::default().fields(&format!("metadata.name={name}"));
        let mut found = self.pages(&self.all, params).await?;
        found.retain(|f| f.namespace().as_deref() != Some(self.namespace.as_str()));
        Ok(found)
    }

    async fn pages(
        &self,
        api: &Api<Function>,
        params: ListParams,
    ) -> Result<Vec<Function>, ApiError> {
        let mut params = params.limit(PAGE_SIZE);
        let mut found = Vec::new();
        for _ in 0..MAX_PAGES {
            let page = api.list(&params).await;
            let page = page.map_err(|error| ApiError::read(error, "functions", &self.namespace))?;
            let next = page.metadata.continue_.clone().filter(|token| !token.is_empty());
            found.extend(page.items);
            match next {
                Some(token) => params = params.continue_token(&token),
                None => break,
            }
        }
        found.sort_by_key(|function| (function.namespace(), function.name_any()));
        Ok(found)
    }

    /// Changes the spec of a Function. `change` may be called several times, each time on what is
    /// stored then.
    ///
    /// # Errors
    /// When the change makes no sense, or its result would be wrong where it was not before.
    pub async fn edit(
        &self,
        name: &str,
        change: impl Fn(&mut FunctionSpec) -> Result<(), EditError>,
    ) -> Result<Written, ChangeError> {
        self.change(name, |function| change(&mut function.spec)).await
    }

    /// Gives a Function the spec of one of its revisions again, with the cause of that one.
    ///
    /// # Errors
    /// When the spec would be refused today.
    pub async fn restore(
        &self,
        name: &str,
        spec: &FunctionSpec,
        cause: Option<&str>,
    ) -> Result<Written, ChangeError> {
        let restored = |function: &mut Function| {
            function.spec = spec.clone();
            let annotations = function.annotations_mut();
            match cause {
                Some(cause) => annotations.insert(CHANGE_CAUSE.to_owned(), cause.to_owned()),
                None => annotations.remove(CHANGE_CAUSE),
            };
            Ok(())
        };
        self.change(name, restored).await
    }

    /// Gives a Function an annotation.
    ///
    /// # Errors
    /// Whatever the cluster says.
    pub async fn annotate(
        &self,
        name: &str,
        key: &str,
        value: &str,
    ) -> Result<Written, ChangeError> {
        let annotated = |function: &mut Function| {
            function.annotations_mut().insert(key.to_owned(), value.to_owned());
            Ok(())
        };
        self.change(name, annotated).await
    }

    /// Changes spec and annotations of a Function as it is stored.
    async fn change(
        &self,
        name: &str,
        change: impl Fn(&mut Function) -> Result<(), EditError>,
    ) -> Result<Written, ChangeError> {
        let edit = |source| ChangeError::Edit { name: name.to_owned(), source };
        let change = |function: &mut Function| change(function).map_err(edit);
        self.change_from(self.get(name).await?, change).await
    }

    /// Changes a Function under the version that it was read at, anew where that has moved.
    async fn change_from(
        &self,
        mut before: Function,
        change: impl Fn(&mut Function) -> Result<(), ChangeError>,
    ) -> Result<Written, ChangeError> {
        let name = before.name_any();
        let mut backoff = CONFLICTS;
        for _ in 0..MAX_TRIES {
            let mut after = before.clone();
            change(&mut after)?;
            let mut patch = patch(&before, &after);
            if patch == json!({}) {
                return Ok(Written::unchanged(before));
            }
            check_change(&name, &before.spec, &after.spec)?;
            patch["metadata"]["resourceVersion"] = json!(before.resource_version());
            match self.merge(&name, &patch).await {
                Err(ApiError::Conflict(_)) => tokio::time::sleep(backoff.pause()).await,
                Ok(function) => return Ok(Written::changed(function, before.spec)),
                Err(error) => return Err(error.into()),
            }
            before = self.get(&name).await?;
        }
        Err(ChangeError::Contended(name))
    }

    /// Makes a Function be as `after` says where that differs from `before`, which is how it was read.
    /// Labels and annotations count as well.
    ///
    /// # Errors
    /// [`ApiError::Conflict`] when it was changed since, and when `after` is wrong where `before` was
    /// not.
    pub async fn replace(
        &self,
        before: &Function,
        after: &Function,
    ) -> Result<Written, ChangeError> {
        let replaced = |function: &mut Function| {
            // The status moves the version as well, and is nobody's change.
            if patch(before, function) != json!({}) {
                return Err(ApiError::Conflict(what(&before.name_any())).into());
            }
            function.spec = after.spec.clone();
            function.metadata.labels.clone_from(&after.metadata.labels);
            function.metadata.annotations.clone_from(&after.metadata.annotations);
            Ok(())
        };
        self.change_from(before.clone(), replaced).await
    }

    async fn merge(&self, name: &str, patch: &Value) -> Result<Function, ApiError> {
        self.api.patch(name, &params::patch(), &Patch::Merge(patch)).await.map_err(self.error(name))
    }

    /// Asks for the end of a Function. It goes once its controller has cleaned up behind it.
    ///
    /// # Errors
    /// [`ApiError::NotFound`] where there is none.
    pub async fn delete(&self, name: &str) -> Result<(), ApiError> {
        self.api.delete(name, &DeleteParams::background()).await.map_err(self.error(name))?;
        Ok(())
    }
}

/// Is a change wrong where the Function was not before?
fn check_change(
    name: &str,
    before: &FunctionSpec,
    after: &FunctionSpec,
) -> Result<(), ChangeError> {
    let known = check::spec(before);
    let mut problems = check::spec(after);
    problems.retain(|problem| !known.contains(problem));
    if problems.is_empty() {
        return Ok(());
    }
    Err(ChangeError::Invalid { name: name.to_owned(), problems })
}

fn is_ours(field: &OwnedField) -> bool {
    field.manager == FIELD_MANAGER
}

/// Never fails for these types, whose keys are strings.
fn value(spec: &FunctionSpec) -> Value {
    serde_json::to_value(spec).unwrap_or_default()
}

/// What of spec, labels and annotations is another in `after`; without a difference it is empty.
fn patch(before: &Function, after: &Function) -> Value {
    let mut patch = json!({});
    if before.spec != after.spec {
        patch["spec"] = difference(&value(&before.spec), &value(&after.spec));
    }
    if before.labels() != after.labels() {
        let (before, after) = (json!(before.labels()), json!(after.labels()));
        patch["metadata"]["labels"] = difference(&before, &after);
    }
    if before.annotations() != after.annotations() {
        let (before, after) = (json!(before.annotations()), json!(after.annotations()));
        patch["metadata"]["annotations"] = difference(&before, &after);
    }
    patch
}

/// The JSON merge patch (RFC 7396) that turns `before` into `after`. Fields the types do not know
/// are in neither and stay. The recursion is as deep as the types are.
fn difference(before: &Value, after: &Value) -> Value {
    let (Value::Object(before), Value::Object(after)) = (before, after) else {
        return after.clone();
    };
    let mut patch = Map::new();
    for key in before.keys().filter(|key| !after.contains_key(*key)) {
        patch.insert(key.clone(), Value::Null);
    }
    for (key, value) in after {
        match before.get(key) {
            Some(former) if former == value => {}
            Some(former) => drop(patch.insert(key.clone(), difference(former, value))),
            None => drop(patch.insert(key.clone(), value.clone())),
        }
    }
    Value::Object(patch)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_patch_names_what_differs_and_nothing_else() {
        for (before, after, expected) in [
            (json!({ "a": 1 }), json!({ "a": 1 }), json!({})),
            (
                json!({ "a": 1, "b": 2 }),
                json!({ "b": 3, "c": 4 }),
                json!({ "a": null, "b": 3, "c": 4 }),
            ),
            (
                json!({ "env": { "A": "1", "B": "2" }, "port": 1 }),
                json!({ "env": { "A": "1", "C": "3" }, "port": 1 }),
                json!({ "env": { "B": null, "C": "3" } }),
            ),
            (json!({ "l": [1, 2] }), json!({ "l": [2] }), json!({ "l": [2] })),
            (json!({ "env": { "A": "1" } }), json!({}), json!({ "env": null })),
        ] {
            assert_eq!(difference(&before, &after), expected);
        }
    }

    #[test]
    fn only_what_changed_is_written() {
        let before = Function::new("hello", FunctionSpec::default());
        assert_eq!(patch(&before, &before), json!({}));
        let mut after = before.clone();
        // No annotations and none at all are the same.
        after.annotations_mut();
        assert_eq!(patch(&before, &after), json!({}));
        after.annotations_mut().insert("a".to_owned(), "1".to_owned());
        assert_eq!(patch(&before, &after), json!({ "metadata": { "annotations": { "a": "1" } } }));
        let removed = json!({ "metadata": { "annotations": { "a": null } } });
        assert_eq!(patch(&after, &before), removed);
        after.labels_mut().insert("l".to_owned(), "2".to_owned());
        let both = json!({ "labels": { "l": "2" }, "annotations": { "a": "1" } });
        assert_eq!(patch(&before, &after), json!({ "metadata": both }));
        after.spec.port = Some(80);
        assert_eq!(patch(&before, &after)["spec"], json!({ "port": 80 }));
    }
}
