//! The assistant: its settings, what it is told, and its replies as they arrive.

use std::{collections::HashSet, sync::Arc};

use axum::{
    Extension, Json,
    response::{IntoResponse, Response},
};
use futures_util::{Stream, StreamExt as _, stream};
use http::{
    HeaderMap,
    header::{AUTHORIZATION, COOKIE},
};
use kipper_assistant::{Draft, Knows, Prompt, Protocol, Request, limits};
use kipper_function::Timestamp;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    input::{Body, User},
    lines,
};
use crate::{
    Problem, Reason,
    assistant::{Setup, Stored},
    backend::{Backend, Result},
    seal::{Digest, digest_of},
};

/// What is to be set, or tried.
#[derive(Deserialize)]
pub(super) struct Wanted {
    provider: Protocol,
    url: String,
    #[serde(default)]
    model: String,
    /// Absent or null: the one that is kept, which goes to no other endpoint; empty: none.
    #[serde(default)]
    key: Option<String>,
}

/// What is set. The key is not in it, not even in parts.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown {
    provider: Option<Protocol>,
    url: Option<String>,
    model: Option<String>,
    key_set: bool,
    changed: Option<Timestamp>,
    can_change: bool,
    why: Option<String>,
}

impl Shown {
    fn of(setup: &Setup) -> Json<Self> {
        let stored = setup.stored.as_ref();
        Json(Self {
            provider: stored.map(|stored| stored.provider),
            url: stored.map(|stored| stored.url.clone()),
            model: stored.map(|stored| stored.model.clone()),
            key_set: stored.is_some_and(|stored| stored.key.is_some()),
            changed: stored.and_then(|stored| stored.changed),
            can_change: setup.fixed.is_none(),
            why: setup.fixed.clone(),
        })
    }
}

pub(super) async fn settings(User(backend): User) -> Result<impl IntoResponse> {
    Ok(Shown::of(&backend.assistant().await?))
}

pub(super) async fn set(
    User(backend): User,
    Body(wanted): Body<Wanted>,
) -> Result<impl IntoResponse> {
    let setup = may_change(&*backend).await?;
    let stored = wanted.over(&setup, Timestamp::now())?;
    stored.assistant(setup.allow_private)?;
    backend.set_assistant(Some(&stored)).await?;
    Ok(Shown::of(&Setup { stored: Some(stored), ..setup }))
}

pub(super) async fn unset(User(backend): User) -> Result<impl IntoResponse> {
    let setup = may_change(&*backend).await?;
    backend.set_assistant(None).await?;
    Ok(Shown::of(&Setup { stored: None, ..setup }))
}

async fn may_change(backend: &dyn Backend) -> Result<Setup> {
    let setup = backend.assistant().await?;
    match &setup.fixed {
        Some(why) => Err(Problem::new(Reason::Forbidden, why)),
        None => Ok(setup),
    }
}

impl Wanted {
    /// These settings, with the key that is kept where it stays.
    fn over(self, setup: &Setup, now: Timestamp) -> Result<Stored> {
        let key = match self.key {
            Some(key) => Some(key.trim().to_owned()).filter(|key| !key.is_empty()),
            None => {
                let kept = setup.stored.as_ref().filter(|stored| stored.key.is_some());
                if let Some(other) = kept.filter(|stored| !stored.is_at(self.provider, &self.url)) {
                    let words = format!(
                        "the key that is kept belongs to {}; give this provider's",
                        other.url
                    );
                    return Err(Problem::field("key", words));
                }
                kept.and_then(|stored| stored.key.clone())
            }
        };
        let (provider, url) = (self.provider, self.url.trim().to_owned());
        Ok(Stored { provider, url, model: self.model.trim().to_owned(), key, changed: Some(now) })
    }
}

/// Asks the endpoint for its models, and the model, where one is named, for one word.
pub(super) async fn try_it(User(backend): User, Body(wanted): Body<Wanted>) -> Result<Json<Value>> {
    let setup = backend.assistant().await?;
    let is_set = setup.stored.as_ref().is_some_and(|s| s.is_at(wanted.provider, &wanted.url));
    // Whoever may not set an endpoint must not have the console call one either.
    if let Some(why) = setup.fixed.as_ref().filter(|_| !is_set) {
        return Err(Problem::new(Reason::Forbidden, why));
    }
    let mut tried = wanted.over(&setup, Timestamp::now())?;
    let asks = !tried.model.is_empty();
    if !asks {
        // Listing needs none.
        "-".clone_into(&mut tried.model);
    }
    let assistant = tried.assistant(setup.allow_private)?;
    let models = assistant.models().await;
    let said = if asks { Some(assistant.try_it().await) } else { None };
    let (models, listing) = match models {
        Ok(models) => (models, None),
        Err(failure) => (Vec::new(), Some(failure)),
    };
    let (reply, error) = match said {
        Some(Ok(tried)) => (Some(tried.reply), None),
        Some(Err(failure)) => (None, Some(failure)),
        // An endpoint without a list may still have the model.
        None => (None, listing),
    };
    Ok(Json(json!({ "models": models, "reply": reply, "error": error })))
}

/// What is known of a function that is in the form.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Form {
    draft: Draft,
}

pub(super) async fn knows(User(_): User, Body(form): Body<Form>) -> Json<Knows> {
    Json(Knows::of(&form.draft))
}

pub(super) async fn ask(
    User(backend): User,
    Extension(busy): Extension<Busy>,
    headers: HeaderMap,
    Body(request): Body<Request>,
) -> Result<Response> {
    let problems = limits::check(&request);
    if !problems.is_empty() {
        return Err(Problem::invalid(problems.into_iter().map(Into::into).collect()));
    }
    let setup = backend.assistant().await?;
    let Some(stored) = setup.stored else {
        let words = "no AI provider is configured; set one under Settings";
        return Err(Problem::new(Reason::Unsupported, setup.fixed.as_deref().unwrap_or(words)));
    };
    let assistant = stored.assistant(setup.allow_private)?;
    let turn = busy.begin(&headers)?;
    let prompt = Prompt::of(&request);
    let first =
        json!({ "type": "knows", "knows": Knows::of(&request.draft), "tokens": prompt.tokens() });
    let events = assistant.reply(prompt).map(|event| json!(event));
    Ok(lines::answer(held(stream::iter([first]).chain(events), turn)))
}

/// The stream, with what its end gives back.
fn held(
    events: impl Stream<Item = Value> + Send + 'static,
    turn: Turn,
) -> impl Stream<Item = Value> + Send + 'static {
    events.map(move |event| {
        let _ = &turn;
        event
    })
}

/// Sessions that a reply is on its way to: one at a time for each.
#[derive(Clone, Default)]
pub(super) struct Busy(Arc<Mutex<HashSet<Digest>>>);

/// A session's reply, until it is dropped.
struct Turn {
    busy: Busy,
    session: Digest,
}

impl Busy {
    fn begin(&self, headers: &HeaderMap) -> Result<Turn> {
        let session = session(headers);
        if !self.0.lock().insert(session) {
            let words =
                "the assistant is still answering another question of yours; stop that first";
            return Err(Problem::new(Reason::Busy, words));
        }
        Ok(Turn { busy: self.clone(), session })
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.busy.0.lock().remove(&self.session);
    }
}

/// What a browser sends of a session, which only tells sessions apart here.
fn session(headers: &HeaderMap) -> Digest {
    let sent = [AUTHORIZATION, COOKIE].iter().flat_map(|name| headers.get_all(name));
    let sent: Vec<&[u8]> = sent.map(http::HeaderValue::as_bytes).collect();
    digest_of(sent.join(&b' '))
}
