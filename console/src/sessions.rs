//! Users of a cluster, by their tokens: the API server judges each, and a client of each is kept for a
//! while. A token is brought by the user, or by the identity provider that the user logged in at. The
//! console has no account of its own.

use std::{
    num::NonZeroUsize,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use http::HeaderMap;
use kipper_client::{ApiError, Server, identity, invoke::Gateway};
use lru::LruCache;
use parking_lot::Mutex;
use tokio::{sync::Semaphore, time::Instant};

use crate::{
    Problem, Reason,
    backend::{
        Backend, Result,
        cluster::{Cluster, Place},
    },
    error::{Login, ProviderHint},
    oidc::{
        Callback, Provider, Tokens,
        attempt::{self, Attempt, path_of_page},
        error::OidcError,
    },
    renewals::Renewals,
    seal::{Digest, KeyError, SessionKey, digest_of},
    session::{self, MAX_TOKEN, Session},
};

/// Users whose clients are kept; the one that was used the longest ago goes.
const MAX_CLIENTS: NonZeroUsize = NonZeroUsize::new(1000).expect("not zero");
/// How long a token counts without being judged again. Each call is judged by the API server anyway.
const KEPT: Duration = Duration::from_mins(5);
/// Tokens that are judged at once: whoever guesses keeps the API server busy no further.
const MAX_REVIEWS: usize = 16;
/// Sessions that are known to have ended, for answers that began before; the one that ended first goes.
const MAX_ENDED: NonZeroUsize = NonZeroUsize::new(1000).expect("not zero");

/// The users of one cluster.
pub struct Sessions {
    server: Server,
    key: SessionKey,
    system_namespace: String,
    gateway: Gateway,
    assistant: Place,
    clients: Mutex<LruCache<Digest, Client>>,
    ended: Mutex<LruCache<Digest, ()>>,
    reviews: Semaphore,
    provider: Option<(Arc<Provider>, Renewals)>,
}

/// Where a browser goes next, and what it keeps.
pub(crate) struct Redirect {
    /// A path of the page, or the provider's URL.
    pub(crate) to: String,
    /// The cookies.
    pub(crate) cookies: HeaderMap,
}

/// A session whose token was renewed for a request that is being answered.
pub(crate) struct Renewed {
    /// Its token before, and now.
    tokens: [Digest; 2],
    cookies: HeaderMap,
}

/// A user whose token the API server took.
struct Client {
    backend: Arc<dyn Backend>,
    judged: Instant,
}

impl Sessions {
    /// For users of this cluster.
    pub fn new(server: Server, key: SessionKey, system_namespace: &str, gateway: Gateway) -> Self {
        Self {
            server,
            key,
            system_namespace: system_namespace.to_owned(),
            gateway,
            assistant: Place::default(),
            clients: Mutex::new(LruCache::new(MAX_CLIENTS)),
            ended: Mutex::new(LruCache::new(MAX_ENDED)),
            reviews: Semaphore::new(MAX_REVIEWS),
            provider: None,
        }
    }

    /// With the assistant's settings from here.
    #[must_use]
    pub fn with_assistant(self, assistant: Place) -> Self {
        Self { assistant, ..self }
    }

    /// Who may also log in at this provider.
    #[must_use]
    pub fn with_provider(self, provider: Option<Provider>) -> Self {
        let provider = provider.map(Arc::new);
        let provider = provider.map(|provider| (Arc::clone(&provider), Renewals::new(provider)));
        Self { provider, ..self }
    }

    /// The cookies of a new session.
    ///
    /// # Errors
    /// [`Reason::Unauthenticated`] when the API server does not take the token.
    pub(crate) async fn login(&self, token: &str) -> Result<HeaderMap> {
        if token.is_empty() || token.len() > MAX_TOKEN {
            let wrong = format!("must have 1 to {MAX_TOKEN} characters");
            return Err(Problem::field("token", wrong));
        }
        self.judge(token).await?;
        self.session(token.to_owned(), None)
    }

    /// Leads a browser to the identity provider, from where it comes back to `to`.
    ///
    /// # Errors
    /// [`Reason::Unsupported`] without one.
    pub(crate) async fn begin_login(&self, to: &str) -> Result<Redirect> {
        match self.provider()?.begin(to).await {
            Ok((url, attempt)) => {
                let cookies = attempt.cookie(&self.key, now()).map_err(internal)?;
                Ok(Redirect { to: url, cookies })
            }
            Err(error) => self.failed(path_of_page(to), &error.to_string()),
        }
    }

    /// Leads a browser from the identity provider back to the page: with a session, or with the reason
    /// why there is none.
    ///
    /// # Errors
    /// [`Reason::Unsupported`] without a provider.
    pub(crate) async fn finish_login(
        &self,
        headers: &HeaderMap,
        callback: Callback,
    ) -> Result<Redirect> {
        let provider = self.provider()?;
        let Some(attempt) = Attempt::of(headers, &self.key, now()) else {
            return self.failed("/", &OidcError::Stale.to_string());
        };
        let tokens = match provider.finish(&attempt, callback, now()).await {
            Ok(tokens) => tokens,
            // The cookie is that of a login in another tab, which goes on.
            Err(OidcError::Stale) => {
                return Ok(Redirect { to: "/".to_owned(), cookies: HeaderMap::new() });
            }
            Err(error) => return self.failed(&attempt.to, &error.to_string()),
        };
        if let Err(problem) = self.judge(&tokens.id).await {
            let why = match problem.reason {
                Reason::Unauthenticated => not_taken(provider, &tokens),
                _ => problem.error,
            };
            return self.failed(&attempt.to, &why);
        }
        let mut cookies = self.session(tokens.id, tokens.refresh)?;
        attempt::end(&mut cookies);
        Ok(Redirect { to: attempt.to, cookies })
    }

    /// Ends the session of a request; what takes its cookies away.
    pub(crate) fn logout(&self, headers: &HeaderMap) -> HeaderMap {
        if let Some(token) = self.forget(headers) {
            self.ended.lock().put(token, ());
        }
        session::no_cookies()
    }

    /// A call was refused before the token was to be judged again.
    pub(crate) fn not_accepted(&self, headers: &HeaderMap) -> Problem {
        // It may do so again: the session does not end with that.
        self.forget(headers);
        let error = "the cluster no longer accepts the token of this session; log in again";
        self.unauthenticated(error, None)
    }

    /// The token of the session that was forgotten.
    fn forget(&self, headers: &HeaderMap) -> Option<Digest> {
        let session = Session::of(headers, &self.key, now())?;
        let token = digest_of(&session.token);
        self.clients.lock().pop(&token);
        if let Some((_, renewals)) = &self.provider {
            renewals.forget(&session);
        }
        Some(token)
    }

    /// The functions of whoever sent this header, and their session where its token was renewed.
    ///
    /// # Errors
    /// [`Reason::Unauthenticated`] without a session, and when its token does not count any more.
    pub(crate) async fn enter(
        &self,
        headers: &HeaderMap,
    ) -> Result<(Arc<dyn Backend>, Option<Renewed>)> {
        let Some(mut session) = Session::of(headers, &self.key, now()) else {
            let failure = attempt::failure(headers, &self.key, now());
            return Err(self.unauthenticated("log in to the cluster", failure));
        };
        let mut renewed = None;
        if let Some(next) = self.renewed(&session).await? {
            let tokens = [digest_of(&session.token), digest_of(&next.token)];
            let cookies = next.cookies(&self.key).map_err(internal)?;
            renewed = Some(Renewed { tokens, cookies });
            session = next;
        }
        let backend = match self.kept(&session.token) {
            Some(backend) => backend,
            None => self.judge(&session.token).await?,
        };
        Ok((backend, renewed))
    }

    /// What makes a browser keep a session that was renewed, unless the session has ended meanwhile: an
    /// answer that began before a logout must not bring it back.
    pub(crate) fn cookies(&self, renewed: Renewed) -> HeaderMap {
        let ended = self.ended.lock();
        let has_ended = renewed.tokens.iter().any(|token| ended.contains(token));
        if has_ended { HeaderMap::new() } else { renewed.cookies }
    }

    async fn renewed(&self, session: &Session) -> Result<Option<Session>> {
        let Some((_, renewals)) = &self.provider else { return Ok(None) };
        renewals.next(session, now()).await.map_err(|error| match error {
            OidcError::Unreachable(_) => Problem::new(Reason::Unreachable, error.to_string()),
            _ => self.unauthenticated(&format!("log in again: {error}"), None),
        })
    }

    /// What users know the provider by.
    pub(crate) fn provider_name(&self) -> Option<&str> {
        self.provider.as_ref().map(|(provider, _)| provider.name())
    }

    fn provider(&self) -> Result<&Provider> {
        let error = "this console has no identity provider; log in with a token";
        let missing = || Problem::new(Reason::Unsupported, error);
        self.provider.as_ref().map(|(provider, _)| &**provider).ok_or_else(missing)
    }

    fn session(&self, token: String, refresh: Option<String>) -> Result<HeaderMap> {
        Session::new(token, refresh, now()).cookies(&self.key).map_err(internal)
    }

    fn failed(&self, to: &str, why: &str) -> Result<Redirect> {
        let cookies = attempt::failed(why, &self.key, now()).map_err(internal)?;
        Ok(Redirect { to: to.to_owned(), cookies })
    }

    /// Nobody is logged in; how one can.
    fn unauthenticated(&self, error: &str, failure: Option<String>) -> Problem {
        let hint = |name: &str| Box::new(ProviderHint { name: name.to_owned(), failure });
        let provider = self.provider_name().map(hint);
        Problem { provider, ..Problem::unauthenticated(Login::Token, error) }
    }

    fn kept(&self, token: &str) -> Option<Arc<dyn Backend>> {
        let mut clients = self.clients.lock();
        let client = clients.get(&digest_of(token))?;
        (client.judged.elapsed() < KEPT).then(|| Arc::clone(&client.backend))
    }

    /// Asks the API server whose token this is.
    async fn judge(&self, token: &str) -> Result<Arc<dyn Backend>> {
        let digest = digest_of(token);
        let refused = || self.unauthenticated("the cluster does not accept this token", None);
        let connection = self.server.connection(token).map_err(|_| refused())?;
        // The semaphore is never closed.
        let _place = self.reviews.acquire().await;
        let user = match identity::user(&connection).await {
            Ok(user) if !user.is_empty() => user,
            Ok(_) | Err(ApiError::Unauthorized) => {
                self.clients.lock().pop(&digest);
                return Err(refused());
            }
            Err(error) => return Err(error.into()),
        };
        let backend = Cluster::new(connection, &user, self.gateway.clone())
            .with_system_namespace(&self.system_namespace)
            .with_assistant(self.assistant.clone());
        let backend: Arc<dyn Backend> = Arc::new(backend);
        let client = Client { backend: Arc::clone(&backend), judged: Instant::now() };
        self.clients.lock().put(digest, client);
        Ok(backend)
    }
}

/// What has to be set up where the API server refuses a token of the provider.
fn not_taken(provider: &Provider, tokens: &Tokens) -> String {
    format!(
        "the cluster does not accept the ID token ({}): its API server has to trust {}, and to take the \
         user's name from a claim that the token has",
        tokens.claims.user(),
        provider.wanted(),
    )
}

fn internal(error: KeyError) -> Problem {
    Problem::new(Reason::Internal, error.to_string())
}

/// The Unix time; a clock before 1970 ends no session.
fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use kipper_api_server::{ApiServer, Asked};

    use super::*;

    fn sessions(api: &ApiServer) -> Sessions {
        let server = Server::at(api.url().parse().unwrap());
        Sessions::new(server, SessionKey::random().unwrap(), "kipper-system", Gateway::default())
    }

    fn is_ada(asked: Asked) {
        asked.answer(201, r#"{"metadata":{},"status":{"userInfo":{"username":"ada"}}}"#);
    }

    async fn judged(sessions: &Sessions, api: &mut ApiServer, token: &str) {
        let (found, ()) = tokio::join!(sessions.judge(token), async { is_ada(api.asked().await) });
        assert!(found.is_ok(), "{token}");
    }

    #[tokio::test]
    async fn clients_are_bounded_and_the_one_unused_the_longest_goes() {
        let mut api = ApiServer::start().await;
        let sessions = sessions(&api);
        sessions.clients.lock().resize(NonZeroUsize::new(2).unwrap());
        judged(&sessions, &mut api, "a").await;
        judged(&sessions, &mut api, "b").await;
        assert!(sessions.kept("a").is_some());
        judged(&sessions, &mut api, "c").await;
        let kept = ["a", "b", "c"].map(|token| sessions.kept(token).is_some());
        assert_eq!(kept, [true, false, true]);
    }

    #[tokio::test]
    async fn a_client_is_judged_again_after_a_while() {
        let mut api = ApiServer::start().await;
        let sessions = sessions(&api);
        judged(&sessions, &mut api, "a").await;
        let client = |age| {
            let judged = Instant::now().checked_sub(age).unwrap();
            let backend = sessions.kept("a").unwrap();
            Client { backend, judged }
        };
        let young = client(KEPT / 2);
        let old = client(KEPT);
        sessions.clients.lock().put(digest_of("a"), young);
        assert!(sessions.kept("a").is_some());
        sessions.clients.lock().put(digest_of("a"), old);
        assert!(sessions.kept("a").is_none());
    }
}
