//! One trigger's task: takes in what the service tells and what lists show, stores what is news.
//!
//! It alone writes the trigger's inventory, and everything goes through it in turn. Whatever fails
//! while storing makes it open its journal again: what is durable decides, never what this process
//! remembers. A notification is answered only when its event is durable.

use std::{
    collections::{HashSet, VecDeque},
    future::pending,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, UNIX_EPOCH},
};

use futures_util::{FutureExt as _, StreamExt as _, future::BoxFuture, stream};
use kipper_bucket::{Condition, Event, Listed, Origin, Record, S3, S3Error, names};
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::{Instant, sleep, sleep_until},
};

use crate::{
    inventory::{Inventory, MAX_OBJECTS, News, Notice},
    journal::Journal,
    metrics::BucketMetrics,
    pending::Pending,
    trigger::BucketTrigger,
};

/// Events stored together. A watcher that dies stores at most so many a second time.
const MAX_BATCH: usize = 64;
/// Requests at once.
const PARALLEL: usize = 16;
/// Keys told about while one list is taken, at most; with more the list is taken again later.
const MAX_TOUCHED: usize = 100_000;
/// A list is taken at most this part of the time.
const LIST_SHARE: u32 = 10;
/// First pause after a failure; doubles with each further one.
const RETRY_BASE: Duration = Duration::from_secs(1);
/// Longest pause after a failure.
const RETRY_CAP: Duration = Duration::from_secs(30);

/// How a trigger does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    /// Its inventory is not there yet. Notifications have to come again.
    Starting,
    /// Notifications are stored.
    Ready,
    /// Only somebody who changes its configuration can mend it. Notifications do not wait for that:
    /// once it is mended a list tells what they said.
    Broken,
}

/// What a notification said, and who waits for it to be durable.
pub(crate) struct Ask {
    pub(crate) event: Event,
    pub(crate) notice: Notice,
    /// True once it is, or once it needs not be.
    pub(crate) reply: oneshot::Sender<bool>,
}

/// What all watches have in common.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) state_bucket: String,
    /// Between two lists where nobody tells of changes.
    pub(crate) list_interval: Duration,
    /// Between two lists beside a webhook.
    pub(crate) backstop_interval: Duration,
}

/// See the module.
pub(crate) struct Watch {
    pub(crate) trigger: Arc<BucketTrigger>,
    pub(crate) s3: S3,
    pub(crate) settings: Settings,
    pub(crate) asks: mpsc::Receiver<Ask>,
    pub(crate) status: watch::Sender<Status>,
    /// Whether the bucket tells of its changes.
    pub(crate) has_rules: Arc<AtomicBool>,
    pub(crate) pending: Arc<Pending>,
    pub(crate) metrics: BucketMetrics,
}

/// The difference between a list and the inventory, as far as it is not worked off.
#[derive(Default)]
struct Diff {
    objects: VecDeque<Listed>,
    absent: VecDeque<String>,
    listed_ms: u64,
    took: Duration,
    events: usize,
}

struct Listing {
    objects: Vec<Listed>,
    began_ms: u64,
    ended_ms: u64,
    took: Duration,
}

type Batch = Vec<(News, Event)>;

impl Watch {
    /// Runs until it is dropped.
    pub(crate) async fn run(mut self) {
        let mut failures = 0;
        let mut said = String::new();
        loop {
            let began = Instant::now();
            let Err(error) = self.watch().await else { return };
            if began.elapsed() > RETRY_CAP {
                failures = 0;
            }
            let is_broken = error.is_permanent() || matches!(error, S3Error::NoBucket { .. });
            self.status.send_replace(if is_broken { Status::Broken } else { Status::Starting });
            let words = error.to_string();
            let BucketTrigger { namespace, function, bucket, .. } = &*self.trigger;
            if words != said {
                tracing::warn!(%namespace, %function, %bucket, "bucket not watched: {words}");
                said = words;
            }
            while let Ok(ask) = self.asks.try_recv() {
                // Whoever asked may be gone.
                let _ = ask.reply.send(is_broken);
            }
            sleep(RETRY_BASE.saturating_mul(1 << failures).min(RETRY_CAP)).await;
            failures = (failures + 1).min(5);
        }
    }

    /// Watches until something fails. Ends well when nobody is left to ask.
    async fn watch(&mut self) -> Result<(), S3Error> {
        let (mut journal, mut inventory) = self.open().await?;
        self.status.send_replace(Status::Ready);
        let mut listing: Option<BoxFuture<'static, Result<Listing, S3Error>>> = None;
        let mut diff = Diff::default();
        let mut touched = HashSet::new();
        let mut list_due = Instant::now();
        let mut asks = Vec::new();
        let mut said = String::new();
        loop {
            if !diff.is_done() {
                while asks.len() < MAX_BATCH
                    && let Ok(ask) = self.asks.try_recv()
                {
                    asks.push(ask);
                }
                self.answer(&mut asks, &mut journal, &mut inventory, &mut touched).await?;
                self.work_off(&mut diff, &mut journal, &mut inventory, &touched).await?;
                if diff.is_done() {
                    list_due = Instant::now() + self.pause(&diff);
                }
                continue;
            }
            if listing.is_none() && journal.wants_image(&inventory) {
                journal.make_image(&inventory).await?;
            }
            tokio::select! {
                count = self.asks.recv_many(&mut asks, MAX_BATCH) => {
                    if count == 0 {
                        return Ok(());
                    }
                    self.answer(&mut asks, &mut journal, &mut inventory, &mut touched).await?;
                    if listing.is_none() {
                        touched.clear();
                    }
                }
                listed = finished(&mut listing) => {
                    let found = self.compare(listed, &inventory, &touched, &mut said);
                    let failed = found.is_none().then_some(self.settings.list_interval);
                    diff = found.unwrap_or_default();
                    list_due = Instant::now() + failed.unwrap_or_else(|| self.pause(&diff));
                }
                () = sleep_until(list_due), if listing.is_none() => {
                    touched.clear();
                    let (s3, trigger) = (self.s3.clone(), Arc::clone(&self.trigger));
                    listing = Some(async move { list(&s3, &trigger).await }.boxed());
                }
            }
        }
    }

    /// Makes what is missing in the state bucket, the first inventory too.
    async fn open(&self) -> Result<(Journal, Inventory), S3Error> {
        let state = &self.settings.state_bucket;
        let BucketTrigger { namespace, function, bucket, .. } = &*self.trigger;
        let probe = format!("{}{}", names::probe(namespace, function), kipper_bucket::nonce());
        match self.s3.check_conditions(state, &probe).await {
            Err(S3Error::NoBucket { .. }) => {
                self.s3.create_bucket(state).await?;
                self.s3.check_conditions(state, &probe).await?;
            }
            checked => checked?,
        }
        let (mut journal, known) = Journal::open(self.s3.clone(), state, &self.trigger).await?;
        let inventory = match known {
            Some(inventory) => inventory,
            None => {
                let listing = list(&self.s3, &self.trigger).await?;
                let inventory = Inventory::first(&listing.objects, listing.began_ms);
                journal.make_image(&inventory).await?;
                inventory
            }
        };
        tracing::info!(%namespace, %function, %bucket, objects = inventory.len(), "watching");
        Ok((journal, inventory))
    }

    /// Stores what notifications told, in their order, and answers them.
    async fn answer(
        &self,
        asks: &mut Vec<Ask>,
        journal: &mut Journal,
        inventory: &mut Inventory,
        touched: &mut HashSet<String>,
    ) -> Result<(), S3Error> {
        let mut batch: Batch = Vec::new();
        let mut replies = Vec::new();
        for Ask { event, notice, reply } in asks.drain(..) {
            // What one key's next notification means depends on the one before.
            if batch.iter().any(|(news, _)| news.key == event.key) {
                self.store(&mut batch, &mut replies, journal, inventory).await?;
            }
            if touched.len() < MAX_TOUCHED {
                touched.insert(event.key.clone());
            }
            match inventory.told(&self.trigger.bucket, &notice) {
                Some(news) => {
                    batch.push((news, event));
                    replies.push(reply);
                }
                // Whoever asked may be gone.
                None => drop(reply.send(true)),
            }
        }
        self.store(&mut batch, &mut replies, journal, inventory).await
    }

    /// Stores the next part of a difference.
    async fn work_off(
        &self,
        diff: &mut Diff,
        journal: &mut Journal,
        inventory: &mut Inventory,
        touched: &HashSet<String>,
    ) -> Result<(), S3Error> {
        let bucket = &self.trigger.bucket;
        let mut batch: Batch = Vec::new();
        while batch.len() < MAX_BATCH {
            if let Some(object) = diff.objects.pop_front() {
                if !touched.contains(&object.key)
                    && let Some(news) = inventory.listed(bucket, &object)
                {
                    batch.push((news, self.created(&object)));
                }
            } else if let Some(key) = diff.absent.pop_front() {
                if !touched.contains(&key)
                    && let Some(news) = inventory.absent(bucket, &key, diff.listed_ms)
                {
                    let etag = inventory.known(&key).map(|version| version.etag.clone());
                    batch.push((news, self.removed(key, etag, diff.listed_ms)));
                }
            } else {
                break;
            }
        }
        diff.events += batch.len();
        self.store(&mut batch, &mut Vec::new(), journal, inventory).await
    }

    /// Makes news durable: first the events, then that they are known.
    async fn store(
        &self,
        batch: &mut Batch,
        replies: &mut Vec<oneshot::Sender<bool>>,
        journal: &mut Journal,
        inventory: &mut Inventory,
    ) -> Result<(), S3Error> {
        if batch.is_empty() {
            return Ok(());
        }
        let BucketTrigger { namespace, function, .. } = &*self.trigger;
        let prefix = names::pending(namespace, function);
        let origin = batch[0].1.origin;
        let (news, events): (Vec<News>, Vec<Event>) = std::mem::take(batch).into_iter().unzip();
        let puts: Vec<_> = news
            .iter()
            .zip(events)
            .map(|(news, event)| {
                let name = format!("{prefix}{}{}", news.id, names::SUFFIX);
                self.put(name, Record::new(event))
            })
            .collect();
        let stored: Vec<_> = stream::iter(puts).buffer_unordered(PARALLEL).collect().await;
        let stored = stored.into_iter().collect::<Result<Vec<()>, _>>();
        let noted = match stored {
            Ok(_) => journal.append(&news).await,
            Err(error) => Err(error),
        };
        for reply in replies.drain(..) {
            // Whoever asked may be gone; what is stored stays.
            let _ = reply.send(noted.is_ok());
        }
        noted?;
        news.iter().for_each(|news| inventory.apply(news));
        self.metrics.stored(origin, news.len());
        let count = u64::try_from(news.len()).unwrap_or(u64::MAX);
        self.pending.added(&self.trigger.key(), count);
        Ok(())
    }

    async fn put(&self, name: String, record: Record) -> Result<(), S3Error> {
        let state = &self.settings.state_bucket;
        match self.s3.put(state, &name, record.to_bytes(), Condition::Absent).await {
            // It waits already.
            Err(S3Error::Changed(_)) => Ok(()),
            put => put.map(|_| ()),
        }
    }

    /// What a list shows, if it succeeded. What was `said` of the one before is not said again.
    fn compare(
        &self,
        listed: Result<Listing, S3Error>,
        inventory: &Inventory,
        touched: &HashSet<String>,
        said: &mut String,
    ) -> Option<Diff> {
        self.metrics.listed(listed.is_ok());
        let BucketTrigger { namespace, function, bucket, .. } = &*self.trigger;
        match listed {
            Ok(_) if touched.len() >= MAX_TOUCHED => {
                tracing::warn!(%namespace, %function, %bucket, "too much happened during a list");
                None
            }
            Ok(listing) => {
                said.clear();
                Some(Diff {
                    absent: inventory.not_in(&listing.objects).into(),
                    objects: listing.objects.into(),
                    listed_ms: listing.ended_ms,
                    took: listing.took,
                    events: 0,
                })
            }
            Err(error) => {
                let words = error.to_string();
                if words != *said {
                    tracing::warn!(%namespace, %function, %bucket, "bucket not listed: {words}");
                    *said = words;
                }
                None
            }
        }
    }

    /// When to list next. A list that finds something shows that notifications do not come, or late.
    fn pause(&self, diff: &Diff) -> Duration {
        if self.has_rules.load(Ordering::Relaxed) && diff.events == 0 {
            return self.settings.backstop_interval;
        }
        self.settings.list_interval.max(diff.took * LIST_SHARE)
    }

    fn created(&self, object: &Listed) -> Event {
        Event {
            name: "s3:ObjectCreated:Put".to_owned(),
            bucket: self.trigger.bucket.clone(),
            key: object.key.clone(),
            size: Some(object.size),
            etag: Some(object.etag.trim_matches('"').to_owned()),
            time: rfc3339(object.modified_ms),
            origin: Origin::Diff,
        }
    }

    fn removed(&self, key: String, etag: Option<String>, listed_ms: u64) -> Event {
        Event {
            name: "s3:ObjectRemoved:Delete".to_owned(),
            bucket: self.trigger.bucket.clone(),
            key,
            size: None,
            etag,
            time: rfc3339(listed_ms),
            origin: Origin::Diff,
        }
    }
}

impl Diff {
    fn is_done(&self) -> bool {
        self.objects.is_empty() && self.absent.is_empty()
    }
}

/// Lists everything the trigger wants to know of.
async fn list(s3: &S3, trigger: &BucketTrigger) -> Result<Listing, S3Error> {
    let begin = Instant::now();
    let mut objects = Vec::new();
    let mut token = None;
    let mut began_ms = None;
    loop {
        let page = s3.list(&trigger.bucket, &trigger.prefix, token.as_deref()).await?;
        began_ms = began_ms.or_else(|| s3.clock().at_least());
        objects.extend(page.objects.into_iter().filter(|object| trigger.wants(&object.key)));
        if objects.len() > MAX_OBJECTS {
            return Err(S3Error::Rejected {
                action: "ListObjectsV2",
                bucket: trigger.bucket.clone(),
                detail: format!("more than {MAX_OBJECTS} objects: give a narrower prefix"),
            });
        }
        token = page.next;
        if token.is_none() {
            break;
        }
    }
    Ok(Listing {
        objects,
        began_ms: began_ms.unwrap_or_default(),
        ended_ms: s3.clock().at_most().unwrap_or_default(),
        took: begin.elapsed(),
    })
}

/// The list that is under way; never, while there is none.
async fn finished(
    listing: &mut Option<BoxFuture<'static, Result<Listing, S3Error>>>,
) -> Result<Listing, S3Error> {
    let Some(running) = listing else { return pending().await };
    let listed = running.await;
    *listing = None;
    listed
}

fn rfc3339(time_ms: u64) -> String {
    humantime::format_rfc3339_millis(UNIX_EPOCH + Duration::from_millis(time_ms)).to_string()
}
