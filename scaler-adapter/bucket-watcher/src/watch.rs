//! One trigger's task: takes in notifications and what lists show, stores what is news.
//!
//! It alone writes the trigger's inventory, and everything goes through it in turn. Whatever fails
//! while storing makes it open its journal again: what is durable decides, never what this process
//! remembers. A notification is answered only when its event is durable.

use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures_util::{StreamExt as _, stream};
use kipper_bucket::{
    Account, Budget, Condition, Event, Listed, Origin, Record, S3, S3Error, names, rfc3339,
};
use kipper_process::{backoff::Backoff, supervise::caught};
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::{Instant, sleep, sleep_until},
};

use crate::{
    inventory::{Inventory, News, Notice, cost},
    journal::Journal,
    listing::{self, Diff, Listing, next_page},
    metrics::BucketMetrics,
    pending::Pending,
    trigger::BucketTrigger,
};

/// Events stored together. A watcher that dies stores at most so many a second time.
const MAX_BATCH: usize = 64;
/// Requests at once.
const PARALLEL: usize = 16;
/// Keys in notifications while one list is taken, at most; with more the list is taken again later.
const MAX_TOUCHED: usize = 100_000;
/// A list is taken at most this part of the time.
const LIST_SHARE: u32 = 10;
/// Longest pause after a failure.
const MAX_PAUSE: Duration = Duration::from_secs(30);
/// Pauses after failures.
const BACKOFF: Backoff = Backoff::new(Duration::from_secs(1), MAX_PAUSE);

/// How a trigger does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    /// Its inventory is not there yet. Notifications have to come again.
    Starting,
    /// Notifications are stored.
    Ready,
    /// It needs a change of its configuration. Notifications do not wait for that: afterwards a list
    /// shows what they said.
    Broken,
}

/// What a notification said, and who waits for it to be durable.
pub(crate) struct Ask {
    /// `None` where nobody knows who said it: the store is asked instead, by a list.
    pub(crate) said: Option<(Event, Notice)>,
    /// True once it is, or once it needs not be.
    pub(crate) reply: oneshot::Sender<bool>,
}

/// What all watches have in common.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) state_bucket: String,
    /// Between two lists where no notifications come.
    pub(crate) list_interval: Duration,
    /// Between two lists beside a webhook.
    pub(crate) backstop_interval: Duration,
}

/// The task of one trigger.
pub(crate) struct Watch {
    pub(crate) trigger: Arc<BucketTrigger>,
    pub(crate) s3: S3,
    pub(crate) settings: Settings,
    pub(crate) asks: mpsc::Receiver<Ask>,
    pub(crate) status: watch::Sender<Status>,
    /// Whether the bucket sends notifications.
    pub(crate) has_rules: Arc<AtomicBool>,
    pub(crate) pending: Arc<Pending>,
    pub(crate) metrics: BucketMetrics,
    /// For everything that is kept of this bucket.
    pub(crate) budget: Budget,
    /// Whether the state bucket may say that the bucket is in trouble.
    pub(crate) is_told: bool,
}

/// What is known, and where it is kept.
struct Known {
    journal: Journal,
    inventory: Inventory,
    /// What the inventory has of the budget.
    account: Account,
    /// Keys that notifications named while a list was taken.
    touched: HashSet<String>,
    touched_account: Account,
}

type Batch = Vec<(News, Event)>;

impl Watch {
    /// Runs until it is dropped. Whatever fails begins anew after a pause, a panic too.
    pub(crate) async fn run(mut self) {
        let mut backoff = BACKOFF;
        let mut said = String::new();
        loop {
            let began = Instant::now();
            let (words, is_broken) = match caught(self.watch()).await {
                Ok(Ok(())) => return,
                Ok(Err(error)) => {
                    let is_gone = matches!(error, S3Error::NoBucket { .. });
                    (error.to_string(), error.is_permanent() || is_gone)
                }
                Err(panic) => {
                    self.metrics.panics.inc();
                    (format!("panicked: {panic}"), false)
                }
            };
            if began.elapsed() > MAX_PAUSE {
                backoff.reset();
            }
            self.status.send_replace(if is_broken { Status::Broken } else { Status::Starting });
            self.pending.watched(&self.trigger.key(), Some((words.clone(), is_broken)));
            let BucketTrigger { namespace, function, bucket, .. } = &*self.trigger;
            // Said again where it was well meanwhile.
            if words != said || (is_broken && !self.is_told) {
                tracing::warn!(%namespace, %function, %bucket, "bucket not watched: {words}");
                if is_broken {
                    self.tell(&words).await;
                }
                said = words;
            }
            self.answer_none(is_broken);
            let resting = sleep(backoff.pause());
            tokio::pin!(resting);
            loop {
                tokio::select! {
                    () = &mut resting => break,
                    Some(ask) = self.asks.recv() => drop(ask.reply.send(is_broken)),
                }
            }
        }
    }

    /// Writes why the bucket is not watched to where all adapters read it, if that can be done.
    async fn tell(&mut self, words: &str) {
        let BucketTrigger { namespace, function, .. } = &*self.trigger;
        let (state, name) = (&self.settings.state_bucket, names::trouble(namespace, function));
        let body = words.as_bytes().to_vec();
        // Without it only the adapter that leads knows.
        let _ = self.s3.put(state, &name, body, Condition::None).await;
        self.is_told = true;
    }

    /// Takes that back.
    async fn tell_no_more(&mut self) {
        let BucketTrigger { namespace, function, .. } = &*self.trigger;
        let (state, name) = (&self.settings.state_bucket, names::trouble(namespace, function));
        self.is_told = self.s3.delete(state, &name).await.is_err();
    }

    /// Tells all that wait that nothing is stored, or that it need not be.
    fn answer_none(&mut self, need_not: bool) {
        while let Ok(ask) = self.asks.try_recv() {
            // Whoever asked may be gone.
            let _ = ask.reply.send(need_not);
        }
    }

    /// Watches until something fails. Ends well when no notification can come any more.
    async fn watch(&mut self) -> Result<(), S3Error> {
        let mut known = self.open().await?;
        self.status.send_replace(Status::Ready);
        let mut listing: Option<Listing> = None;
        let mut diff = Diff::default();
        let mut list_due = Instant::now();
        let mut asks = Vec::new();
        let mut said = String::new();
        // Somebody says that there is something to be listed.
        let mut is_asked = false;
        loop {
            if !diff.is_done() {
                while asks.len() < MAX_BATCH
                    && let Ok(ask) = self.asks.try_recv()
                {
                    asks.push(ask);
                }
                is_asked |= self.answer(&mut asks, &mut known).await?;
                self.work_off(&mut diff, &mut known).await?;
                if diff.is_done() {
                    diff.settle();
                    list_due = Instant::now() + self.pause(&diff);
                }
                continue;
            }
            if is_asked {
                // Not oftener than lists are taken anyway where nobody tells anything.
                list_due = list_due.min(Instant::now() + self.settings.list_interval);
            }
            if listing.is_none() && known.journal.wants_image(&known.inventory) {
                known.journal.make_image(&known.inventory).await?;
            }
            tokio::select! {
                count = self.asks.recv_many(&mut asks, MAX_BATCH) => {
                    if count == 0 {
                        return Ok(());
                    }
                    is_asked |= self.answer(&mut asks, &mut known).await?;
                    if listing.is_none() {
                        known.untouch();
                    }
                }
                page = next_page(&mut listing) => {
                    let Some(mut taking) = listing.take() else { continue };
                    match taking.took(page, &self.trigger, &known.inventory) {
                        Ok(false) => listing = Some(taking),
                        listed => {
                            let listed = listed
                                .and_then(|_| taking.finish(&self.s3, &known.inventory));
                            let found = self.listed(listed, &known, &mut said)?;
                            let failed = found.is_none().then_some(self.settings.list_interval);
                            if self.is_told && found.is_some() {
                                self.tell_no_more().await;
                            }
                            diff = found.unwrap_or_default();
                            list_due =
                                Instant::now() + failed.unwrap_or_else(|| self.pause(&diff));
                        }
                    }
                }
                () = sleep_until(list_due), if listing.is_none() => {
                    is_asked = false;
                    known.untouch();
                    listing = Some(Listing::begin(&self.s3, &self.trigger, &self.budget));
                }
            }
        }
    }

    /// Makes what is missing in the state bucket, the first inventory too.
    async fn open(&self) -> Result<Known, S3Error> {
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
        let (mut journal, known) =
            Journal::open(self.s3.clone(), state, &self.trigger, &self.budget).await?;
        let mut account = self.budget.account();
        let inventory = match known {
            Some(inventory) => inventory,
            None => {
                let inventory = listing::first(&self.s3, &self.trigger, &mut account).await?;
                journal.make_image(&inventory).await?;
                inventory
            }
        };
        account.set(inventory.bytes()).map_err(|over| self.over_budget(&over))?;
        tracing::info!(%namespace, %function, %bucket, objects = inventory.len(), "watching");
        let touched_account = self.budget.account();
        Ok(Known { journal, inventory, account, touched: HashSet::new(), touched_account })
    }

    fn over_budget(&self, over: &kipper_bucket::OverBudget) -> S3Error {
        S3Error::over_budget("watching", &self.trigger.bucket, over)
    }

    /// Stores what notifications say, in their order, and answers them. True if one said that the store
    /// is to be asked.
    async fn answer(&self, asks: &mut Vec<Ask>, known: &mut Known) -> Result<bool, S3Error> {
        let mut batch: Batch = Vec::new();
        let mut replies = Vec::new();
        let mut is_to_list = false;
        for Ask { said, reply } in asks.drain(..) {
            let Some((event, notice)) = said else {
                is_to_list = true;
                // A list shows whatever happened. Whoever asked may be gone.
                let _ = reply.send(true);
                continue;
            };
            // What one key's next notification means depends on the one before.
            if batch.iter().any(|(news, _)| news.key == event.key) {
                self.store(&mut batch, &mut replies, known).await?;
            }
            known.touch(&event.key).map_err(|over| self.over_budget(&over))?;
            match known.inventory.notified(&self.trigger.bucket, &notice) {
                Some(news) => {
                    batch.push((news, event));
                    replies.push(reply);
                }
                // Whoever asked may be gone.
                None => drop(reply.send(true)),
            }
        }
        self.store(&mut batch, &mut replies, known).await?;
        Ok(is_to_list)
    }

    /// Stores the next part of a difference.
    async fn work_off(&self, diff: &mut Diff, known: &mut Known) -> Result<(), S3Error> {
        let bucket = &self.trigger.bucket;
        let mut batch: Batch = Vec::new();
        while batch.len() < MAX_BATCH {
            if let Some(object) = diff.objects.pop_front() {
                if !known.touched.contains(&object.key)
                    && let Some(news) = known.inventory.listed(bucket, &object)
                {
                    batch.push((news, self.created(&object)));
                }
            } else if let Some(key) = diff.absent.pop_front() {
                if !known.touched.contains(&key)
                    && let Some(news) = known.inventory.absent(bucket, &key, diff.listed_ms)
                {
                    let etag = known.inventory.known(&key).map(|version| version.etag.clone());
                    batch.push((news, self.removed(key, etag, diff.listed_ms)));
                }
            } else {
                break;
            }
        }
        diff.events += batch.len();
        self.store(&mut batch, &mut Vec::new(), known).await
    }

    /// Makes news durable: first the events, then that they are known.
    async fn store(
        &self,
        batch: &mut Batch,
        replies: &mut Vec<oneshot::Sender<bool>>,
        known: &mut Known,
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
            Ok(_) => known.journal.append(&news).await,
            Err(error) => Err(error),
        };
        for reply in replies.drain(..) {
            // Whoever asked may be gone; what is stored stays.
            let _ = reply.send(noted.is_ok());
        }
        noted?;
        news.iter().for_each(|news| known.inventory.apply(news));
        self.metrics.stored(origin, news.len());
        let count = u64::try_from(news.len()).unwrap_or(u64::MAX);
        self.pending.added(&self.trigger.key(), count);
        known.account.set(known.inventory.bytes()).map_err(|over| self.over_budget(&over))
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
    ///
    /// # Errors
    /// Where only a change outside can help: a list that finds no end or cannot be held.
    fn listed(
        &self,
        listed: Result<Diff, S3Error>,
        known: &Known,
        said: &mut String,
    ) -> Result<Option<Diff>, S3Error> {
        self.metrics.listed(listed.is_ok());
        let BucketTrigger { namespace, function, bucket, .. } = &*self.trigger;
        match listed {
            Ok(_) if known.touched.len() >= MAX_TOUCHED => {
                tracing::warn!(%namespace, %function, %bucket, "too much happened during a list");
                Ok(None)
            }
            Ok(diff) => {
                said.clear();
                self.pending.watched(&self.trigger.key(), None);
                Ok(Some(diff))
            }
            Err(error) if error.is_permanent() => Err(error),
            Err(error) => {
                let words = error.to_string();
                self.pending.watched(&self.trigger.key(), Some((words.clone(), false)));
                if words != *said {
                    tracing::warn!(%namespace, %function, %bucket, "bucket not listed: {words}");
                    *said = words;
                }
                Ok(None)
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

impl Known {
    fn touch(&mut self, key: &str) -> Result<(), kipper_bucket::OverBudget> {
        if self.touched.len() < MAX_TOUCHED && !self.touched.contains(key) {
            self.touched_account.add(cost(key, None))?;
            self.touched.insert(key.to_owned());
        }
        Ok(())
    }

    fn untouch(&mut self) {
        self.touched = HashSet::new();
        // Giving back never fails.
        let _ = self.touched_account.set(0);
    }
}
