//! One request to a function, for the page's tester: read strictly, answered whole and bounded.

use std::time::Duration;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use kipper_client::invoke::{self, Answer, Gateway, InvokeError, Request};

use super::Result;
use crate::{
    Problem, Reason,
    model::{Invoke, Invoked, Phase},
};

/// Bytes of an answer that are shown.
const MAX_ANSWER: usize = 256 << 10;
/// Longest wait for a head, and for each part of a body: beyond the longest cold start by default.
const TIMEOUT: Duration = Duration::from_secs(120);

/// Sends a request to the function with this URL.
///
/// # Errors
/// When the request is none, and when no answer comes.
pub async fn send(gateway: &Gateway, url: &str, invoke: &Invoke) -> Result<Invoked> {
    let request = request(invoke)?;
    let answer = invoke::send(gateway, url, &request).await.map_err(no_answer)?;
    shown(answer).await
}

/// The path that is asked for.
///
/// # Errors
/// When it is none.
pub fn path(invoke: &Invoke) -> Result<&str> {
    if invoke.path.starts_with('/') {
        return Ok(&invoke.path);
    }
    Err(Problem::field("path", "must begin with a slash"))
}

fn request(invoke: &Invoke) -> Result<Request> {
    let method = Method::from_bytes(invoke.method.as_bytes())
        .map_err(|_| Problem::field("method", "invalid method"))?;
    let path = self::path(invoke)?;
    let mut headers = HeaderMap::new();
    for (at, (name, value)) in invoke.headers.iter().enumerate() {
        let field = format!("headers[{at}]");
        let name: HeaderName =
            name.trim().parse().map_err(|_| Problem::field(&field, "invalid header name"))?;
        let value: HeaderValue =
            value.trim().parse().map_err(|_| Problem::field(&field, "invalid header value"))?;
        headers.append(name, value);
    }
    let body = invoke.body.clone().into();
    Ok(Request { headers, body, timeout: TIMEOUT, ..Request::new(method, path) })
}

fn no_answer(error: InvokeError) -> Problem {
    let reason = match &error {
        InvokeError::BadPath(_) => return Problem::field("path", error.to_string()),
        InvokeError::Timeout { .. } => Reason::Timeout,
        _ => Reason::Unreachable,
    };
    Problem::new(reason, error.to_string())
}

async fn shown(mut answer: Answer) -> Result<Invoked> {
    let mut body = Vec::new();
    let mut truncated = false;
    while let Some(chunk) = answer.chunk().await.map_err(no_answer)? {
        let room = MAX_ANSWER - body.len();
        truncated = chunk.len() > room;
        body.extend_from_slice(&chunk[..chunk.len().min(room)]);
        if truncated {
            break;
        }
    }
    let text = text(&body, truncated).map(str::to_owned);
    let headers = answer.headers.iter().map(|(name, value)| {
        (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned())
    });
    let phases = answer.phases.iter();
    Ok(Invoked {
        status: answer.status.as_u16(),
        headers: headers.collect(),
        is_text: text.is_some(),
        body: text.unwrap_or_else(|| BASE64_STANDARD.encode(&body)),
        truncated,
        milliseconds: answer.took.as_secs_f64() * 1000.0,
        phases: phases
            .map(|p| Phase { name: p.name.clone(), milliseconds: p.milliseconds })
            .collect(),
    })
}

/// A body that is text; a cut may go through its last character.
fn text(body: &[u8], is_cut: bool) -> Option<&str> {
    match std::str::from_utf8(body) {
        Ok(text) => Some(text),
        Err(error) if is_cut && error.error_len().is_none() => {
            std::str::from_utf8(&body[..error.valid_up_to()]).ok()
        }
        Err(_) => None,
    }
    .filter(|text| !text.contains('\0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_request_is_told_at_its_field() {
        let invoke = |method: &str, header: (&str, &str)| Invoke {
            method: method.to_owned(),
            path: "/".to_owned(),
            headers: vec![(header.0.to_owned(), header.1.to_owned())],
            body: String::new(),
        };
        for (given, expected) in [
            (invoke("GET", ("accept", "a/b")), None),
            (invoke("G T", ("accept", "a/b")), Some("method")),
            (invoke("GET", ("a b", "c")), Some("headers[0]")),
            (invoke("GET", ("a", "b\nc")), Some("headers[0]")),
        ] {
            let path = request(&given).err().map(|problem| problem.problems[0].path.clone());
            assert_eq!(path.as_deref(), expected, "{given:?}");
        }
        let nowhere = Invoke { path: "nowhere".to_owned(), ..invoke("GET", ("a", "b")) };
        let path = request(&nowhere).err().map(|problem| problem.problems[0].path.clone());
        assert_eq!(path.as_deref(), Some("path"));
    }

    #[test]
    fn a_cut_text_is_still_text() {
        assert_eq!(text("é".as_bytes(), false), Some("é"));
        assert_eq!(text(&"aé".as_bytes()[..2], true), Some("a"));
        assert_eq!(text(&"aé".as_bytes()[..2], false), None);
        assert_eq!(text(b"a\0b", false), None);
    }
}
