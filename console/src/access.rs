//! Who asks: the user of this machine, known by the token of this run.
//!
//! The token is in the fragment of the URL that was printed, which no browser sends, and comes back as
//! `Authorization: Bearer`. Cookies would not do on this machine: they know no ports, so every local
//! server would get them.

use std::sync::Arc;

use http::{HeaderMap, header::AUTHORIZATION};

use crate::{
    Problem, Reason,
    backend::{Backend, Result},
};

/// How requests are told apart.
#[derive(Clone)]
pub struct Access {
    digest: ring::digest::Digest,
    backend: Arc<dyn Backend>,
}

impl Access {
    /// Whoever has the token is the one user of this backend.
    pub fn token(token: &str, backend: Arc<dyn Backend>) -> Self {
        Self { digest: digest(token.as_bytes()), backend }
    }

    /// The functions of whoever sent this header.
    ///
    /// # Errors
    /// [`Reason::Unauthenticated`] without a token, and with a wrong one.
    pub(crate) fn backend(&self, headers: &HeaderMap) -> Result<Arc<dyn Backend>> {
        let given = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let Some(token) = given.and_then(|value| value.strip_prefix("Bearer ")) else {
            let error = "open the console by the URL that was printed when it started";
            return Err(Problem::new(Reason::Unauthenticated, error));
        };
        // Digests are compared, so that the time it takes says nothing of the token.
        if digest(token.as_bytes()).as_ref() == self.digest.as_ref() {
            return Ok(Arc::clone(&self.backend));
        }
        let error = "this URL is of a console that ran before; open the one that was printed last";
        Err(Problem::new(Reason::Unauthenticated, error))
    }
}

fn digest(bytes: &[u8]) -> ring::digest::Digest {
    ring::digest::digest(&ring::digest::SHA256, bytes)
}
