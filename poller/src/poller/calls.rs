//! The calls that are under way, at most one of each kind, and how each of them ended.

use std::{future::pending, sync::Arc, time::Duration};

use futures_util::{future::BoxFuture, stream::FuturesUnordered};

use crate::{
    completer::Work,
    dispatcher::Held,
    rescuer::Task,
    source::{Claimed, Digest, Event, Key, Mark, Reread, SourceError},
    target::Outcome,
};

pub(super) type Call<T> = Option<BoxFuture<'static, T>>;
/// Suppressed events that ask to be delivered, with their state.
pub(super) type Peeked = Vec<(Key, Digest)>;

/// How a claim ended.
pub(super) struct ClaimEnded<C> {
    /// Events asked for.
    pub(super) wanted: usize,
    /// Keys that were looked at, and left out of the claim.
    pub(super) suppressed: Vec<Key>,
    pub(super) result: Result<(Peeked, Claimed<C>), SourceError>,
}

/// How marks or a dead letter ended.
pub(super) struct CompleteEnded<C> {
    pub(super) work: Work<C>,
    pub(super) result: Result<Vec<Mark>, SourceError>,
}

/// How giving claims up ended.
pub(super) struct ReleaseEnded<C> {
    pub(super) events: Vec<Arc<Event<C>>>,
    pub(super) result: Result<(), SourceError>,
}

/// How a delivery ended.
pub(super) struct DeliveryEnded<C> {
    pub(super) held: Held<C>,
    pub(super) outcome: Outcome,
    pub(super) took: Duration,
}

/// How reading an event again ended.
pub(super) struct RereadEnded<C> {
    pub(super) held: Held<C>,
    pub(super) result: Result<Reread<C>, SourceError>,
}

pub(super) struct Calls<C> {
    pub(super) claim: Call<ClaimEnded<C>>,
    pub(super) complete: Call<CompleteEnded<C>>,
    pub(super) release: Call<ReleaseEnded<C>>,
    /// With the events that turned out to be somebody else's.
    pub(super) keepalive: Call<(Task, Result<Vec<Key>, SourceError>)>,
    /// Ends when the function answers; nothing is claimed or delivered before.
    pub(super) gate: Call<()>,
    pub(super) deliveries: FuturesUnordered<BoxFuture<'static, DeliveryEnded<C>>>,
    /// Of events whose next attempt is due; each counts as one that runs.
    pub(super) rereads: FuturesUnordered<BoxFuture<'static, RereadEnded<C>>>,
}

impl<C> Calls<C> {
    /// Nothing but the wait for the function.
    pub(super) fn new(gate: BoxFuture<'static, ()>) -> Self {
        Self {
            claim: None,
            complete: None,
            release: None,
            keepalive: None,
            gate: Some(gate),
            deliveries: FuturesUnordered::new(),
            rereads: FuturesUnordered::new(),
        }
    }
}

/// The end of a call that is under way; never, while there is none.
pub(super) async fn ended<T>(call: &mut Call<T>) -> T {
    let Some(running) = call else { return pending().await };
    let ended = running.await;
    *call = None;
    ended
}
