//! What the provider says of itself (OpenID Connect Discovery), asked when it is needed and kept for a
//! while. A provider that is away when the console starts is no reason not to start.

use std::{sync::Arc, time::Duration};

use http::{Request, StatusCode, header::ACCEPT};
use oauth2::{AuthType, AuthUrl, TokenUrl};
use serde::Deserialize;
use tokio::{sync::Mutex, time::Instant};

use super::{error::OidcError, http::Http, settings::Issuer};

/// How long what it said counts.
const KEPT: Duration = Duration::from_hours(1);
/// How long nobody asks again after a failure.
const PAUSE: Duration = Duration::from_secs(5);

/// What of it counts here.
#[derive(Clone)]
pub(super) struct Metadata {
    pub(super) authorization: AuthUrl,
    pub(super) token: TokenUrl,
    /// How a client proves itself.
    pub(super) auth: AuthType,
    /// Does an answer name its issuer (RFC 9207)?
    pub(super) names_issuer: bool,
}

#[derive(Deserialize)]
struct Document {
    issuer: String,
    authorization_endpoint: String,
    token_endpoint: String,
    #[serde(default)]
    token_endpoint_auth_methods_supported: Option<Vec<String>>,
    #[serde(default)]
    authorization_response_iss_parameter_supported: bool,
}

type Outcome = Result<Arc<Metadata>, OidcError>;

/// The last answer: one, however many users wait for it.
#[derive(Default)]
pub(super) struct Discovery(Mutex<Option<(Instant, Outcome)>>);

impl Discovery {
    /// What the provider said, not long ago.
    pub(super) async fn metadata(&self, http: &Http, issuer: &Issuer) -> Outcome {
        let mut last = self.0.lock().await;
        if let Some((asked, outcome)) = &*last {
            let counts = if outcome.is_ok() { KEPT } else { PAUSE };
            if asked.elapsed() < counts {
                return outcome.clone();
            }
        }
        let outcome = ask(http, issuer).await.map(Arc::new);
        if let Err(error) = &outcome {
            tracing::warn!(issuer = issuer.as_str(), %error, "no discovery of the identity provider");
        }
        *last = Some((Instant::now(), outcome.clone()));
        outcome
    }
}

async fn ask(http: &Http, issuer: &Issuer) -> Result<Metadata, OidcError> {
    let request = Request::get(issuer.discovery()).header(ACCEPT, "application/json");
    let request = request.body(Vec::new()).map_err(|e| OidcError::Answer(e.to_string()))?;
    let answer = http.send(request).await?;
    if answer.status() != StatusCode::OK {
        let at = issuer.discovery();
        return Err(OidcError::Answer(format!("{at} has status {}", answer.status())));
    }
    read(answer.body(), issuer).map_err(|why| OidcError::Answer(format!("its discovery {why}")))
}

fn read(body: &[u8], issuer: &Issuer) -> Result<Metadata, String> {
    let document: Document =
        serde_json::from_slice(body).map_err(|error| format!("cannot be read: {error}"))?;
    if document.issuer != issuer.as_str() {
        let configured = issuer.as_str();
        return Err(format!("is of {:?}, and {configured:?} is configured", document.issuer));
    }
    for url in [&document.authorization_endpoint, &document.token_endpoint] {
        if !url.starts_with("https://") {
            return Err(format!("has an endpoint that is not https: {url}"));
        }
    }
    // Basic is what every provider takes that says nothing (OpenID Connect Discovery, 3).
    let methods = document.token_endpoint_auth_methods_supported.unwrap_or_default();
    let has = |method: &str| methods.iter().any(|one| one == method);
    let is_by_body = !has("client_secret_basic") && has("client_secret_post");
    let wrong = |error: oauth2::url::ParseError| format!("has an endpoint that is no URL: {error}");
    Ok(Metadata {
        authorization: AuthUrl::new(document.authorization_endpoint).map_err(wrong)?,
        token: TokenUrl::new(document.token_endpoint).map_err(wrong)?,
        auth: if is_by_body { AuthType::RequestBody } else { AuthType::BasicAuth },
        names_issuer: document.authorization_response_iss_parameter_supported,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::{Value, json};

    use super::*;

    fn document(changes: &Value) -> Result<Metadata, String> {
        let mut document = json!({
            "issuer": "https://i.example",
            "authorization_endpoint": "https://i.example/authorize?tenant=a",
            "token_endpoint": "https://i.example/token",
            "jwks_uri": "https://i.example/keys",
        });
        for (name, value) in changes.as_object().unwrap() {
            document[name] = value.clone();
        }
        read(document.to_string().as_bytes(), &"https://i.example".parse().unwrap())
    }

    #[test]
    fn a_client_proves_itself_as_the_provider_takes_it() {
        let key = "token_endpoint_auth_methods_supported";
        for (changes, is_by_body) in [
            (json!({}), false),
            (json!({ key: ["client_secret_basic", "client_secret_post"] }), false),
            (json!({ key: ["client_secret_post"] }), true),
            (json!({ key: ["private_key_jwt"] }), false),
        ] {
            let found = document(&changes).unwrap();
            assert_eq!(matches!(found.auth, AuthType::RequestBody), is_by_body, "{changes}");
            assert!(!found.names_issuer);
        }
        let names = json!({ "authorization_response_iss_parameter_supported": true });
        assert!(document(&names).unwrap().names_issuer);
    }

    #[test]
    fn another_issuer_and_endpoints_in_clear_are_refused() {
        for (changes, expected) in [
            (json!({ "issuer": "https://i.example/" }), "is of \"https://i.example/\""),
            (json!({ "token_endpoint": "http://i.example/token" }), "not https"),
            (json!({ "authorization_endpoint": "javascript:alert(1)" }), "not https"),
            (json!({ "token_endpoint": "https://" }), "no URL"),
            (json!({ "token_endpoint": null }), "cannot be read"),
        ] {
            let error = document(&changes).err().unwrap();
            assert!(error.contains(expected), "{changes}: {error}");
        }
    }
}
