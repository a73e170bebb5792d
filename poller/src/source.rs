//! Where events come from, as the rest of the poller sees it: claim, extend, complete, fail,
//! release.
//!
//! A source gives out events under a claim that no other pod can hold at the same time, and takes
//! them back marked or unmarked. It never decides what is delivered, when, or how often; it never
//! gives out an event whose key the caller holds. Its calls may run at the same time, except that
//! there is at most one [`Source::claim`] and at most one of [`Source::ack`] and
//! [`Source::fail`] at once. No call may be dropped before it ends: what it took would be nobody's.

pub mod minio;
pub mod mysql;
pub mod postgres;
pub mod redis;

mod sizes;
mod tls;
mod url;

use std::{future::Future, sync::Arc, time::Duration};

use bytes::Bytes;
use kipper_trigger::one_line;

/// Names one event for as long as it exists in its source. Stable over deliveries and restarts.
pub type Key = Arc<str>;

/// What the source keeps of an event to find it again.
pub type Digest = u64;

/// An event that this process alone may deliver until it is released.
#[derive(Debug)]
pub struct Event<C> {
    /// Its name.
    pub key: Key,
    /// What the function is sent: JSON.
    pub body: Bytes,
    /// Deliveries that failed before this process, where the source counts them.
    pub attempts: u32,
    /// What the source needs to mark and release it.
    pub claim: C,
}

/// How much is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// Events at most.
    pub events: usize,
    /// Bytes of bodies at most; a single event may be larger, or nothing could ever deliver it.
    pub bytes: usize,
    /// Keys not to be given out: held, resting or suppressed in this process.
    pub except: &'a [Key],
}

/// What a claim brought.
#[derive(Debug)]
pub struct Claimed<C> {
    /// Events, in the source's order.
    pub events: Vec<Event<C>>,
    /// Keys whose events cannot be given out, and why.
    pub unusable: Vec<(Key, Unusable)>,
    /// True if the source had more than was asked for, as far as it can tell.
    pub more: bool,
}

/// Why an event that is there is not given out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unusable {
    /// Its key names another event too.
    Duplicate,
}

/// What a claimed event is when it is read again.
#[derive(Debug)]
pub enum Reread<C> {
    /// What it was.
    Same,
    /// Another one under the same key and claim.
    Changed(Event<C>),
    /// It does not ask to be delivered any more.
    Gone,
}

impl<C> Reread<C> {
    /// What a row is, of which this was read now.
    fn of(known: &Event<C>, read: Option<Event<C>>) -> Self {
        match read {
            None => Self::Gone,
            Some(event) if event.body == known.body => Self::Same,
            Some(event) => Self::Changed(event),
        }
    }
}

/// What became of marking one event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mark {
    /// Marked and committed.
    Done {
        /// Rows the mark changed; `None` where that is not counted.
        rows: Option<u64>,
        /// The event's state after the mark, if it still asks to be delivered.
        still: Option<Digest>,
    },
    /// Not marked, and nothing changed. To be tried again.
    Failed(String),
    /// The connection ended before the answer: it may be marked. To be tried again as such.
    Unknown(String),
}

/// Why a source could not do what it was asked, in one line whatever its server said.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The session or connection is gone and every claim with it; [`Source::recover`] is next.
    #[error("no connection to the source: {}", one_line(.0))]
    Lost(String),
    /// The connection that marks is gone; the claims stand. What it was doing may have been
    /// committed. [`Source::recover`] is next.
    #[error("no connection for marks: {}", one_line(.0))]
    Broken(String),
    /// This call failed and took nothing; the claims there are stand.
    #[error("{}", one_line(.0))]
    Failed(String),
    /// The trigger cannot work as it is configured.
    #[error("{}", one_line(.0))]
    Invalid(String),
}

/// A kind of source. One value serves one trigger of one function.
pub trait Source: Send + Sync + 'static {
    /// What it keeps of a claimed event.
    type Claim: Send + Sync + 'static;

    /// What an event's failed delivery does after the last attempt. Without one, events are tried
    /// forever.
    fn has_dead_letters(&self) -> bool;

    /// Claims events that nobody holds.
    fn claim(
        &self,
        wanted: Wanted<'_>,
    ) -> impl Future<Output = Result<Claimed<Self::Claim>, SourceError>> + Send;

    /// Proves that the claims are alive, and renews them where they run out.
    fn extend(
        &self,
        held: &[Arc<Event<Self::Claim>>],
    ) -> impl Future<Output = Result<(), SourceError>> + Send;

    /// Marks delivered events done, one result for each in their order.
    ///
    /// `retried`: an earlier call for some of these ended with a lost connection, so they may be marked.
    fn ack(
        &self,
        events: &[Arc<Event<Self::Claim>>],
        retried: bool,
    ) -> impl Future<Output = Result<Vec<Mark>, SourceError>> + Send;

    /// Puts an event that will not be delivered any more among the dead letters. `retried` as for
    /// [`Source::ack`].
    fn fail(
        &self,
        event: &Event<Self::Claim>,
        reason: &str,
        attempts: u32,
        retried: bool,
    ) -> impl Future<Output = Result<Mark, SourceError>> + Send;

    /// Takes in that deliveries of a claimed event failed, `attempts` so far, and that it is not to be
    /// delivered again within `rest`. Told before the event's release at the latest; of use to
    /// sources that keep this for whoever claims the event next.
    fn attempted(&self, _event: &Event<Self::Claim>, _attempts: u32, _rest: Duration) {}

    /// Reads a claimed event again before another attempt. Its claim stands, whatever it is by now. Of
    /// use to sources whose events change while they are claimed.
    fn reread(
        &self,
        _event: &Event<Self::Claim>,
    ) -> impl Future<Output = Result<Reread<Self::Claim>, SourceError>> + Send {
        std::future::ready(Ok(Reread::Same))
    }

    /// Gives claims up. Events that are not marked may be claimed by anybody from then on.
    fn release(
        &self,
        events: &[Arc<Event<Self::Claim>>],
    ) -> impl Future<Output = Result<(), SourceError>> + Send;

    /// Which of these events still ask to be delivered, with their state now.
    fn peek(
        &self,
        keys: &[Key],
    ) -> impl Future<Output = Result<Vec<(Key, Digest)>, SourceError>> + Send;

    /// Connects again after [`SourceError::Lost`] or [`SourceError::Broken`], and takes the claims of
    /// `held` again. Returns those that somebody else has meanwhile.
    fn recover(
        &self,
        held: &[Arc<Event<Self::Claim>>],
    ) -> impl Future<Output = Result<Vec<Key>, SourceError>> + Send;
}
