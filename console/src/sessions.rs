//! Users of a cluster, by their tokens: the API server judges each, and a client of each is kept for a
//! while. The console has no account of its own.

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
    backend::{Backend, Result, cluster::Cluster},
    error::Login,
    session::{self, MAX_TOKEN, SessionKey},
};

/// Users whose clients are kept; the one that was used the longest ago goes.
const MAX_CLIENTS: NonZeroUsize = NonZeroUsize::new(1000).expect("not zero");
/// How long a token counts without being judged again. Each call is judged by the API server anyway.
const KEPT: Duration = Duration::from_mins(5);
/// Tokens that are judged at once: whoever guesses keeps the API server busy no further.
const MAX_REVIEWS: usize = 16;

type Digest = [u8; ring::digest::SHA256_OUTPUT_LEN];

/// The users of one cluster.
pub struct Sessions {
    server: Server,
    key: SessionKey,
    system_namespace: String,
    gateway: Gateway,
    clients: Mutex<LruCache<Digest, Client>>,
    reviews: Semaphore,
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
            clients: Mutex::new(LruCache::new(MAX_CLIENTS)),
            reviews: Semaphore::new(MAX_REVIEWS),
        }
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
        let cookies = self.key.cookies(token, now());
        cookies.map_err(|error| Problem::new(Reason::Internal, error.to_string()))
    }

    /// Forgets the session of a request; what takes its cookies away.
    pub(crate) fn logout(&self, headers: &HeaderMap) -> HeaderMap {
        if let Some(token) = self.key.token(headers, now()) {
            self.clients.lock().pop(&digest(&token));
        }
        session::no_cookies()
    }

    /// The functions of whoever sent this header.
    ///
    /// # Errors
    /// [`Reason::Unauthenticated`] without a session, and when its token does not count any more.
    pub(crate) async fn backend(&self, headers: &HeaderMap) -> Result<Arc<dyn Backend>> {
        let Some(token) = self.key.token(headers, now()) else {
            let error = "log in with a token of your account in the cluster";
            return Err(Problem::unauthenticated(Login::Token, error));
        };
        if let Some(backend) = self.kept(&token) {
            return Ok(backend);
        }
        self.judge(&token).await
    }

    fn kept(&self, token: &str) -> Option<Arc<dyn Backend>> {
        let mut clients = self.clients.lock();
        let client = clients.get(&digest(token))?;
        (client.judged.elapsed() < KEPT).then(|| Arc::clone(&client.backend))
    }

    /// Asks the API server whose token this is.
    async fn judge(&self, token: &str) -> Result<Arc<dyn Backend>> {
        let digest = digest(token);
        let refused =
            || Problem::unauthenticated(Login::Token, "the cluster does not accept this token");
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
            .with_system_namespace(&self.system_namespace);
        let backend: Arc<dyn Backend> = Arc::new(backend);
        let client = Client { backend: Arc::clone(&backend), judged: Instant::now() };
        self.clients.lock().put(digest, client);
        Ok(backend)
    }
}

fn digest(token: &str) -> Digest {
    let mut bytes = Digest::default();
    bytes.copy_from_slice(ring::digest::digest(&ring::digest::SHA256, token.as_bytes()).as_ref());
    bytes
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
        sessions.clients.lock().put(digest("a"), young);
        assert!(sessions.kept("a").is_some());
        sessions.clients.lock().put(digest("a"), old);
        assert!(sessions.kept("a").is_none());
    }
}
