//! Who is believed what: one token for each namespace.
//!
//! A service has one token for all its buckets; a token says for which namespace's functions its holder
//! speaks. It is derived from the adapter's key ([`kipper_trigger::token::webhook`]), so nothing is stored. Whoever comes with the
//! key itself speaks for everybody, as all services once did, and is believed nothing: what it says only
//! makes the buckets be listed.

use std::sync::{Arc, Mutex, PoisonError};

use kipper_trigger::token;

use crate::{
    config::WebhookToken,
    trigger::{BucketTrigger, Triggers},
};

/// Who sent a notification.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Sender {
    /// A service, for the functions of this namespace.
    Of(Arc<str>),
    /// Somebody who has the key.
    Anyone,
}

impl Sender {
    /// Whether it has something to say about this trigger's bucket.
    pub(crate) fn speaks_for(&self, trigger: &BucketTrigger) -> bool {
        match self {
            Self::Anyone => true,
            Self::Of(namespace) => **namespace == *trigger.namespace,
        }
    }
}

struct Known {
    token: WebhookToken,
    sender: Sender,
}

/// Everybody who may send notifications.
pub(crate) struct Senders {
    key: WebhookToken,
    triggers: Mutex<Triggers>,
    /// Made of the triggers when these change.
    known: Mutex<Arc<[Known]>>,
}

impl Senders {
    pub(crate) fn new(key: WebhookToken, mut triggers: Triggers) -> Self {
        triggers.mark_changed();
        Self { key, triggers: Mutex::new(triggers), known: Mutex::new(Arc::from([])) }
    }

    /// Whose bearer token this is.
    pub(crate) fn of(&self, bearer: &[u8]) -> Option<Sender> {
        if self.key.is(bearer) {
            return Some(Sender::Anyone);
        }
        let known = self.known();
        known.iter().find(|known| known.token.is(bearer)).map(|known| known.sender.clone())
    }

    fn known(&self) -> Arc<[Known]> {
        let mut triggers = self.triggers.lock().unwrap_or_else(PoisonError::into_inner);
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        // Also true when nobody is left who could change them.
        if triggers.has_changed().unwrap_or(known.is_empty()) {
            let now = triggers.borrow_and_update().clone();
            *known = self.derive(now.as_deref().unwrap_or_default());
        }
        Arc::clone(&known)
    }

    fn derive(&self, triggers: &[BucketTrigger]) -> Arc<[Known]> {
        let mut namespaces: Vec<&str> =
            triggers.iter().map(|trigger| &*trigger.namespace).collect();
        namespaces.sort_unstable();
        namespaces.dedup();
        let known = namespaces.into_iter().map(|namespace| Known {
            token: token::webhook(self.key.key(), namespace).as_str().into(),
            sender: Sender::Of(namespace.into()),
        });
        known.collect()
    }
}
