//! Why a cluster did not do what it was asked.
//!
//! The one place that reads a Kubernetes client's error. What a user can do something about has a
//! variant of its own; the rest keeps its source.

use kipper_process::exit::plain;
use kube::core::{Status, response::StatusCause};

/// Why a call to the cluster failed.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// The object is not there.
    #[error("{what} does not exist in namespace {namespace}")]
    NotFound {
        /// `function hello`.
        what: String,
        /// Where it was looked for.
        namespace: String,
    },
    /// The namespace is not there.
    #[error("namespace {0} does not exist")]
    NoNamespace(String),
    /// The cluster does not know the kind.
    #[error("the cluster has no {0}: Kipper is not installed in it")]
    NotInstalled(String),
    /// The user may not do this; the server's words.
    #[error("not allowed: {0}")]
    Forbidden(String),
    /// The credentials are missing, wrong or expired.
    #[error("the cluster does not accept these credentials")]
    Unauthorized,
    /// The server refused the object; its words.
    #[error("the cluster refused {what}: {message}")]
    Refused {
        /// `function hello`.
        what: String,
        /// Why.
        message: String,
    },
    /// Fields of the object belong to others.
    #[error("{what} has fields that others set: {}", owners(fields))]
    Owned {
        /// `function hello`.
        what: String,
        /// Every field that is to change, with its owner.
        fields: Vec<OwnedField>,
    },
    /// The object was there already.
    #[error("{what} already exists in namespace {namespace}")]
    Exists {
        /// `volume cache`.
        what: String,
        /// Where.
        namespace: String,
    },
    /// The object changed between reading and writing it.
    #[error("{0} was changed in the meantime")]
    Conflict(String),
    /// No answer.
    #[error("the cluster does not answer: {0}")]
    Unreachable(String),
    /// Anything else.
    #[error("the cluster failed: {0}")]
    Other(String),
}

/// A field that somebody else set by server-side apply or an update.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnedField {
    /// `.spec.port`.
    pub field: String,
    /// The field manager.
    pub manager: String,
}

fn owners(fields: &[OwnedField]) -> String {
    let reported: Vec<_> = fields.iter().map(|f| format!("{} ({})", f.field, f.manager)).collect();
    reported.join(", ")
}

/// Reason of a cause by which the server tells of a field's owner.
const FIELD_CONFLICT: &str = "FieldManagerConflict";
/// Deepest chain of sources that is searched for the one that says why.
const MAX_SOURCES: usize = 16;

impl ApiError {
    /// Reads a client's error. `what` is the object as a user knows it, `function hello`.
    pub fn read(error: kube::Error, what: &str, namespace: &str) -> Self {
        match error {
            kube::Error::Api(status) => Self::of_status(&status, what, namespace),
            kube::Error::Auth(error) => Self::Other(format!("credentials: {}", chain(&error))),
            kube::Error::SerdeError(error) => {
                Self::Other(format!("{what} cannot be read: {error}"))
            }
            kube::Error::HyperError(error) => Self::Unreachable(plain(&cause(&error)).into_owned()),
            kube::Error::Service(error) => {
                Self::Unreachable(plain(&cause(error.as_ref())).into_owned())
            }
            error => Self::Other(chain(&error)),
        }
    }

    fn of_status(status: &Status, what: &str, namespace: &str) -> Self {
        let message = status.message.clone();
        let kind = status.details.as_ref().map_or("", |details| details.kind.as_str());
        let what_owned = what.to_owned();
        match status.code {
            401 => Self::Unauthorized,
            403 => Self::Forbidden(message),
            404 if kind == "namespaces" => Self::NoNamespace(namespace.to_owned()),
            // A path that no resource has is answered without the name of an object.
            404 if kind.is_empty() || status.details.as_ref().is_none_or(|d| d.name.is_empty()) => {
                Self::NotInstalled(kind_of(what))
            }
            404 => Self::NotFound { what: what_owned, namespace: namespace.to_owned() },
            409 if status.is_already_exists() => {
                Self::Exists { what: what_owned, namespace: namespace.to_owned() }
            }
            409 => match owned(status) {
                fields if fields.is_empty() => Self::Conflict(what_owned),
                fields => Self::Owned { what: what_owned, fields },
            },
            400 | 413 | 422 => Self::Refused { what: what_owned, message: refusal(status) },
            code if message.is_empty() => Self::Other(format!("status {code}")),
            _ => Self::Other(message),
        }
    }

    /// What the user may not see is nothing, and no failure.
    ///
    /// # Errors
    /// Any other.
    pub fn allowed<T>(result: Result<T, Self>) -> Result<Option<T>, Self> {
        match result {
            Err(Self::Forbidden(_)) => Ok(None),
            other => other.map(Some),
        }
    }

    /// True when the object is not there, or nothing it could be in.
    pub fn is_absence(&self) -> bool {
        matches!(self, Self::NotFound { .. } | Self::NoNamespace(_))
    }
}

/// Whether trying again is pointless: the user may not do that, or the resource does not exist.
pub(crate) fn is_lasting(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if matches!(status.code, 401 | 403 | 404))
}

/// How a watch takes it when the cluster does not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patience {
    /// It waits until the cluster does.
    Endless,
    /// It ends: somebody looks on, and what they see would be old.
    None,
}

impl Patience {
    /// Which errors end a watch.
    pub(crate) fn gives_up(self) -> fn(&kube::Error) -> bool {
        match self {
            Self::Endless => is_lasting,
            Self::None => |error| {
                let is_away = match error {
                    kube::Error::Service(_) | kube::Error::HyperError(_) => true,
                    kube::Error::Api(status) => status.code >= 500,
                    _ => false,
                };
                is_away || is_lasting(error)
            },
        }
    }
}

/// `functions` of `function hello`.
fn kind_of(what: &str) -> String {
    let kind = what.split(' ').next().unwrap_or(what);
    if kind.ends_with('s') { kind.to_owned() } else { format!("{kind}s") }
}

/// Why an object was refused: each field with what is wrong with it, or the server's message.
fn refusal(status: &Status) -> String {
    let causes = status.details.iter().flat_map(|details| &details.causes);
    let mut reasons: Vec<String> = Vec::new();
    for reason in causes.filter(|cause| !cause.message.is_empty()).map(readable) {
        if !reasons.contains(&reason) {
            reasons.push(reason);
        }
    }
    if reasons.is_empty() { status.message.clone() } else { reasons.join("; ") }
}

/// What is wrong with a field. `Invalid value: 0: spec.port in body should be at least 1` says the
/// field twice, and a value that may be the whole object.
fn readable(cause: &StatusCause) -> String {
    let text = match cause.message.strip_prefix("Invalid value: ") {
        Some(rest) => without_value(rest),
        None => &cause.message,
    };
    let field = cause.field.as_str();
    let text =
        text.strip_prefix(field).and_then(|rest| rest.strip_prefix(" in body ")).unwrap_or(text);
    if field.is_empty() || field == "<nil>" { text.to_owned() } else { format!("{field}: {text}") }
}

/// The text behind a value, which is JSON, and a colon.
fn without_value(text: &str) -> &str {
    let mut values = serde_json::Deserializer::from_str(text).into_iter::<serde::de::IgnoredAny>();
    let is_value = values.next().is_some_and(|value| value.is_ok());
    let rest = text.get(values.byte_offset()..).filter(|_| is_value);
    rest.and_then(|rest| rest.strip_prefix(": ")).unwrap_or(text)
}

fn owned(status: &Status) -> Vec<OwnedField> {
    let causes = status.details.iter().flat_map(|details| &details.causes);
    causes.filter(|cause| cause.reason == FIELD_CONFLICT).map(owned_field).collect()
}

/// The message is `conflict with "manager" using v1 at …`.
fn owned_field(cause: &StatusCause) -> OwnedField {
    let manager = cause.message.split('"').nth(1).unwrap_or("unknown");
    OwnedField { field: cause.field.clone(), manager: manager.to_owned() }
}

/// An error with all that it came from.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    for _ in 0..MAX_SOURCES {
        let Some(error) = source else { break };
        let next = error.to_string();
        if !text.ends_with(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        source = error.source();
    }
    text
}

/// The innermost source: of a connection that failed, the one that says how.
pub(crate) fn cause(error: &dyn std::error::Error) -> String {
    let mut error = error;
    for _ in 0..MAX_SOURCES {
        match error.source() {
            Some(source) => error = source,
            None => break,
        }
    }
    error.to_string()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(status: serde_json::Value, expected: &str) {
        let status: Status = serde_json::from_value(status).unwrap();
        let error = ApiError::of_status(&status, "function hello", "shop-dev");
        assert_eq!(error.to_string(), expected);
    }

    #[test]
    fn answers_are_told_in_the_users_words() {
        let found = |kind: &str, name: &str| json!({ "kind": kind, "name": name });
        check(
            json!({ "code": 404, "reason": "NotFound", "details": found("functions", "hello") }),
            "function hello does not exist in namespace shop-dev",
        );
        check(
            json!({ "code": 404, "reason": "NotFound", "details": found("namespaces", "shop-dev") }),
            "namespace shop-dev does not exist",
        );
        check(
            json!({ "code": 404, "reason": "Failed to parse error data", "message": "404 page not found" }),
            "the cluster has no functions: Kipper is not installed in it",
        );
        check(json!({ "code": 401 }), "the cluster does not accept these credentials");
        check(
            json!({ "code": 403, "reason": "Forbidden", "message": "functions is forbidden" }),
            "not allowed: functions is forbidden",
        );
        check(
            json!({ "code": 422, "reason": "Invalid", "message": "spec.port: too big" }),
            "the cluster refused function hello: spec.port: too big",
        );
        check(
            json!({ "code": 409, "reason": "Conflict", "details": found("functions", "hello") }),
            "function hello was changed in the meantime",
        );
        check(json!({ "code": 503 }), "the cluster failed: status 503");
    }

    #[test]
    fn without_patience_a_server_that_cannot_answer_ends_a_watch() {
        let api = |code: u16| -> kube::Error {
            let status: Status = serde_json::from_value(json!({ "code": code })).unwrap();
            kube::Error::Api(status.into())
        };
        for (code, endless, none) in [
            (403, true, true),
            (410, false, false),
            (429, false, false),
            (500, false, true),
            (503, false, true),
            (504, false, true),
        ] {
            let ends = [Patience::Endless, Patience::None].map(|p| p.gives_up()(&api(code)));
            assert_eq!(ends, [endless, none], "{code}");
        }
        assert!(Patience::None.gives_up()(&kube::Error::Service("silent".into())));
    }

    #[test]
    fn what_the_schema_refuses_is_told_by_its_fields() {
        let refused = |causes: &[(&str, &str)], expected: &str| {
            let causes = causes.iter().map(|(field, message)| {
                json!({ "reason": "FieldValueInvalid", "field": field, "message": message })
            });
            let details = json!({ "causes": causes.collect::<Vec<_>>() });
            let message = "Function.kipper.run \"hello\" is invalid: [spec.port: Invalid value: …]";
            let status = json!({ "code": 422, "message": message, "details": details });
            check(status, &format!("the cluster refused function hello: {expected}"));
        };
        let port = "Invalid value: 0: spec.port in body should be greater than or equal to 1";
        let cron = "Invalid value: \"object\": a cron trigger needs a schedule";
        refused(
            &[("spec.port", port), ("spec.triggers[0]", cron), ("spec.port", port)],
            "spec.port: should be greater than or equal to 1; spec.triggers[0]: a cron trigger needs \
             a schedule",
        );
        let kind = "Unsupported value: \"kafka\": supported values: \"http\", \"cron\"";
        refused(&[("spec.triggers[0].type", kind)], &format!("spec.triggers[0].type: {kind}"));
        let rule = "Invalid value: name must be a DNS-1035 label of at most 47 characters";
        refused(&[("<nil>", rule)], "name must be a DNS-1035 label of at most 47 characters");
        let quoted = "Invalid value: \"a: b\": spec.image in body should match '^x$'";
        refused(&[("spec.image", quoted)], "spec.image: should match '^x$'");
    }

    #[test]
    fn owners_of_fields_are_named() {
        let cause = |field: &str, manager: &str| {
            let message = format!("conflict with {manager:?} using kipper.run/v1alpha1 at 2026");
            json!({ "reason": FIELD_CONFLICT, "message": message, "field": field })
        };
        let causes = [cause(".spec.port", "kubectl"), cause(".spec.env.A", "kip")];
        check(
            json!({ "code": 409, "reason": "Conflict", "details": { "causes": causes } }),
            "function hello has fields that others set: .spec.port (kubectl), .spec.env.A (kip)",
        );
    }
}
