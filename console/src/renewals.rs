//! Sessions whose token ends soon get the next one from the identity provider: once, however many
//! requests of a page are on their way with the same session.
//!
//! A provider may take each refresh token only once. So what came of it is kept for whoever comes with the
//! session from before, and a renewal that has begun goes on when its request is gone.

use std::{num::NonZeroUsize, sync::Arc, time::Duration};

use lru::LruCache;
use parking_lot::Mutex;
use tokio::{sync::Mutex as AsyncMutex, time::Instant};

use crate::{
    oidc::{Provider, claims::Claims, error::OidcError},
    seal::{Digest, digest_of},
    session::Session,
};

/// Renewals whose outcome is kept; the one that was asked for the longest ago goes.
const MAX_RENEWALS: NonZeroUsize = NonZeroUsize::new(1000).expect("not zero");
/// How long before its end a token is renewed.
const AHEAD: Duration = Duration::from_secs(30);
/// How long nobody asks again after a failure.
const PAUSE: Duration = Duration::from_secs(5);

type Outcome = Result<Session, OidcError>;
type Renewal = Arc<AsyncMutex<Option<(Instant, Outcome)>>>;

/// Those of all users.
pub(crate) struct Renewals {
    provider: Arc<Provider>,
    /// By the refresh token.
    last: Mutex<LruCache<Digest, Renewal>>,
}

impl Renewals {
    /// By this provider.
    pub(crate) fn new(provider: Arc<Provider>) -> Self {
        Self { provider, last: Mutex::new(LruCache::new(MAX_RENEWALS)) }
    }

    /// What follows a session whose token ends soon; `None` where it may go on as it is.
    ///
    /// # Errors
    /// When the token has ended and there is no other.
    pub(crate) async fn next(
        &self,
        session: &Session,
        now: Duration,
    ) -> Result<Option<Session>, OidcError> {
        if session.refresh.is_none() || !ends_soon(session, now) {
            return Ok(None);
        }
        match self.renewed(session.clone(), now).await {
            Ok(next) => Ok(Some(next)),
            Err(_) if now < end(session) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Forgets what followed a session.
    pub(crate) fn forget(&self, session: &Session) {
        if let Some(refresh) = &session.refresh {
            self.last.lock().pop(&digest_of(refresh));
        }
    }

    async fn renewed(&self, session: Session, now: Duration) -> Outcome {
        let provider = Arc::clone(&self.provider);
        let renewal = self.of(&session);
        let renewing = tokio::spawn(async move {
            let mut last = renewal.lock().await;
            let outcome = match &*last {
                Some((_, Ok(next))) if !ends_soon(next, now) => return Ok(next.clone()),
                Some((at, Err(error))) if at.elapsed() < PAUSE => return Err(error.clone()),
                // Its browser never got the session in between.
                Some((_, Ok(next))) => renew(&provider, next, now).await,
                _ => renew(&provider, &session, now).await,
            };
            if let Err(error) = &outcome {
                tracing::warn!(%error, "a session's token was not renewed");
            }
            *last = Some((Instant::now(), outcome.clone()));
            outcome
        });
        renewing.await.unwrap_or_else(|error| Err(OidcError::Unreachable(error.to_string())))
    }

    fn of(&self, session: &Session) -> Renewal {
        let digest = digest_of(session.refresh.as_deref().unwrap_or_default());
        Arc::clone(self.last.lock().get_or_insert(digest, Renewal::default))
    }
}

async fn renew(provider: &Provider, session: &Session, now: Duration) -> Outcome {
    let refresh = session.refresh.as_deref().unwrap_or_default();
    let tokens = provider.renew(&session.token, refresh, now).await?;
    Ok(session.renewed(tokens.id, tokens.refresh))
}

fn ends_soon(session: &Session, now: Duration) -> bool {
    end(session) <= now + AHEAD
}

/// When its token ends; one that cannot be read has ended.
fn end(session: &Session) -> Duration {
    Claims::of(&session.token).map(|claims| claims.end()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
    use serde_json::json;

    use super::*;
    use crate::config::OidcConfig;

    const NOW: Duration = Duration::from_secs(1_800_000_000);
    const LIFETIME: Duration = Duration::from_secs(300);

    /// By a provider that is away.
    fn renewals() -> Renewals {
        let config = OidcConfig {
            issuer: Some("https://127.0.0.1:1".parse().unwrap()),
            client_id: Some("kipper".to_owned()),
            client_secret_file: None,
            scopes: "openid".parse().unwrap(),
            ca_file: None,
            name: None,
        };
        let provider = Provider::new(&config, &"https://c.example".parse().unwrap());
        Renewals::new(Arc::new(provider.unwrap().unwrap()))
    }

    fn session(refresh: Option<&str>) -> Session {
        let end = (NOW + LIFETIME).as_secs();
        let claims = json!({ "iss": "https://127.0.0.1:1", "sub": "1", "aud": "a", "exp": end });
        let token = format!("e30.{}.c2ln", BASE64_URL_SAFE_NO_PAD.encode(claims.to_string()));
        Session::new(token, refresh.map(str::to_owned), NOW)
    }

    #[tokio::test]
    async fn a_token_is_renewed_when_it_ends_soon_and_goes_on_until_it_has_ended() {
        let renewals = renewals();
        let session = session(Some("refresh"));
        let end = NOW + LIFETIME;
        let known = |renewals: &Renewals| renewals.last.lock().len();
        assert_eq!(renewals.next(&session, end - AHEAD - Duration::from_secs(1)).await, Ok(None));
        assert_eq!(known(&renewals), 0);
        assert_eq!(renewals.next(&session, end - AHEAD).await, Ok(None));
        assert_eq!(known(&renewals), 1);
        let ended = renewals.next(&session, end).await;
        assert!(matches!(ended, Err(OidcError::Unreachable(_))), "{ended:?}");
        renewals.forget(&session);
        assert_eq!(known(&renewals), 0);
    }

    #[tokio::test]
    async fn a_session_without_a_refresh_token_goes_on_as_it_is() {
        let renewals = renewals();
        assert_eq!(renewals.next(&session(None), NOW + LIFETIME).await, Ok(None));
    }
}
