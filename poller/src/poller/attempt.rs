//! The attempts: deliveries, and what goes before another one. An event that waited since it failed is
//! read again first: who mends a row meanwhile must not meet the row as it was.

use std::{sync::Arc, time::SystemTime};

use bytes::Bytes;
use futures_util::FutureExt as _;
use tokio::time::Instant;

use super::{
    Claim, Poller,
    calls::{DeliveryEnded, RereadEnded},
};
use crate::{
    dispatcher::Held,
    source::{Event, Reread, Source, SourceError},
    target::Delivery,
};

impl<S: Source> Poller<S> {
    /// Delivers an event, as it is now.
    pub(super) fn attempt(&mut self, held: Held<Claim<S>>) {
        if !held.is_stale {
            return self.start_delivery(held);
        }
        let source = Arc::clone(&self.source);
        self.calls.rereads.push(
            async move {
                let result = source.reread(&held.event).await;
                RereadEnded { held, result }
            }
            .boxed(),
        );
    }

    /// Takes in what an event is by now.
    pub(super) fn reread(&mut self, ended: RereadEnded<Claim<S>>) {
        let RereadEnded { mut held, result } = ended;
        let now = Instant::now();
        let key = held.event.key.clone();
        let mut fits = true;
        match result {
            Ok(Reread::Same) => {}
            Ok(Reread::Changed(event)) => fits = self.replace(&mut held, event),
            Ok(Reread::Gone) => {
                tracing::info!(%key, "not delivered again: it does not match any more");
                self.dispatcher.gone();
                return self.to_release.push(held.event);
            }
            Err(error) => {
                let held = self.dispatcher.unread(held, now);
                if matches!(error, SourceError::Lost(_)) {
                    // The session has released it.
                    self.forget(&[held.event]);
                } else {
                    self.give_back(vec![held]);
                }
                return self.failed("reread", &error, now);
            }
        }
        let may = self.may_hold() && self.rescuer.claims() && !self.lost_claims.contains(&key);
        if may && fits {
            self.start_delivery(held);
        } else {
            // Its next claim is within the bounds again.
            let held = self.dispatcher.unread(held, now);
            self.give_back(vec![held]);
        }
    }

    /// False where it has grown beyond what may be held beside others.
    fn replace(&mut self, held: &mut Held<Claim<S>>, event: Event<Claim<S>>) -> bool {
        let bytes = self.held_bytes - held.event.body.len() + event.body.len();
        if bytes > self.settings.max_held_bytes && self.held.len() > 1 {
            return false;
        }
        let event = Arc::new(event);
        self.held_bytes = bytes;
        self.held.insert(event.key.clone(), Arc::clone(&event));
        held.event = event;
        true
    }

    fn start_delivery(&mut self, held: Held<Claim<S>>) {
        let delivery = self.delivery(&held);
        let target = Arc::clone(&self.target);
        self.calls.deliveries.push(
            async move {
                let begin = Instant::now();
                let outcome = target.deliver(&delivery).await;
                DeliveryEnded { held, outcome, took: begin.elapsed() }
            }
            .boxed(),
        );
    }

    fn delivery(&self, held: &Held<Claim<S>>) -> Delivery {
        Delivery {
            id: self.identity.id(&held.event.key),
            source: self.identity.source.clone(),
            kind: self.identity.kind.clone(),
            time: self.identity.time(SystemTime::now()),
            attempt: held.attempts + 1,
            body: Bytes::clone(&held.event.body),
        }
    }
}
