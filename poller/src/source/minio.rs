//! Events of a bucket, claimed by a lease inside the event object.
//!
//! The bucket watcher stores each event as an object; here they are listed in the order of their
//! names, leased, and deleted after they were handled. A lease is taken and renewed with `If-Match`
//! on the ETag that was read, so of several pods only one can; it runs out by the server's clock
//! alone. Deleting knows no condition (MinIO ignores it), so only who certainly holds the lease, for
//! longer than the request may take, deletes.

mod backlog;
mod config;
mod failure;
mod leased;
mod listing;

use std::{
    collections::HashSet,
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures_util::{StreamExt as _, stream};
use kipper_bucket::{
    Condition, Endpoint, Failure, Lease, Listed, Pages, Record, S3, S3Error, names, nonce,
};
use tokio::time::timeout;

pub use self::{
    backlog::{Backlog, MAX_BACKLOG},
    config::MinioConfig,
    leased::Leased,
};
use self::{
    failure::{failed, refused},
    leased::{Hold, is_held},
    listing::Listing,
};
use super::{Claimed, Digest, Event, Key, Mark, Source, SourceError, Wanted};

/// Requests at once for one call; what all calls together may do the client bounds.
const PARALLEL: usize = 16;
/// Tries of a write that finds an own earlier one.
const MAX_TRIES: usize = 3;
/// A lease that is sure to last for less is renewed before anything rests on it.
const MARGIN: Duration = Duration::from_secs(3);
/// For the list of one claim, all its pages: a service that is slower is asked again later.
const LIST_TIMEOUT: Duration = Duration::from_secs(30);
/// An event's name has 50 bytes; what is much longer was not made by a bucket watcher.
const MAX_KEY_BYTES: usize = 128;

/// A bucket that nobody has, because of its name: keys that are good are told that it does not exist,
/// or that it is none of theirs.
const NOBODYS: &str = "kipper-login-check";
/// The code for what these keys may not do.
const NOT_ALLOWED: &str = "AccessDenied";

/// Asks once with these keys.
pub(crate) async fn login(endpoint: &Endpoint) -> Result<(), SourceError> {
    match S3::new(endpoint).map_err(refused)?.list(NOBODYS, "", None).await {
        Ok(_) | Err(S3Error::NoBucket { .. }) => Ok(()),
        Err(S3Error::Denied { detail, .. }) if detail.contains(NOT_ALLOWED) => Ok(()),
        Err(S3Error::Denied { detail, .. }) => Err(SourceError::Invalid(detail)),
        Err(S3Error::Unavailable { detail, .. }) => Err(SourceError::Lost(detail)),
        Err(error) => Err(refused(error)),
    }
}

/// See the module.
pub struct Minio {
    s3: S3,
    bucket: String,
    pending: String,
    failed: String,
    /// New after every start: an earlier process of the same pod is another owner.
    owner: String,
    lease: Duration,
    listing: parking_lot::Mutex<Listing>,
}

impl Minio {
    /// Connects and checks that the service keeps conditions and the credentials suffice.
    ///
    /// # Errors
    /// [`SourceError::Invalid`] for what only the user can mend, else what is wrong with the server.
    pub async fn open(config: MinioConfig) -> Result<Self, SourceError> {
        Self::connect(config).await.map_err(refused)
    }

    /// The same for the time before there is a state bucket, which the bucket watcher makes; and looks
    /// for `bucket`, whose changes are the events.
    ///
    /// # Errors
    /// As [`Minio::open`]; [`SourceError::Lost`] where the service gives no answer.
    pub async fn check(config: MinioConfig, bucket: &str) -> Result<(), SourceError> {
        let endpoint = config.endpoint.clone();
        match Self::connect(config).await {
            Ok(_) | Err(S3Error::NoBucket { .. }) => {}
            Err(error @ S3Error::Unavailable { .. }) => {
                return Err(SourceError::Lost(error.to_string()));
            }
            Err(error) => return Err(refused(error)),
        }
        match S3::new(&endpoint).map_err(refused)?.list(bucket, "", None).await {
            Ok(_) => Ok(()),
            Err(error @ S3Error::NoBucket { .. }) => Err(failed(error)),
            Err(error) => Err(refused(error)),
        }
    }

    async fn connect(config: MinioConfig) -> Result<Self, S3Error> {
        let MinioConfig { endpoint, state_bucket: bucket, namespace, function, lease } = config;
        let s3 = S3::new(&endpoint)?;
        let pending = names::pending(&namespace, &function);
        let failed = names::failed(&namespace, &function);
        let owner = nonce();
        let probe = format!("{}{owner}", names::probe(&namespace, &function));
        s3.check_conditions(&bucket, &probe).await?;
        s3.list(&bucket, &pending, None).await?;
        let listing = parking_lot::Mutex::default();
        Ok(Self { s3, bucket, pending, failed, owner, lease, listing })
    }

    /// Events to try to claim, in the order of their names as far as other pods leave them.
    async fn candidates(&self, wanted: Wanted<'_>) -> Result<Vec<Listed>, SourceError> {
        let except: HashSet<&str> = wanted.except.iter().map(|key| &**key).collect();
        let is_free = |key: &str| self.key_of(key).is_some_and(|key| !except.contains(key));
        if self.listing.lock().is_stale(wanted.events) {
            let enough = |found: &[Listed]| {
                let listing = self.listing.lock();
                let free = found.iter().filter(|object| is_free(&object.key));
                let free = free.filter(|object| listing.may_try(object)).count();
                free >= listing.enough(wanted.events)
            };
            let listed = timeout(LIST_TIMEOUT, self.list(enough)).await;
            let listed = listed.map_err(|_| {
                SourceError::Failed(format!("{}: no end within {LIST_TIMEOUT:?}", self.pending))
            })?;
            let (found, is_cut) = listed.map_err(failed)?;
            let now_ms = self.s3.clock().at_least().unwrap_or_default();
            self.listing.lock().refill(found, is_cut, now_ms);
        }
        let random = fastrand::f64();
        Ok(self.listing.lock().take(wanted.events, wanted.bytes, random, is_free))
    }

    /// The first event objects, until there are enough; whether there are more.
    async fn list(
        &self,
        enough: impl Fn(&[Listed]) -> bool,
    ) -> Result<(Vec<Listed>, bool), S3Error> {
        let mut pages = Pages::new(&self.s3, &self.bucket, &self.pending);
        let mut found = Vec::new();
        for _ in 0..listing::MAX_PAGES {
            let Some(objects) = pages.next().await? else { return Ok((found, false)) };
            // Whatever else somebody puts there is not kept.
            found.extend(objects.into_iter().filter(|object| self.key_of(&object.key).is_some()));
            if enough(&found) {
                break;
            }
        }
        let is_cut = pages.has_more();
        Ok((found, is_cut))
    }

    /// Takes the lease of an event if it is free. `None` if it is not, or not any more.
    async fn take(&self, listed: Listed) -> Result<Option<Event<Leased>>, S3Error> {
        let object = match self.s3.get(&self.bucket, &listed.key).await {
            Err(S3Error::NoObject(_)) => return Ok(None),
            object => object?,
        };
        let mut record = match Record::parse(&object.body) {
            Ok(record) => record,
            Err(error) => {
                let key = &listed.key;
                tracing::error!(%key, "object under pending/ is not an event, ignored: {error}");
                self.listing.lock().leave(listed.key, object.etag, u64::MAX);
                return Ok(None);
            }
        };
        if let Some(lease) = &record.lease
            && lease.owner != self.owner
            && is_held(lease, self.s3.clock().at_least())
        {
            self.listing.lock().leave(listed.key, object.etag, lease.until_ms);
            return Ok(None);
        }
        if record.failed.take().is_some() {
            // A dead letter that somebody moved back.
            record.attempts = 0;
        }
        self.renew_record(&mut record);
        let condition = Condition::Unchanged(&object.etag);
        let put = self.s3.put(&self.bucket, &listed.key, record.to_bytes(), condition).await;
        let etag = match put {
            Err(S3Error::Changed(_) | S3Error::NoObject(_)) => return Ok(None),
            etag => etag?,
        };
        let Some(key) = self.key_of(&listed.key) else { return Ok(None) };
        Ok(Some(Event {
            key: Key::from(key),
            body: record.event.body().into(),
            attempts: record.attempts,
            claim: Leased::new(listed.key, record, etag),
        }))
    }

    fn key_of<'a>(&self, object: &'a str) -> Option<&'a str> {
        let key = object.strip_prefix(&*self.pending)?.strip_suffix(names::SUFFIX)?;
        (key.len() <= MAX_KEY_BYTES).then_some(key)
    }

    fn renew_record(&self, record: &mut Record) {
        let now_ms = self.s3.clock().at_least().unwrap_or_default();
        let lease_ms = u64::try_from(self.lease.as_millis()).unwrap_or(u64::MAX);
        let until_ms = now_ms.saturating_add(lease_ms);
        record.lease = Some(Lease { owner: self.owner.clone(), until_ms });
        record.nonce = nonce();
    }

    /// How much of a lease is certainly left.
    fn left(&self, leased: &Leased) -> Duration {
        let now_ms = self.s3.clock().at_most().unwrap_or(u64::MAX);
        Duration::from_millis(leased.until_ms().saturating_sub(now_ms))
    }

    /// Writes the lease anew, or without one gives it up, unless somebody else has the event.
    async fn write(&self, leased: &Leased, with_lease: bool) -> Result<Hold, S3Error> {
        for _ in 0..MAX_TRIES {
            let (mut record, etag) = leased.snapshot();
            if with_lease {
                self.renew_record(&mut record);
            } else {
                (record.lease, record.nonce) = (None, nonce());
            }
            let condition = Condition::Unchanged(&etag);
            let put = self.s3.put(&self.bucket, leased.name(), record.to_bytes(), condition).await;
            match put {
                Ok(etag) => {
                    leased.written(record, etag);
                    return Ok(Hold::Ours);
                }
                Err(S3Error::NoObject(_)) => return Ok(leased.ended(Hold::Gone)),
                Err(S3Error::Changed(_)) => {}
                Err(error) => return Err(error),
            }
            // Perhaps by this process: the answer to an earlier write may have been lost.
            match self.s3.get(&self.bucket, leased.name()).await {
                Err(S3Error::NoObject(_)) => return Ok(leased.ended(Hold::Gone)),
                Err(error) => return Err(error),
                Ok(object) => match Record::parse(&object.body) {
                    Ok(found) if found.lease.as_ref().is_some_and(|l| l.owner == self.owner) => {
                        leased.adopt(found.lease, object.etag);
                    }
                    _ => return Ok(leased.ended(Hold::Lost)),
                },
            }
        }
        Err(S3Error::Changed("PutObject"))
    }

    /// Whether the event is certainly this process's, for [`MARGIN`] at least.
    async fn hold(&self, leased: &Leased) -> Result<Hold, S3Error> {
        match leased.hold() {
            Hold::Ours if self.left(leased) < MARGIN => self.write(leased, true).await,
            hold => Ok(hold),
        }
    }

    /// Deletes an event that this process holds.
    async fn remove(&self, event: &Event<Leased>) -> Result<Mark, S3Error> {
        let leased = &event.claim;
        match self.hold(leased).await? {
            Hold::Ours => {
                let delete = self.s3.delete(&self.bucket, leased.name());
                // Given up before the lease is over: later it could hit another pod's.
                let Ok(deleted) = timeout(self.left(leased), delete).await else {
                    return Ok(Mark::Failed("DeleteObject: no answer".to_owned()));
                };
                deleted?;
                leased.ended(Hold::Gone);
            }
            Hold::Gone => {}
            Hold::Lost => {
                tracing::warn!(
                    key = %event.key,
                    "handled after its lease ran out; another pod may handle it again"
                );
            }
        }
        Ok(Mark::Done { rows: None, still: None })
    }

    async fn dead_letter(
        &self,
        event: &Event<Leased>,
        reason: &str,
        attempts: u32,
    ) -> Result<Mark, S3Error> {
        if self.hold(&event.claim).await? == Hold::Ours {
            let (mut record, _) = event.claim.snapshot();
            record.attempts = attempts;
            record.lease = None;
            record.failed = Some(Failure { reason: reason.to_owned(), attempts });
            let name = format!("{}{}{}", self.failed, event.key, names::SUFFIX);
            self.s3.put(&self.bucket, &name, record.to_bytes(), Condition::None).await?;
        }
        self.remove(event).await
    }

    /// Runs `act` for all of these, a few at once, to the end.
    async fn for_each<'a, F, T>(
        &'a self,
        events: &'a [Arc<Event<Leased>>],
        act: impl Fn(&'a Self, &'a Event<Leased>) -> F,
    ) -> Vec<T>
    where
        F: Future<Output = T> + 'a,
    {
        let acts: Vec<F> = events.iter().map(|event| act(self, event)).collect();
        stream::iter(acts).buffered(PARALLEL).collect().await
    }
}

impl Source for Minio {
    type Claim = Leased;

    fn has_dead_letters(&self) -> bool {
        true
    }

    async fn claim(&self, wanted: Wanted<'_>) -> Result<Claimed<Leased>, SourceError> {
        let candidates = self.candidates(wanted).await?;
        let tried = candidates.len();
        // Once the service does not answer, the others are not asked for in vain.
        let is_away = &AtomicBool::new(false);
        let takes = candidates.into_iter().map(|listed| async move {
            if is_away.load(Ordering::Relaxed) {
                return Ok(None);
            }
            let taken = self.take(listed).await;
            let away = matches!(taken, Err(S3Error::Unavailable { .. }));
            is_away.fetch_or(away, Ordering::Relaxed);
            taken
        });
        let takes: Vec<_> = takes.collect();
        let taken: Vec<_> = stream::iter(takes).buffered(PARALLEL).collect().await;
        let mut events = Vec::new();
        let mut error = None;
        for result in taken {
            match result {
                Ok(event) => events.extend(event),
                // Perhaps leased without an answer; then it is claimed again by this process.
                Err(why) => error = Some(why),
            }
        }
        if let Some(error) = error {
            if events.is_empty() {
                return Err(failed(error));
            }
            tracing::warn!(call = "claim", "{error}");
        }
        let more = self.listing.lock().tried(tried, events.len());
        Ok(Claimed { events, unusable: Vec::new(), more })
    }

    async fn extend(&self, held: &[Arc<Event<Leased>>]) -> Result<(), SourceError> {
        let results = self
            .for_each(held, |source, event| async move {
                let leased = &event.claim;
                if !leased.is_kept() || source.left(leased) >= source.lease / 2 {
                    return Ok(true);
                }
                match source.write(leased, true).await {
                    Ok(hold) => Ok(hold != Hold::Lost || leased.is_released()),
                    Err(error) if source.left(leased).is_zero() => {
                        Err(SourceError::Lost(format!("a lease ran out: {error}")))
                    }
                    Err(error) => Err(failed(error)),
                }
            })
            .await;
        let mut kept = Ok(());
        for result in results {
            kept = match (kept, result) {
                (Err(SourceError::Lost(lost)), _) | (_, Err(SourceError::Lost(lost))) => {
                    Err(SourceError::Lost(lost))
                }
                (_, Ok(false)) => {
                    Err(SourceError::Lost("another pod took over a lease that ran out".to_owned()))
                }
                (kept @ Err(_), _) => kept,
                (Ok(()), result) => result.map(|_| ()),
            };
        }
        kept
    }

    async fn ack(
        &self,
        events: &[Arc<Event<Leased>>],
        _retried: bool,
    ) -> Result<Vec<Mark>, SourceError> {
        let marks = self
            .for_each(events, |source, event| async move {
                let removed = source.remove(event).await;
                removed.unwrap_or_else(|error| Mark::Failed(error.to_string()))
            })
            .await;
        Ok(marks)
    }

    async fn fail(
        &self,
        event: &Event<Leased>,
        reason: &str,
        attempts: u32,
        _retried: bool,
    ) -> Result<Mark, SourceError> {
        let moved = self.dead_letter(event, reason, attempts).await;
        Ok(moved.unwrap_or_else(|error| Mark::Failed(error.to_string())))
    }

    /// What cannot be given up now is free when its lease runs out, and for this process at once.
    async fn release(&self, events: &[Arc<Event<Leased>>]) -> Result<(), SourceError> {
        self.for_each(events, |source, event| async move {
            event.claim.release();
            if event.claim.hold() == Hold::Ours
                && let Err(error) = source.write(&event.claim, false).await
            {
                tracing::warn!(key = %event.key, "its lease has to run out: {error}");
            }
        })
        .await;
        Ok(())
    }

    async fn peek(&self, _: &[Key]) -> Result<Vec<(Key, Digest)>, SourceError> {
        // A mark removes the event, so none ever asks again.
        Ok(Vec::new())
    }

    async fn recover(&self, held: &[Arc<Event<Leased>>]) -> Result<Vec<Key>, SourceError> {
        self.s3.list(&self.bucket, &self.pending, None).await.map_err(failed)?;
        let results = self
            .for_each(held, |source, event| async move {
                if !event.claim.is_kept() {
                    return Ok(event.claim.hold());
                }
                source.write(&event.claim, true).await
            })
            .await;
        let holds: Vec<Hold> = results.into_iter().collect::<Result<_, _>>().map_err(failed)?;
        let others = held.iter().zip(holds).filter(|(_, hold)| *hold == Hold::Lost);
        Ok(others.map(|(event, _)| Key::clone(&event.key)).collect())
    }

    fn attempted(&self, event: &Event<Leased>, attempts: u32, _rest: Duration) {
        event.claim.set_attempts(attempts);
    }
}
