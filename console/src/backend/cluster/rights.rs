//! What a user may do with the functions of a namespace, asked beforehand: so that nobody fills in a form
//! in vain. The API server judges each call all the same.

use std::{num::NonZeroUsize, time::Duration};

use kipper_client::{Connection, rights};
use lru::LruCache;
use parking_lot::Mutex;
use tokio::time::Instant;

/// Rights that are remembered; the one that was used the longest ago goes.
const MAX_ANSWERS: NonZeroUsize = NonZeroUsize::new(200).expect("not zero");
/// How long a yes counts: who loses a right is told by the call. A no counts once, so that whoever is
/// given a right has it at once.
const KEPT: Duration = Duration::from_secs(30);

/// What is done with functions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Act {
    Create,
    Change,
}

impl Act {
    /// As a rule of RBAC says it: by which call it is done.
    fn verb(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Change => "patch",
        }
    }
}

/// The rights of one user.
pub(super) struct Rights(Mutex<LruCache<(String, Act), Instant>>);

impl Default for Rights {
    fn default() -> Self {
        Self(Mutex::new(LruCache::new(MAX_ANSWERS)))
    }
}

impl Rights {
    /// Why the user may not do it in the connection's namespace, if so.
    pub(super) async fn refusal(&self, connection: &Connection, act: Act) -> Option<String> {
        let is_allowed = self.is_allowed(connection, act).await;
        let (what, namespace) = (format!("{act:?}").to_lowercase(), &connection.namespace);
        let refusal =
            || format!("your account may not {what} functions of the namespace {namespace}");
        (!is_allowed).then(refusal)
    }

    async fn is_allowed(&self, connection: &Connection, act: Act) -> bool {
        let key = (connection.namespace.clone(), act);
        if self.0.lock().get(&key).is_some_and(|allowed| allowed.elapsed() < KEPT) {
            return true;
        }
        // Without an answer, the call itself will tell.
        let Ok(is_allowed) = rights::may(connection, act.verb()).await else { return true };
        if is_allowed {
            self.0.lock().put(key, Instant::now());
        }
        is_allowed
    }
}
