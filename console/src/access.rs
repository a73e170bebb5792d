//! Who asks: the user of this machine, known by the token of this run, or a user of a cluster, known by a
//! session.
//!
//! The token of a run is in the fragment of the URL that was printed, which no browser sends, and comes
//! back as `Authorization: Bearer`. Cookies would not do on this machine: they know no ports, so every
//! local server would get them. On a cluster it is the other way round: the page keeps nothing.

use std::sync::Arc;

use http::{HeaderMap, header::AUTHORIZATION};

use crate::{
    Problem, Reason,
    backend::{Backend, Result},
    error::Login,
    sessions::{Renewed, Sessions},
};

/// How requests are told apart.
#[derive(Clone)]
pub struct Access(Way);

#[derive(Clone)]
enum Way {
    Run { digest: ring::digest::Digest, backend: Arc<dyn Backend> },
    Sessions(Arc<Sessions>),
}

impl Access {
    /// Whoever has the token is the one user of this backend.
    pub fn token(token: &str, backend: Arc<dyn Backend>) -> Self {
        Self(Way::Run { digest: digest(token.as_bytes()), backend })
    }

    /// Users of a cluster log in.
    pub fn sessions(sessions: Sessions) -> Self {
        Self(Way::Sessions(Arc::new(sessions)))
    }

    /// The functions of whoever sent this header, and their session where its token was renewed.
    ///
    /// # Errors
    /// [`Reason::Unauthenticated`] without a token or session, and with a wrong one.
    pub(crate) async fn enter(
        &self,
        headers: &HeaderMap,
    ) -> Result<(Arc<dyn Backend>, Option<Renewed>)> {
        match &self.0 {
            Way::Run { digest, backend } => {
                of_run(digest, headers)?;
                Ok((Arc::clone(backend), None))
            }
            Way::Sessions(sessions) => sessions.enter(headers).await,
        }
    }

    /// What the answer to a request adds to what its browser keeps; asked when the answer is there.
    pub(crate) fn cookies(&self, renewed: Option<Renewed>) -> HeaderMap {
        match (&self.0, renewed) {
            (Way::Sessions(sessions), Some(renewed)) => sessions.cookies(renewed),
            _ => HeaderMap::new(),
        }
    }

    /// What users log in with, and the name of the identity provider if there is one.
    pub(crate) fn login(&self) -> (Login, Option<&str>) {
        match &self.0 {
            Way::Run { .. } => (Login::Url, None),
            Way::Sessions(sessions) => (Login::Token, sessions.provider_name()),
        }
    }

    /// What the user is told whose credentials the cluster does not accept. A session has ended with that;
    /// on this machine another login would change nothing.
    pub(crate) fn not_accepted(&self, headers: &HeaderMap, words: String) -> Problem {
        match &self.0 {
            Way::Sessions(sessions) => sessions.not_accepted(headers),
            Way::Run { .. } => Problem::new(Reason::Forbidden, words),
        }
    }

    /// What users log in to.
    ///
    /// # Errors
    /// [`Reason::Unsupported`] where the URL is all it takes.
    pub(crate) fn of_sessions(&self) -> Result<&Sessions> {
        match &self.0 {
            Way::Sessions(sessions) => Ok(sessions),
            Way::Run { .. } => {
                let error = "this console has no sessions; open it by the URL that was printed";
                Err(Problem::new(Reason::Unsupported, error))
            }
        }
    }
}

fn of_run(expected: &ring::digest::Digest, headers: &HeaderMap) -> Result<()> {
    let given = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let Some(token) = given.and_then(|value| value.strip_prefix("Bearer ")) else {
        let error = "open the console by the URL that was printed when it started";
        return Err(Problem::unauthenticated(Login::Url, error));
    };
    // Digests are compared, so that the time it takes says nothing of the token.
    if digest(token.as_bytes()).as_ref() == expected.as_ref() {
        return Ok(());
    }
    let error = "this URL is of a console that ran before; open the one that was printed last";
    Err(Problem::unauthenticated(Login::Url, error))
}

fn digest(bytes: &[u8]) -> ring::digest::Digest {
    ring::digest::digest(&ring::digest::SHA256, bytes)
}
