//! Log in by OpenID Connect: authorization code with PKCE (RFC 6749, RFC 7636), ID tokens, and their
//! renewal.
//!
//! The ID token is the user's bearer token at the API server, which judges it; the provider's access
//! token is thrown away. The client secret and the tokens are in no log line and no URL.

use std::{fmt, fs, io, path::PathBuf, sync::Arc, time::Duration};

use oauth2::{
    AuthorizationCode, Client, ClientId, ClientSecret, CsrfToken, EndpointNotSet, EndpointSet,
    ExtraTokenFields, PkceCodeChallenge, PkceCodeVerifier, RedirectUrl, RefreshToken,
    RequestTokenError, Scope, StandardRevocableToken, StandardTokenResponse, TokenResponse as _,
    basic::{
        BasicErrorResponse, BasicErrorResponseType, BasicRevocationErrorResponse,
        BasicTokenIntrospectionResponse, BasicTokenType,
    },
};
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;

use crate::{config::OidcConfig, origin::PublicUrl, session::MAX_TOKEN};

pub(crate) mod attempt;
pub(crate) mod claims;
mod discovery;
pub(crate) mod error;
mod http;
pub(crate) mod settings;

use attempt::{Attempt, path_of_page};
use claims::{Claims, ClaimsError, Expected};
use discovery::{Discovery, Metadata};
use error::OidcError;
use http::{Http, HttpError};
use settings::{Issuer, Scopes};

/// Where the provider sends the browser back to.
pub(crate) const CALLBACK: &str = "/login/callback";
/// Requests for tokens at once; further ones wait.
const MAX_EXCHANGES: usize = 16;

/// Why there is no provider.
#[derive(Debug, thiserror::Error)]
pub enum ProviderError {
    /// A file cannot be read.
    #[error("cannot read the {what} {}: {source}", path.display())]
    Unreadable {
        /// What it has.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The secret's file is empty.
    #[error("the client secret {} is empty", .0.display())]
    NoSecret(PathBuf),
    /// The authorities cannot be used.
    #[error("the authorities of the identity provider cannot be used: {0}")]
    Tls(String),
    /// The console's URL cannot be come back to.
    #[error("no URL to come back to: {0}")]
    Url(String),
}

/// The identity provider, and what the console is to it.
pub struct Provider {
    issuer: Issuer,
    name: String,
    client_id: ClientId,
    secret: Option<ClientSecret>,
    scopes: Scopes,
    redirect: RedirectUrl,
    http: Http,
    discovery: Discovery,
    exchanges: Semaphore,
}

/// What the browser comes back with.
#[derive(Deserialize)]
pub(crate) struct Callback {
    code: Option<String>,
    state: Option<String>,
    /// RFC 9207.
    iss: Option<String>,
    error: Option<String>,
    error_description: Option<String>,
}

/// What a user logs in with, and what the next is given for.
pub(crate) struct Tokens {
    pub(crate) id: String,
    pub(crate) claims: Claims,
    pub(crate) refresh: Option<String>,
}

impl Tokens {
    /// As a session can hold them: one that cannot be renewed is better than none.
    fn fitting(mut self) -> Result<Self, OidcError> {
        let (id, refresh) = (self.id.len(), self.refresh.as_ref().map_or(0, String::len));
        if id > MAX_TOKEN {
            let why =
                format!("its ID token has {id} characters, and at most {MAX_TOKEN} are possible");
            return Err(OidcError::Answer(why));
        }
        if id + refresh > MAX_TOKEN {
            tracing::warn!(
                id,
                refresh,
                "tokens too long to be renewed: the session ends with the first"
            );
            self.refresh = None;
        }
        Ok(self)
    }
}

/// What OpenID Connect adds to an answer of OAuth. Not `Debug` by itself: a token is nothing to print.
#[derive(Deserialize, Serialize)]
struct IdToken {
    id_token: Option<String>,
}

impl fmt::Debug for IdToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("IdToken")
    }
}

impl ExtraTokenFields for IdToken {}

type Answer = StandardTokenResponse<IdToken, BasicTokenType>;
type OAuth = Client<
    BasicErrorResponse,
    Answer,
    BasicTokenIntrospectionResponse,
    StandardRevocableToken,
    BasicRevocationErrorResponse,
    EndpointSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointSet,
>;

impl Provider {
    /// The one that is configured, for a console under this URL; `None` where none is.
    ///
    /// # Errors
    /// When a file of its configuration cannot be used.
    pub fn new(config: &OidcConfig, console: &PublicUrl) -> Result<Option<Self>, ProviderError> {
        let (Some(issuer), Some(client_id)) = (&config.issuer, &config.client_id) else {
            return Ok(None);
        };
        let read = |what, path: &PathBuf| {
            let unreadable =
                |source| ProviderError::Unreadable { what, path: path.clone(), source };
            fs::read_to_string(path).map_err(unreadable)
        };
        let secret = config.client_secret_file.as_ref().map(|path| {
            let text = read("client secret", path)?;
            let secret = text.trim().to_owned();
            let empty = || ProviderError::NoSecret(path.clone());
            (!secret.is_empty()).then(|| ClientSecret::new(secret)).ok_or_else(empty)
        });
        let authorities = config.ca_file.as_ref();
        let authorities =
            authorities.map(|path| read("authorities of the identity provider", path));
        let http = Http::new(authorities.transpose()?.as_ref().map(String::as_bytes));
        let redirect = RedirectUrl::new(format!("{console}{CALLBACK}"));
        Ok(Some(Self {
            issuer: issuer.clone(),
            name: config.name.clone().unwrap_or_else(|| issuer.host().to_owned()),
            client_id: ClientId::new(client_id.clone()),
            secret: secret.transpose()?,
            scopes: config.scopes.clone(),
            redirect: redirect.map_err(|error| ProviderError::Url(error.to_string()))?,
            http: http.map_err(|error| ProviderError::Tls(error.to_string()))?,
            discovery: Discovery::default(),
            exchanges: Semaphore::new(MAX_EXCHANGES),
        }))
    }

    /// What users know it by.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// What the API server has to be set up for, in its own words.
    pub(crate) fn wanted(&self) -> String {
        let (issuer, client) = (self.issuer.as_str(), self.client_id.as_str());
        format!("issuer {issuer} and audience {client:?}")
    }

    /// The URL at which a login begins, and what the browser keeps of it.
    pub(crate) async fn begin(&self, to: &str) -> Result<(String, Attempt), OidcError> {
        let oauth = self.oauth(self.metadata().await?.as_ref());
        let (challenge, verifier) = PkceCodeChallenge::new_random_sha256();
        let nonce = CsrfToken::new_random();
        let (url, state) = oauth
            .authorize_url(CsrfToken::new_random)
            .add_scopes(self.scopes.iter().map(|scope| Scope::new(scope.to_owned())))
            .add_extra_param("nonce", nonce.secret())
            .set_pkce_challenge(challenge)
            .url();
        let attempt = Attempt {
            state: state.into_secret(),
            nonce: nonce.into_secret(),
            verifier: verifier.into_secret(),
            to: path_of_page(to).to_owned(),
        };
        Ok((url.into(), attempt))
    }

    /// The tokens that an answer to this login is good for.
    pub(crate) async fn finish(
        &self,
        attempt: &Attempt,
        callback: Callback,
        now: Duration,
    ) -> Result<Tokens, OidcError> {
        if callback.state.as_deref() != Some(&attempt.state) {
            return Err(OidcError::Stale);
        }
        let metadata = self.metadata().await?;
        // An answer of another provider is believed in nothing, not even in its error.
        let is_foreign = callback
            .iss
            .as_deref()
            .map_or(metadata.names_issuer, |iss| iss != self.issuer.as_str());
        if is_foreign {
            return Err(OidcError::Answer("it does not name its issuer (RFC 9207)".to_owned()));
        }
        if let Some(error) = &callback.error {
            return Err(OidcError::refused(error, callback.error_description.as_deref()));
        }
        let code = callback.code.ok_or_else(|| OidcError::Answer("it has no code".to_owned()))?;
        let verifier = PkceCodeVerifier::new(attempt.verifier.clone());
        let oauth = self.oauth(&metadata);
        let request = oauth.exchange_code(AuthorizationCode::new(code)).set_pkce_verifier(verifier);
        // The semaphore is never closed.
        let _place = self.exchanges.acquire().await;
        let answer = request.request_async(&self.http).await;
        let (token, answer) = id_token(answer.map_err(reason)?)?;
        let claims = Claims::of(&token)?;
        claims.check_first(self.expected(), &attempt.nonce, now)?;
        let refresh = answer.refresh_token().map(|token| token.secret().clone());
        Tokens { id: token, claims, refresh }.fitting()
    }

    /// The tokens after these (OpenID Connect Core, 12).
    pub(crate) async fn renew(
        &self,
        token: &str,
        refresh: &str,
        now: Duration,
    ) -> Result<Tokens, OidcError> {
        let oauth = self.oauth(self.metadata().await?.as_ref());
        let before = RefreshToken::new(refresh.to_owned());
        let _place = self.exchanges.acquire().await;
        let request = oauth.exchange_refresh_token(&before);
        let answer = request.request_async(&self.http).await;
        let (next, answer) = id_token(answer.map_err(reason)?)?;
        let claims = Claims::of(&next)?;
        claims.check_next(self.expected(), &Claims::of(token)?, now)?;
        // One that stays is not sent again (RFC 6749, 6).
        let refresh = answer.refresh_token().map_or(refresh, |token| token.secret()).to_owned();
        Tokens { id: next, claims, refresh: Some(refresh) }.fitting()
    }

    async fn metadata(&self) -> Result<Arc<Metadata>, OidcError> {
        self.discovery.metadata(&self.http, &self.issuer).await
    }

    fn oauth(&self, metadata: &Metadata) -> OAuth {
        let client = Client::new(self.client_id.clone())
            .set_auth_uri(metadata.authorization.clone())
            .set_token_uri(metadata.token.clone())
            .set_redirect_uri(self.redirect.clone())
            .set_auth_type(metadata.auth.clone());
        match &self.secret {
            Some(secret) => client.set_client_secret(secret.clone()),
            None => client,
        }
    }

    fn expected(&self) -> Expected<'_> {
        Expected { issuer: self.issuer.as_str(), client_id: self.client_id.as_str() }
    }
}

fn id_token(answer: Answer) -> Result<(String, Answer), ClaimsError> {
    let token = answer.extra_fields().id_token.clone();
    token.map(|token| (token, answer)).ok_or(ClaimsError::Missing)
}

/// Without the bodies, in which there may be tokens.
fn reason(error: RequestTokenError<HttpError, BasicErrorResponse>) -> OidcError {
    match error {
        RequestTokenError::Request(error) => error.into(),
        RequestTokenError::ServerResponse(answer) => {
            let code: &BasicErrorResponseType = answer.error();
            let description = answer.error_description().map(String::as_str);
            OidcError::refused(code.as_ref(), description)
        }
        RequestTokenError::Parse(error, _) => {
            OidcError::Answer(format!("{} of its tokens cannot be read", error.path()))
        }
        RequestTokenError::Other(_) => OidcError::Answer("it is not one of tokens".to_owned()),
    }
}
