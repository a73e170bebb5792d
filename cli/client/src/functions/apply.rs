//! A whole Function is applied: created, or made to be as it is given.

use kipper_function::{Function, function::Trigger};
use kube::{
    ResourceExt as _,
    api::{Patch, PatchParams, PostParams},
};
use serde_json::json;

use super::{Apply, CONFLICTS, Functions, MAX_TRIES, Outcome, Written, forms, is_ours, ownership};
use crate::{ApiError, FIELD_MANAGER, params};

impl Functions {
    /// Makes a Function that is not there; as a dry run it only says whether that would be refused.
    ///
    /// # Errors
    /// [`ApiError::Exists`] where there is one of its name.
    pub async fn create(&self, function: &Function, dry_run: bool) -> Result<Function, ApiError> {
        let name = function.name_any();
        let params = PostParams { dry_run, ..params::post() };
        self.api.create(&params, &applied(function)).await.map_err(self.error(&name))
    }

    /// Makes the Function be as it is given here. Fields that this manager applied before, and that are
    /// absent now, go; those that other commands or managers set stay, except where one form excludes
    /// another: the one that is given replaces it.
    ///
    /// # Errors
    /// [`ApiError::Owned`] where a field to be set differently, or to be replaced, belongs to somebody
    /// else.
    pub async fn apply(&self, function: &Function, how: Apply) -> Result<Written, ApiError> {
        let name = function.name_any();
        let mut backoff = CONFLICTS;
        for _ in 0..MAX_TRIES {
            let before = self.find(&name).await?;
            let after = match &before {
                None => Box::pin(self.server_side(function, how)).await?,
                Some(stored) => {
                    let paths = forms::excluded(&function.spec, &stored.spec);
                    let entries = stored.metadata.managed_fields.as_deref().unwrap_or_default();
                    let absent = ownership::absent(entries, &super::value(&function.spec));
                    let handed_over = ownership::handed_over(entries, &paths, &absent, how.force);
                    let what = || super::what(&name);
                    match handed_over.map_err(|fields| ApiError::Owned { what: what(), fields })? {
                        None => Box::pin(self.server_side(function, how)).await?,
                        Some(_) if how.dry_run => {
                            Box::pin(self.rehearse(function, stored, &absent, how)).await?
                        }
                        Some(entries) => {
                            let metadata = json!({
                                "resourceVersion": stored.resource_version(),
                                "managedFields": entries,
                            });
                            match self.merge(&name, &json!({ "metadata": metadata })).await {
                                Err(ApiError::Conflict(_)) => {
                                    tokio::time::sleep(backoff.pause()).await;
                                    continue;
                                }
                                other => other?,
                            };
                            Box::pin(self.server_side(function, how)).await?
                        }
                    }
                }
            };
            let outcome = match &before {
                None => Outcome::Created,
                Some(before) if is_same(before, &after) => Outcome::Unchanged,
                Some(_) => Outcome::Changed,
            };
            return Ok(Written { function: after, before: before.map(|it| it.spec), outcome });
        }
        Err(ApiError::Conflict(super::what(&name)))
    }

    /// Whether an apply that says nothing of triggers leaves the function those of other commands, http
    /// not among them: http may then not be added for want of a trigger.
    ///
    /// # Errors
    /// Whatever the cluster says.
    pub async fn has_other_triggers(&self, name: &str) -> Result<bool, ApiError> {
        let Some(stored) = self.find(name).await? else { return Ok(false) };
        let entries = stored.metadata.managed_fields.as_deref().unwrap_or_default();
        let mut triggers = stored.spec.triggers.iter();
        let is_others = |it: &Trigger| !ownership::is_applied(entries, &forms::trigger(&it.type_));
        Ok(stored.spec.http_trigger().is_none() && triggers.any(is_others))
    }

    async fn server_side(&self, function: &Function, how: Apply) -> Result<Function, ApiError> {
        let name = function.name_any();
        let object = applied(function);
        let mut params = PatchParams::apply(FIELD_MANAGER).validation_strict();
        params.dry_run = how.dry_run;
        params.force = how.force;
        let patched = self.api.patch(&name, &params, &Patch::Apply(&object)).await;
        match patched.map_err(self.error(&name)) {
            // Fields that were changed one by one belong to us all the same.
            Err(ApiError::Owned { fields, .. }) if fields.iter().all(is_ours) => {
                params.force = true;
                let patched = self.api.patch(&name, &params, &Patch::Apply(&object)).await;
                patched.map_err(self.error(&name))
            }
            other => other,
        }
    }

    /// What an apply that replaces a form would come to. A dry run cannot hand fields over, so the form
    /// is replaced in what the server makes of all the rest, and the server is asked about the result.
    async fn rehearse(
        &self,
        function: &Function,
        stored: &Function,
        absent: &[forms::Path],
        how: Apply,
    ) -> Result<Function, ApiError> {
        let mut rest = function.clone();
        rest.spec = forms::kept(&function.spec, &stored.spec);
        let mut after = Box::pin(self.server_side(&rest, how)).await?;
        after.spec = forms::replaced(&function.spec, &after.spec, absent);
        let patch = super::patch(stored, &after);
        let params = PatchParams { dry_run: true, ..params::patch() };
        let name = function.name_any();
        self.api.patch(&name, &params, &Patch::Merge(&patch)).await.map_err(self.error(&name))
    }
}

/// Whether an apply changed nothing that a user wrote.
fn is_same(before: &Function, after: &Function) -> bool {
    before.spec == after.spec
        && before.metadata.labels == after.metadata.labels
        && before.metadata.annotations == after.metadata.annotations
}

/// What of a Function is applied: a file may be one that was once read from a cluster.
fn applied(function: &Function) -> Function {
    let mut object = Function::new(&function.name_any(), function.spec.clone());
    object.metadata.labels = function.metadata.labels.clone();
    object.metadata.annotations = function.metadata.annotations.clone();
    object
}

#[cfg(test)]
mod tests {
    use kipper_function::FunctionSpec;

    use super::*;

    #[test]
    fn what_a_cluster_added_is_not_applied() {
        let mut function = Function::new("hello", FunctionSpec::default());
        function.metadata.resource_version = Some("7".to_owned());
        function.metadata.uid = Some("u".to_owned());
        function.metadata.labels = Some([("team".to_owned(), "web".to_owned())].into());
        function.status = Some(kipper_function::FunctionStatus::default());
        let object = serde_json::to_value(applied(&function)).unwrap_or_default();
        assert_eq!(
            object,
            json!({
                "apiVersion": "kipper.run/v1alpha1",
                "kind": "Function",
                "metadata": { "name": "hello", "labels": { "team": "web" } },
                "spec": {},
            })
        );
    }
}
