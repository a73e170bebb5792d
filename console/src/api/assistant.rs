//! The assistant: its settings, what it is told, and its replies as they arrive.

use std::{collections::HashSet, pin::pin, sync::Arc, time::Duration};

use axum::{
    Extension, Json,
    response::{IntoResponse, Response},
};
use futures_util::{
    Stream, StreamExt as _,
    stream::{self, BoxStream},
};
use kipper_assistant::{Draft, Knows, Prompt, Protocol, Request, limits};
use kipper_function::Timestamp;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::time::timeout;

use super::{
    input::{Body, User},
    lines,
};
use crate::{
    Problem, Reason,
    assistant::{Setup, Stored},
    backend::{Backend, Result, updates},
};

/// Events that wait for a slow reader; all of a reply has 10 MiB at the most.
const QUEUE: usize = 64;
/// How long a reply is worked on, read or not: somewhat longer than a provider may take for it.
const LASTS: Duration = Duration::from_mins(11);

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
    let turn = busy.begin(backend.user())?;
    let prompt = Prompt::of(&request);
    let first =
        json!({ "type": "knows", "knows": Knows::of(&request.draft), "tokens": prompt.tokens() });
    let events = assistant.reply(prompt).map(|event| json!(event));
    Ok(lines::answer(arriving(stream::iter([first]).chain(events), turn)))
}

/// The events, in a task of its own: with a reader who does not go on, it ends at its time all the same,
/// and the connection to the provider and the turn with it.
fn arriving(
    events: impl Stream<Item = Value> + Send + 'static,
    turn: Turn,
) -> BoxStream<'static, Value> {
    updates(QUEUE, |reader| async move {
        let _turn = turn;
        let mut events = pin!(events);
        let sent = async {
            while let Some(event) = events.next().await {
                if reader.send(event).await.is_err() {
                    break;
                }
            }
        };
        // A reply that ends so was cut off.
        let _ = timeout(LASTS, sent).await;
    })
}

/// Users that a reply is on its way to: one at a time for each, however many sessions they have.
#[derive(Clone, Default)]
pub(super) struct Busy(Arc<Mutex<HashSet<String>>>);

/// A user's reply, until it is dropped.
struct Turn {
    busy: Busy,
    user: String,
}

impl Busy {
    fn begin(&self, user: &str) -> Result<Turn> {
        if !self.0.lock().insert(user.to_owned()) {
            let words =
                "the assistant is still answering another question of yours; stop that first";
            return Err(Problem::new(Reason::Busy, words));
        }
        Ok(Turn { busy: self.clone(), user: user.to_owned() })
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.busy.0.lock().remove(&self.user);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_reply_that_nobody_reads_ends_at_its_time_and_gives_its_turn_back() {
        let busy = Busy::default();
        let reply = arriving(stream::repeat(json!({})), busy.begin("ada").unwrap());
        tokio::time::sleep(LASTS - Duration::from_secs(1)).await;
        assert!(busy.begin("ada").is_err());
        assert!(busy.begin("bob").is_ok());
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert!(busy.begin("ada").is_ok());
        assert_eq!(reply.count().await, QUEUE);
    }
}
