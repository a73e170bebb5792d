//! The routes of `/api/v1` (`docs/api.md`): each reads its request and asks the backend of its user.

mod cron;
mod functions;
mod input;
mod logs;
mod session;
mod stream;

use axum::{
    Json, Router,
    extract::DefaultBodyLimit,
    routing::{get, post},
};
use serde_json::{Value, json};

use crate::{
    Problem, Reason,
    access::Access,
    backend::Result,
    check,
    model::{Checked, Draft, Meta},
};

use input::{Body, User};

/// Largest body of a request.
const MAX_BODY: usize = 4 << 20;

/// All of them.
pub(crate) fn routes(access: Access) -> Router {
    let one = "/ns/{ns}/functions/{name}";
    Router::new()
        .route("/session", post(session::login).delete(session::logout))
        .route("/me", get(me))
        .route("/meta", get(meta))
        .route("/namespaces", get(namespaces))
        .route("/check", post(self::check))
        .route("/cron", post(cron::describe))
        .route("/bindings/preview", post(functions::preview))
        .route("/ns/{ns}/functions", get(functions::list).post(functions::create))
        .route(one, get(functions::get).put(functions::save).delete(functions::delete))
        .route(&format!("{one}/logs"), get(logs::recent))
        .route(&format!("{one}/events"), get(logs::events))
        .route(&format!("{one}/revisions"), get(functions::revisions))
        .route(&format!("{one}/rollback"), post(functions::rollback))
        .route(&format!("{one}/test"), post(functions::test_run))
        .route(&format!("{one}/invoke"), post(functions::invoke))
        .route("/ns/{ns}/services", get(functions::services))
        .route("/ns/{ns}/volumes", get(functions::volumes))
        .route("/stream", get(stream::follow))
        .fallback(unknown)
        .method_not_allowed_fallback(unknown)
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(access)
}

async fn unknown() -> Problem {
    Problem::new(Reason::NotFound, "the API has no such endpoint")
}

async fn me(User(backend): User) -> Result<Json<Value>> {
    let meta = backend.meta().await?;
    Ok(Json(json!({ "user": meta.user, "backend": meta.backend })))
}

async fn meta(User(backend): User) -> Result<Json<Meta>> {
    backend.meta().await.map(Json)
}

async fn namespaces(User(backend): User) -> Result<Json<Value>> {
    Ok(Json(json!({ "items": backend.namespaces().await? })))
}

async fn check(User(backend): User, Body(draft): Body<Draft>) -> Result<Json<Checked>> {
    let mut problems = check::draft(&draft);
    let mut checked = backend.check(&draft).await?;
    problems.append(&mut checked.problems);
    Ok(Json(Checked { problems, ..checked }))
}
