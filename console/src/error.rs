//! Why a request is not answered as it asked: a status, a reason in one word, a sentence, and the fields
//! it is about. The shape of every error of the API (`docs/api.md`).

use axum::{
    Json,
    response::{IntoResponse, Response},
};
use http::StatusCode;
use kipper_client::{ApiError, functions::ChangeError, secrets::SecretError};
use kipper_function::function;
use serde::Serialize;
use serde_json::Value;

/// Why, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// Not JSON, an unknown field, a parameter that is none.
    BadRequest,
    /// No token, or one that does not count.
    Unauthenticated,
    /// The user may not.
    Forbidden,
    /// The request was not made by the console's page.
    Origin,
    /// Nothing of this name.
    NotFound,
    /// Something of this name.
    Exists,
    /// Somebody else changed the same fields.
    Conflict,
    /// One at a time, and there is one.
    Busy,
    /// Too many bytes.
    TooLarge,
    /// The Function would be wrong.
    Invalid,
    /// This backend cannot.
    Unsupported,
    /// Nobody answers.
    Unreachable,
    /// Nobody answered in time.
    Timeout,
    /// A fault of ours.
    Internal,
}

impl Reason {
    fn status(self) -> StatusCode {
        match self {
            Self::BadRequest => StatusCode::BAD_REQUEST,
            Self::Unauthenticated => StatusCode::UNAUTHORIZED,
            Self::Forbidden | Self::Origin => StatusCode::FORBIDDEN,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::Exists | Self::Conflict => StatusCode::CONFLICT,
            Self::Busy => StatusCode::TOO_MANY_REQUESTS,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Invalid => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Unsupported => StatusCode::NOT_IMPLEMENTED,
            Self::Unreachable => StatusCode::BAD_GATEWAY,
            Self::Timeout => StatusCode::GATEWAY_TIMEOUT,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

/// What is wrong with one field.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FieldProblem {
    /// `spec.triggers[0].schedule`.
    pub path: String,
    /// What.
    pub message: String,
}

impl From<function::Problem> for FieldProblem {
    fn from(problem: function::Problem) -> Self {
        Self { path: problem.path, message: problem.message }
    }
}

/// A field that both sides changed.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Conflict {
    /// `spec.env.REGION`.
    pub path: String,
    /// What the form was loaded with; null where the field was absent.
    pub base: Value,
    /// What the form has.
    pub yours: Value,
    /// What is stored.
    pub theirs: Value,
}

/// What a user logs in with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Login {
    /// A token of the cluster.
    Token,
    /// The URL that was printed.
    Url,
}

/// Where a user of a cluster can log in without a token of the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct ProviderHint {
    /// What users know it by.
    pub(crate) name: String,
    /// Why the last login of this browser failed.
    pub(crate) failure: Option<String>,
}

/// An error of the API.
#[derive(Debug, Serialize)]
pub struct Problem {
    /// A sentence for the user.
    pub error: String,
    /// In one word.
    pub reason: Reason,
    /// The fields it is about.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<FieldProblem>,
    /// Of a save that cannot be merged.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conflicts: Vec<Conflict>,
    /// The Function as it is now, where there are conflicts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub current: Option<Box<Value>>,
    /// How to log in, where the request is of nobody.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub login: Option<Login>,
    /// What was written before it failed, and stays: `secrets` of a Function that was not made.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub written: Vec<&'static str>,
    /// The identity provider, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) provider: Option<Box<ProviderHint>>,
}

impl Problem {
    /// An error about no field in particular.
    pub fn new(reason: Reason, error: impl Into<String>) -> Self {
        Self {
            error: error.into(),
            reason,
            problems: Vec::new(),
            conflicts: Vec::new(),
            current: None,
            login: None,
            written: Vec::new(),
            provider: None,
        }
    }

    /// An error after this was written.
    #[must_use]
    pub fn after(self, written: Vec<&'static str>) -> Self {
        Self { written, ..self }
    }

    /// A Function that would be wrong.
    pub fn invalid(problems: Vec<FieldProblem>) -> Self {
        let error = problems.iter().map(|p| p.message.as_str()).collect::<Vec<_>>().join("; ");
        Self { problems, ..Self::new(Reason::Invalid, error) }
    }

    /// One field is wrong.
    pub fn field(path: &str, message: impl Into<String>) -> Self {
        Self::invalid(vec![FieldProblem { path: path.to_owned(), message: message.into() }])
    }

    /// Nobody is logged in.
    pub(crate) fn unauthenticated(login: Login, error: &str) -> Self {
        Self { login: Some(login), ..Self::new(Reason::Unauthenticated, error) }
    }

    /// Fields that both sides changed.
    pub(crate) fn conflict(name: &str, conflicts: Vec<Conflict>, current: Value) -> Self {
        let error = format!("{name} was changed by somebody else in the meantime");
        Self { conflicts, current: Some(current.into()), ..Self::new(Reason::Conflict, error) }
    }
}

/// Marks an answer to somebody whom the console knows and the cluster does not accept, with its words.
#[derive(Clone)]
pub(crate) struct NotAccepted(pub(crate) String);

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let is_known = self.reason == Reason::Unauthenticated && self.login.is_none();
        let not_accepted = is_known.then(|| NotAccepted(self.error.clone()));
        let mut response = (self.reason.status(), Json(self)).into_response();
        not_accepted.map(|mark| response.extensions_mut().insert(mark));
        response
    }
}

impl From<ApiError> for Problem {
    fn from(error: ApiError) -> Self {
        let reason = match &error {
            ApiError::NotFound { .. } | ApiError::NoNamespace(_) => Reason::NotFound,
            ApiError::NotInstalled(_) => Reason::Unsupported,
            ApiError::Forbidden(_) => Reason::Forbidden,
            ApiError::Unauthorized => Reason::Unauthenticated,
            ApiError::Refused { .. } => Reason::Invalid,
            ApiError::Owned { .. } | ApiError::Conflict(_) => Reason::Conflict,
            ApiError::Exists { .. } => Reason::Exists,
            ApiError::Unreachable(_) => Reason::Unreachable,
            ApiError::Other(_) => Reason::Internal,
        };
        Self::new(reason, error.to_string())
    }
}

impl From<ChangeError> for Problem {
    fn from(error: ChangeError) -> Self {
        match error {
            ChangeError::Api(error) => error.into(),
            ChangeError::Invalid { problems, .. } => {
                Self::invalid(problems.into_iter().map(FieldProblem::from).collect())
            }
            error => Self::new(Reason::Conflict, error.to_string()),
        }
    }
}

impl From<SecretError> for Problem {
    fn from(error: SecretError) -> Self {
        match error {
            SecretError::Api(error) => error.into(),
            error => Self::field("secrets", error.to_string()),
        }
    }
}
