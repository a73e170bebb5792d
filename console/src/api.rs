//! The routes of `/api/v1` (`docs/api.md`): each reads its request and asks the backend of its user.

mod assistant;
mod cron;
mod functions;
mod input;
mod lines;
mod logs;
mod session;
mod stream;

use axum::{
    Extension, Json, Router,
    extract::{DefaultBodyLimit, State},
    middleware,
    routing::{get, post},
};
use serde::Serialize;
use serde_json::{Value, json};

use crate::{
    Problem, Reason,
    access::Access,
    backend::Result,
    check,
    error::Login,
    model::{Checked, Draft, Meta},
};

use input::{Body, User};

/// Largest body of a request.
const MAX_BODY: usize = 4 << 20;

/// All of them.
pub(crate) fn routes(access: Access) -> Router {
    let one = "/ns/{ns}/functions/{name}";
    Router::new()
        .route("/me", get(me))
        .route("/meta", get(meta))
        .route("/namespaces", get(namespaces))
        .route("/check", post(self::check))
        .route("/cron", post(cron::describe))
        .route("/bindings/preview", post(functions::preview))
        .route("/functions", get(functions::first_list))
        .route("/ns/{ns}/rights", get(functions::rights))
        .route("/ns/{ns}/functions", get(functions::list).post(functions::create))
        .route(one, get(functions::get).put(functions::save).delete(functions::delete))
        .route(&format!("{one}/logs"), get(logs::recent))
        .route(&format!("{one}/events"), get(logs::events))
        .route(&format!("{one}/revisions"), get(functions::revisions))
        .route(&format!("{one}/rollback"), post(functions::rollback))
        .route(&format!("{one}/restart"), post(functions::restart))
        .route(&format!("{one}/test"), post(functions::test_run))
        .route(&format!("{one}/invoke"), post(functions::invoke))
        .route("/ns/{ns}/services", get(functions::services))
        .route("/ns/{ns}/volumes", get(functions::volumes))
        .route("/stream", get(stream::follow))
        .route(
            "/settings/ai",
            get(assistant::settings).put(assistant::set).delete(assistant::unset),
        )
        .route("/settings/ai/try", post(assistant::try_it))
        .route("/assistant", post(assistant::ask))
        .route("/assistant/knows", post(assistant::knows))
        .route_layer(middleware::from_fn_with_state(access.clone(), input::enter))
        // Of nobody yet, or not any more.
        .route("/session", post(session::login).delete(session::logout))
        .fallback(unknown)
        .method_not_allowed_fallback(unknown)
        .layer(Extension(assistant::Busy::default()))
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(middleware::from_fn_with_state(access.clone(), input::not_accepted))
        .with_state(access)
}

async fn unknown() -> Problem {
    Problem::new(Reason::NotFound, "the API has no such endpoint")
}

async fn me(User(backend): User) -> Result<Json<Value>> {
    let meta = backend.meta().await?;
    Ok(Json(json!({ "user": meta.user, "backend": meta.backend })))
}

/// What the backend is, and how its users log in.
#[derive(Serialize)]
struct Known {
    #[serde(flatten)]
    meta: Meta,
    login: Login,
    /// The name of the identity provider.
    provider: Option<String>,
}

async fn meta(State(access): State<Access>, User(backend): User) -> Result<Json<Known>> {
    let (login, provider) = access.login();
    let provider = provider.map(str::to_owned);
    Ok(Json(Known { meta: backend.meta().await?, login, provider }))
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
