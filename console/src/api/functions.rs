//! Functions: listed, read, created, saved, deleted, gone back, run and called.

use axum::{Json, extract::Path};
use http::StatusCode;
use kipper_function::{function::ServiceBinding, service::ServiceKind};
use serde::Deserialize;
use serde_json::{Value, json};

use super::input::{Body, User};
use crate::{
    Problem,
    backend::{Name, Result},
    check,
    model::{Base, Detail, Draft, Invoke, Invoked, New, Save, Saved, SecretChanges},
    save,
};

/// The names in a path.
type Names = Path<(String, String)>;

fn name(names: &Names) -> Name<'_> {
    Name { namespace: &names.0.0, name: &names.0.1 }
}

pub(super) async fn list(User(backend): User, Path(ns): Path<String>) -> Result<Json<Value>> {
    Ok(Json(json!({ "items": backend.list(&ns).await? })))
}

pub(super) async fn first_list(User(backend): User) -> Result<Json<Value>> {
    let namespace = backend.namespace();
    Ok(Json(json!({ "namespace": namespace, "items": backend.list(namespace).await? })))
}

pub(super) async fn rights(User(backend): User, Path(ns): Path<String>) -> Json<Value> {
    Json(json!({ "create": backend.create_refusal(&ns).await }))
}

pub(super) async fn create(
    User(backend): User,
    Path(ns): Path<String>,
    Body(new): Body<New>,
) -> Result<(StatusCode, Json<Saved>)> {
    check::secrets(&new.secrets)?;
    let draft = Draft {
        namespace: ns.clone(),
        name: new.name.clone(),
        spec: new.spec.clone(),
        is_new: true,
    };
    let problems = check::draft(&draft);
    if !problems.is_empty() {
        return Err(Problem::invalid(problems));
    }
    Ok((StatusCode::CREATED, Json(backend.create(&ns, new).await?)))
}

pub(super) async fn get(User(backend): User, names: Names) -> Result<Json<Detail>> {
    backend.get(name(&names)).await.map(Json)
}

pub(super) async fn save(
    User(backend): User,
    names: Names,
    Body(form): Body<Save>,
) -> Result<Json<Saved>> {
    save::save(&*backend, name(&names), form).await.map(Json)
}

pub(super) async fn delete(User(backend): User, names: Names) -> Result<StatusCode> {
    backend.delete(name(&names)).await.map(|()| StatusCode::NO_CONTENT)
}

pub(super) async fn revisions(User(backend): User, names: Names) -> Result<Json<Value>> {
    Ok(Json(json!({ "items": backend.revisions(name(&names)).await? })))
}

/// Which revision.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Rollback {
    revision: i64,
}

pub(super) async fn rollback(
    User(backend): User,
    names: Names,
    Body(to): Body<Rollback>,
) -> Result<Json<Saved>> {
    let revisions = backend.revisions(name(&names)).await?;
    let known = revisions.into_iter().find(|revision| revision.number == to.revision);
    let unknown = || Problem::field("revision", format!("there is no revision {}", to.revision));
    let spec = known.ok_or_else(unknown)?.spec;
    let current = backend.get(name(&names)).await?;
    let base = Base { generation: current.generation, spec: current.spec.clone() };
    let form = Save { spec, secrets: SecretChanges::default(), base };
    save::save_onto(&*backend, current, &form).await.map(Json)
}

pub(super) async fn restart(User(backend): User, names: Names) -> Result<Json<Value>> {
    let why = backend.restart(name(&names)).await?;
    Ok(Json(json!({ "restarted": why.is_none(), "why": why })))
}

pub(super) async fn test_run(
    User(backend): User,
    names: Names,
) -> Result<(StatusCode, Json<Value>)> {
    let run = backend.test_run(name(&names)).await?;
    Ok((StatusCode::ACCEPTED, Json(json!({ "run": run }))))
}

pub(super) async fn invoke(
    User(backend): User,
    names: Names,
    Body(request): Body<Invoke>,
) -> Result<Json<Invoked>> {
    backend.invoke(name(&names), request).await.map(Json)
}

pub(super) async fn services(User(backend): User, Path(ns): Path<String>) -> Result<Json<Value>> {
    Ok(Json(json!({ "items": backend.services(&ns).await? })))
}

pub(super) async fn volumes(User(backend): User, Path(ns): Path<String>) -> Result<Json<Value>> {
    Ok(Json(json!({ "items": backend.volumes(&ns).await? })))
}

/// A binding, as far as names depend on it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Preview {
    kind: String,
    #[serde(default)]
    prefix: Option<String>,
}

/// The variables that a binding injects.
pub(super) async fn preview(User(_): User, Body(asked): Body<Preview>) -> Result<Json<Value>> {
    let unknown = || Problem::field("kind", format!("{:?} is not a kind of service", asked.kind));
    let kind = ServiceKind::parse(&asked.kind).ok_or_else(unknown)?;
    let prefix = asked.prefix.filter(|prefix| !prefix.is_empty());
    let binding = ServiceBinding { prefix, ..ServiceBinding::default() };
    Ok(Json(json!({ "names": kipper_client::services::injected(&binding, kind) })))
}
