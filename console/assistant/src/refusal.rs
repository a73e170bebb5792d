//! What a provider says when it does not reply, in words that say what to do. Pure.
//!
//! Its own words are a stranger's: they are shown without control characters, without the key, and not
//! longer than [`MAX_SAID`].

use http::{HeaderMap, StatusCode, header};
use serde_json::Value;

use crate::{
    event::{Code, Failure},
    key::Key,
};

/// Most characters of a provider's own words that are shown.
const MAX_SAID: usize = 500;

/// A provider's own words for an error.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Said {
    /// What it calls the error, in as many words as it has for it.
    kind: String,
    text: String,
}

impl Said {
    /// Reads `{"error": {"message", "type", "code"}}`, `{"error": "…"}`, `{"message": "…"}`, `{"detail": "…"}`, and
    /// the first one in a list.
    pub(crate) fn of(body: &Value) -> Option<Self> {
        let body = body.get(0).unwrap_or(body);
        let error = body.get("error").filter(|error| !error.is_null());
        if let Some(text) = error.and_then(Value::as_str) {
            return Some(Self { kind: String::new(), text: text.to_owned() });
        }
        let error = error.unwrap_or(body);
        let text = error.get("message").or_else(|| error.get("detail")).and_then(Value::as_str);
        let kinds =
            ["type", "code", "status"].into_iter().filter_map(|name| match error.get(name)? {
                Value::String(word) => Some(word.clone()),
                Value::Number(number) => Some(number.to_string()),
                _ => None,
            });
        let kind = kinds.collect::<Vec<_>>().join(" ");
        text.map(|text| Self { kind, text: text.to_owned() })
    }

    /// The kind of failure, where the words have it.
    fn code(&self) -> Option<Code> {
        let kind = self.kind.to_lowercase();
        let text = self.text.to_lowercase();
        let is = |words: &[&str]| words.iter().any(|word| kind.contains(word));
        let says = |words: &[&str]| words.iter().any(|word| text.contains(word));
        let context = [
            "context length",
            "context window",
            "context size",
            "prompt is too long",
            "maximum context",
        ];
        if is(&["context_length", "exceed_context", "request_too_large"]) || says(&context) {
            return Some(Code::ContextTooLong);
        }
        if is(&["insufficient_quota", "billing"]) || says(&["credit balance"]) {
            return Some(Code::Quota);
        }
        let kinds: [(Code, &[&str]); 5] = [
            (Code::RateLimited, &["rate_limit", "429"]),
            (Code::Unauthorized, &["authentication", "invalid_api_key", "401"]),
            (Code::Forbidden, &["permission", "403"]),
            (Code::NotFound, &["not_found", "404"]),
            (
                Code::ProviderFailed,
                &["overloaded", "api_error", "server_error", "timeout", "500", "502", "503"],
            ),
        ];
        kinds.iter().find(|(_, words)| is(words)).map(|(code, _)| *code)
    }

    /// Is this what it is about?
    pub(crate) fn names(&self, word: &str) -> bool {
        self.text.contains(word)
    }

    /// An error in the middle of a reply.
    pub(crate) fn failure(&self, key: Option<&Key>) -> Failure {
        let code = self.code().unwrap_or(Code::ProviderFailed);
        self.with(code, None, key, "try again later")
    }

    /// A failure with what to do about it, and the provider's words behind it.
    fn with(
        &self,
        code: Code,
        status: Option<StatusCode>,
        key: Option<&Key>,
        wait: &str,
    ) -> Failure {
        let status = status.map_or_else(String::new, |status| format!(" ({})", status.as_u16()));
        let mut message = match code {
            Code::Unauthorized if key.is_none() => {
                format!("the provider asks for an API key{status}: set one")
            }
            // The words would repeat a part of the key.
            Code::Unauthorized => {
                format!("the provider does not accept the API key{status}: set a valid one")
            }
            Code::Forbidden => {
                format!(
                    "the API key may not use this model or endpoint{status}: check its permissions"
                )
            }
            Code::NotFound => format!("the model or the URL does not exist{status}: check both"),
            Code::RateLimited => format!("too many requests{status}: {wait}"),
            Code::Quota => {
                format!("the account has no credit left{status}: check its plan and billing")
            }
            Code::ContextTooLong => format!(
                "the question with its files is longer than the model can read{status}: attach less, or begin \
                 a new conversation"
            ),
            Code::ProviderFailed => format!("the provider failed{status}: {wait}"),
            _ => format!("the provider refused the request{status}"),
        };
        let said = clean(&self.text, key);
        if code != Code::Unauthorized && !said.is_empty() {
            message.push_str("; the provider says: ");
            message.push_str(&said);
        }
        Failure::new(code, message)
    }
}

/// An answer that is no reply, by its status, header and the beginning of its body.
pub(crate) fn failure(
    status: StatusCode,
    headers: &HeaderMap,
    said: &Said,
    key: Option<&Key>,
) -> Failure {
    if status.is_redirection() {
        return redirect(status, headers, key);
    }
    let code = match status.as_u16() {
        401 | 407 => Code::Unauthorized,
        402 => Code::Quota,
        403 => Code::Forbidden,
        404 | 405 | 410 => Code::NotFound,
        413 => Code::ContextTooLong,
        429 => Code::RateLimited,
        408 | 500.. => Code::ProviderFailed,
        _ => Code::Refused,
    };
    // A status says what the words may refine: a full context is a 400 here and a 500 there.
    let refined = said.code().filter(|refined| {
        matches!(refined, Code::ContextTooLong | Code::Quota) || code == Code::Refused
    });
    let seconds = headers.get(header::RETRY_AFTER).and_then(|value| value.to_str().ok());
    let seconds = seconds.and_then(|value| value.trim().parse::<u32>().ok());
    let wait = seconds.map_or("try again later".to_owned(), |s| format!("try again in {s} s"));
    said.with(refined.unwrap_or(code), Some(status), key, &wait)
}

/// Only the origin and the path are shown: a query may have anything in it.
fn redirect(status: StatusCode, headers: &HeaderMap, key: Option<&Key>) -> Failure {
    let target =
        headers.get(header::LOCATION).map(|value| String::from_utf8_lossy(value.as_bytes()));
    let target = target.unwrap_or_default();
    let target = target.split(['?', '#']).next().unwrap_or_default();
    let target = match target.split_once("://") {
        Some((scheme, rest)) => {
            let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
            let host = authority.rsplit('@').next().unwrap_or_default();
            format!("{scheme}://{host}{path}")
        }
        None => target.to_owned(),
    };
    let target = clean(&target, key);
    let to = if target.is_empty() { String::new() } else { format!(" to {target}") };
    let message = format!(
        "the base URL redirects{to} ({}), and redirects are not followed: set the URL of the API itself",
        status.as_u16()
    );
    Failure::new(Code::Redirect, message)
}

/// A stranger's words on one line, without the key.
pub(crate) fn clean(text: &str, key: Option<&Key>) -> String {
    // Before the key is looked for, so that nothing invisible inside it hides it.
    let is_shown = |c: &char| !c.is_control() || c.is_whitespace();
    let invisible = |c: &char| matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}' | '\u{ad}');
    let text: String = text.chars().filter(|c| is_shown(c) && !invisible(c)).collect();
    let text = key.map_or_else(|| text.clone(), |key| key.redact(&text));
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match text.char_indices().nth(MAX_SAID) {
        Some((end, _)) => format!("{}\u{2026}", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    fn told(status: u16, header: &[(&'static str, &str)], body: &Value) -> Failure {
        let mut headers = HeaderMap::new();
        for (name, value) in header {
            headers.insert(*name, value.parse().unwrap());
        }
        let said = Said::of(body).unwrap_or_default();
        let key = Key::new("sk-canary-0123456789").unwrap();
        failure(StatusCode::from_u16(status).unwrap(), &headers, &said, Some(&key))
    }

    #[track_caller]
    fn check(failure: &Failure, code: Code, message: &str) {
        assert_eq!((failure.code, failure.message.as_str()), (code, message));
    }

    #[test]
    fn statuses_say_what_to_do() {
        let said = json!({"error": {"message": "words", "type": "kind"}});
        for (status, code, retryable, message) in [
            (
                401,
                Code::Unauthorized,
                false,
                "the provider does not accept the API key (401): set a valid one",
            ),
            (
                402,
                Code::Quota,
                false,
                "the account has no credit left (402): check its plan and billing; the provider says: words",
            ),
            (
                403,
                Code::Forbidden,
                false,
                "the API key may not use this model or endpoint (403): check its permissions; the provider says: words",
            ),
            (
                404,
                Code::NotFound,
                false,
                "the model or the URL does not exist (404): check both; the provider says: words",
            ),
            (
                413,
                Code::ContextTooLong,
                false,
                "the question with its files is longer than the model can read (413): attach less, or begin a new conversation; the provider says: words",
            ),
            (
                429,
                Code::RateLimited,
                true,
                "too many requests (429): try again later; the provider says: words",
            ),
            (
                500,
                Code::ProviderFailed,
                true,
                "the provider failed (500): try again later; the provider says: words",
            ),
            (
                529,
                Code::ProviderFailed,
                true,
                "the provider failed (529): try again later; the provider says: words",
            ),
            (
                400,
                Code::Refused,
                false,
                "the provider refused the request (400); the provider says: words",
            ),
        ] {
            let failure = told(status, &[], &said);
            check(&failure, code, message);
            assert_eq!(failure.retryable, retryable, "{status}");
        }
    }

    #[test]
    fn retry_after_is_said() {
        let failure = told(429, &[("retry-after", "20")], &Value::Null);
        check(&failure, Code::RateLimited, "too many requests (429): try again in 20 s");
        for other in ["Wed, 21 Oct 2026 07:28:00 GMT", "99999999999", "-1"] {
            let failure = told(503, &[("retry-after", other)], &Value::Null);
            check(&failure, Code::ProviderFailed, "the provider failed (503): try again later");
        }
    }

    #[test]
    fn words_refine_a_status() {
        for (status, body, code) in [
            (
                400,
                json!({"error": {"message": "x", "code": "context_length_exceeded"}}),
                Code::ContextTooLong,
            ),
            (
                400,
                json!({"error": {"message": "This model's maximum context length is 8192 tokens."}}),
                Code::ContextTooLong,
            ),
            (
                400,
                json!({"type": "error", "error": {"type": "invalid_request_error", "message": "prompt is too long: 210000 tokens > 200000 maximum"}}),
                Code::ContextTooLong,
            ),
            (
                400,
                json!({"error": {"code": 400, "message": "the request exceeds the available context size", "type": "exceed_context_size_error"}}),
                Code::ContextTooLong,
            ),
            (
                500,
                json!({"error": "the input length exceeds the context length"}),
                Code::ContextTooLong,
            ),
            (
                429,
                json!({"error": {"message": "You exceeded your current quota", "type": "insufficient_quota"}}),
                Code::Quota,
            ),
            (
                400,
                json!({"error": {"message": "Your credit balance is too low", "type": "invalid_request_error"}}),
                Code::Quota,
            ),
            (
                400,
                json!([{"error": {"code": 400, "status": "INVALID_ARGUMENT", "message": "x"}}]),
                Code::Refused,
            ),
            (404, json!({"error": {"message": "x", "type": "permission_error"}}), Code::NotFound),
            (422, json!({"detail": "x"}), Code::Refused),
        ] {
            assert_eq!(told(status, &[], &body).code, code, "{body}");
        }
    }

    #[test]
    fn a_redirect_says_where_it_points() {
        let to = |location: &str| told(301, &[("location", location)], &Value::Null).message;
        assert_eq!(
            to("https://ada:pw@login.example.com/sso?token=canary#x"),
            "the base URL redirects to https://login.example.com/sso (301), and redirects are not followed: set \
             the URL of the API itself"
        );
        assert!(to("/v2?key=canary").contains("redirects to /v2 (301)"));
        assert!(to("https://a/sk-canary-0123456789").contains("to https://a/[key] (301)"));
        assert!(told(308, &[], &Value::Null).message.contains("redirects (308)"));
    }

    #[test]
    fn strangers_words_are_cleaned() {
        let key = Key::new("sk-canary-0123456789").unwrap();
        let clean = |text: &str| clean(text, Some(&key));
        assert_eq!(clean("a\u{1b}[31mred\u{7}\r\n\tb\u{9b}1m \0c"), "a[31mred b1m c");
        assert_eq!(clean("key sk-can\u{200b}ary-01\u{0}23 x"), "key [key] x");
        assert_eq!(clean("\u{202e}abc"), "abc");
        assert_eq!(clean(&"x".repeat(MAX_SAID)), "x".repeat(MAX_SAID));
        let long = "\u{e9}".repeat(MAX_SAID);
        assert_eq!(clean(&format!("{long}x")), format!("{long}\u{2026}"));
        for status in [400, 401, 403, 404, 429, 500] {
            let body =
                json!({"error": {"message": "wrong key sk-canary-0123456789 (sk-canary***789)"}});
            let message = told(status, &[], &body).message;
            assert!(!message.contains("canary"), "{message}");
        }
    }

    #[test]
    fn a_missing_key_is_told_from_a_wrong_one() {
        let said = Said::default();
        let failure = failure(StatusCode::UNAUTHORIZED, &HeaderMap::new(), &said, None);
        check(&failure, Code::Unauthorized, "the provider asks for an API key (401): set one");
    }

    #[test]
    fn errors_in_a_reply_are_read_by_their_words() {
        let failure = |body: &Value| Said::of(body).map(|said| said.failure(None).code);
        for (body, code) in [
            (
                json!({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}),
                Code::ProviderFailed,
            ),
            (json!({"error": {"code": 429, "message": "slow down"}}), Code::RateLimited),
            (json!({"error": "model runner has unexpectedly stopped"}), Code::ProviderFailed),
            (
                json!({"error": {"type": "authentication_error", "message": "x"}}),
                Code::Unauthorized,
            ),
        ] {
            assert_eq!(failure(&body), Some(code), "{body}");
        }
        assert_eq!(failure(&json!({"choices": []})), None);
        assert_eq!(failure(&json!({"error": null})), None);
    }
}
