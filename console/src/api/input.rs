//! What handlers take: the user's backend, and bodies that are read strictly.

use std::sync::Arc;

use axum::{
    extract::{FromRequest, FromRequestParts, Request, State},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use bytes::Bytes;
use http::{StatusCode, request::Parts};
use serde::de::DeserializeOwned;

use crate::{Problem, Reason, access::Access, backend::Backend, error::NotAccepted};

/// The functions of whoever asks.
#[derive(Clone)]
pub(super) struct User(pub(super) Arc<dyn Backend>);

/// Finds out who asks. An answer carries what becomes of their session.
pub(super) async fn enter(
    State(access): State<Access>,
    mut request: Request,
    next: Next,
) -> Response {
    match access.enter(request.headers()).await {
        Ok((backend, renewed)) => {
            request.extensions_mut().insert(User(backend));
            let mut response = next.run(request).await;
            response.headers_mut().extend(access.cookies(renewed));
            response
        }
        Err(problem) => problem.into_response(),
    }
}

impl<S: Sync> FromRequestParts<S> for User {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let missing = || Problem::new(Reason::Internal, "nobody was asked who this is");
        parts.extensions.get().cloned().ok_or_else(missing)
    }
}

/// The cluster may stop accepting somebody at any call.
pub(super) async fn not_accepted(
    State(access): State<Access>,
    request: Request,
    next: Next,
) -> Response {
    let headers = request.headers().clone();
    let mut response = next.run(request).await;
    match response.extensions_mut().remove() {
        Some(NotAccepted(words)) => access.not_accepted(&headers, words).into_response(),
        None => response,
    }
}

/// A body that is JSON and has no field that is not known: a typo must not be lost silently.
pub(super) struct Body<T>(pub(super) T);

impl<T: DeserializeOwned> FromRequest<Access> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, access: &Access) -> Result<Self, Problem> {
        let bytes = Bytes::from_request(request, access).await.map_err(|rejection| {
            let reason = match rejection.status() {
                StatusCode::PAYLOAD_TOO_LARGE => Reason::TooLarge,
                _ => Reason::BadRequest,
            };
            Problem::new(reason, rejection.body_text())
        })?;
        parse(&bytes).map(Self)
    }
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    let bad = |error: String| Problem::new(Reason::BadRequest, error);
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let mut unknown = Vec::new();
    let value = serde_ignored::deserialize(&mut reader, |path| unknown.push(shown(&path)))
        .map_err(|error| bad(format!("the body cannot be read: {error}")))?;
    reader.end().map_err(|error| bad(format!("the body cannot be read: {error}")))?;
    match unknown.first() {
        None => Ok(value),
        Some(path) => Err(bad(format!("unknown field {path}"))),
    }
}

/// A path as users write it, without the marks of optional fields.
fn shown(path: &serde_ignored::Path<'_>) -> String {
    path.to_string().replace(".?", "")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Draft, Save};

    #[test]
    fn an_unknown_field_is_refused_however_deep() {
        for (body, expected) in [
            (r#"{"namespace":"a","name":"b","spec":{"portt":1}}"#, "unknown field spec.portt"),
            (
                r#"{"namespace":"a","name":"b","spec":{"scaling":{"max":1}}}"#,
                "unknown field spec.scaling.max",
            ),
            (r#"{"namespace":"a","name":"b","spec":{},"new":true}"#, "unknown field `new`"),
            (r#"{"namespace":"a"}"#, "missing field `name`"),
            ("", "the body cannot be read"),
        ] {
            let error = parse::<Draft>(body.as_bytes()).err().map(|problem| problem.error);
            assert!(error.as_ref().is_some_and(|e| e.contains(expected)), "{body}: {error:?}");
        }
        let save = parse::<Save>(br#"{"spec":{"port":1},"base":{"generation":3,"spec":{}}}"#);
        assert_eq!(save.ok().and_then(|save| save.spec.port), Some(1));
    }
}
