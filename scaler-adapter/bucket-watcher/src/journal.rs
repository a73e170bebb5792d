//! Where the inventory is kept, so that a restart loses nothing of what happened meanwhile.
//!
//! In the state bucket: an image of the inventory, and after it a log of one object per batch of
//! stored events. A batch is noted after its events are stored and before it is acknowledged; a
//! watcher that dies in between stores them again, under the same names. The log's entries are
//! numbered and written only where there is none yet: a second watcher, or one that was thought
//! dead, is noticed by the first entry that is already there.

use std::{collections::BTreeMap, time::Duration};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use kipper_bucket::{Budget, Condition, Pages, S3, S3Error, names};
use serde::{Deserialize, Serialize};

use crate::{
    inventory::{Inventory, News},
    trigger::BucketTrigger,
};

/// A new image is made after so many entries; of a large inventory, after more.
const ENTRIES_PER_IMAGE: u64 = 256;
/// What an image takes while it is read, in its own sizes: itself, and what is made of it.
const READ_FACTOR: usize = 3;
/// Entries that are read after an image at most; beyond them something has gone wrong long ago.
const MAX_ENTRIES: usize = 100_000;
/// Requests at once.
const PARALLEL: usize = 8;
/// How long the removal of old entries may take before it is left to the next one.
const CLEAN_TIMEOUT: Duration = Duration::from_secs(30);

/// What an image or an entry belongs to: of another bucket or filter nothing is known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Subject {
    url: String,
    bucket: String,
    prefix: String,
    suffix: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct Image {
    subject: Subject,
    /// Number of the first entry after it.
    next: u64,
    inventory: Inventory,
}

/// The journal of one trigger.
pub(crate) struct Journal {
    s3: S3,
    bucket: String,
    /// Prefix of everything here.
    home: String,
    subject: Subject,
    /// ETag of the image, if there is one.
    image: Option<String>,
    /// Number of the next entry.
    next: u64,
    /// Entries since the image.
    entries: u64,
    /// For images while they are read and written.
    budget: Budget,
}

impl Journal {
    /// The journal of a trigger, and what is known by it; of nothing if this is the first time.
    pub(crate) async fn open(
        s3: S3,
        state_bucket: &str,
        trigger: &BucketTrigger,
        budget: &Budget,
    ) -> Result<(Self, Option<Inventory>), S3Error> {
        let mut journal = Self {
            s3,
            bucket: state_bucket.to_owned(),
            home: names::state(&trigger.namespace, &trigger.function),
            subject: Subject {
                url: trigger.endpoint.url.clone(),
                bucket: trigger.bucket.clone(),
                prefix: trigger.prefix.clone(),
                suffix: trigger.suffix.clone(),
            },
            image: None,
            next: 0,
            entries: 0,
            budget: budget.clone(),
        };
        let inventory = journal.load().await?;
        Ok((journal, inventory))
    }

    async fn load(&mut self) -> Result<Option<Inventory>, S3Error> {
        let object = match self.s3.get_large(&self.bucket, &self.image_name()).await {
            Err(S3Error::NoObject(_)) => return self.begin_anew().await,
            object => object?,
        };
        self.image = Some(object.etag);
        // What is read of it takes as much again, or more where keys are short.
        let mut account = self.budget.account();
        let held = account.add(object.body.len().saturating_mul(READ_FACTOR));
        held.map_err(|over| S3Error::over_budget("GetObject", &self.bucket, &over))?;
        let image: Image = match serde_json::from_slice(&object.body) {
            Ok(image) => image,
            Err(error) => {
                tracing::error!(image = %self.image_name(), "unreadable, started over: {error}");
                return self.begin_anew().await;
            }
        };
        drop(object.body);
        let mut inventory = image.inventory.weighed();
        let weighed = account.set(inventory.bytes());
        weighed.map_err(|over| S3Error::over_budget("GetObject", &self.bucket, &over))?;
        self.next = image.next;
        let entries = self.entries_from(image.next).await?;
        for (number, name) in entries {
            if number != self.next {
                break;
            }
            let entry = self.s3.get(&self.bucket, &name).await?;
            match serde_json::from_slice::<Vec<News>>(&entry.body) {
                Ok(news) => news.iter().for_each(|news| inventory.apply(news)),
                Err(error) => tracing::error!(entry = %name, "unreadable, passed over: {error}"),
            }
            self.next += 1;
            self.entries += 1;
        }
        Ok((image.subject == self.subject).then_some(inventory))
    }

    /// Nothing is known. Entries that are there for whatever reason are passed over.
    async fn begin_anew(&mut self) -> Result<Option<Inventory>, S3Error> {
        let entries = self.entries_from(0).await?;
        self.next = entries.last_key_value().map_or(0, |(number, _)| number + 1);
        Ok(None)
    }

    /// Notes stored events. [`S3Error::Changed`] if another watcher did meanwhile.
    pub(crate) async fn append(&mut self, news: &[News]) -> Result<(), S3Error> {
        let name = self.entry_name(self.next);
        let body = serde_json::to_vec(news).unwrap_or_default();
        match self.s3.put(&self.bucket, &name, body.clone(), Condition::Absent).await {
            Err(S3Error::Changed(action)) => {
                // The answer to an earlier try may have been lost.
                let found = self.s3.get(&self.bucket, &name).await?;
                if found.body != body {
                    return Err(S3Error::Changed(action));
                }
            }
            put => {
                put?;
            }
        }
        self.next += 1;
        self.entries += 1;
        Ok(())
    }

    /// True if reading the log would take long enough by now to make an image.
    pub(crate) fn wants_image(&self, inventory: &Inventory) -> bool {
        let size = u64::try_from(inventory.len()).unwrap_or(u64::MAX);
        self.entries >= ENTRIES_PER_IMAGE.max(size / 100)
    }

    /// Writes the inventory as it is after all entries, and removes these.
    pub(crate) async fn make_image(&mut self, inventory: &Inventory) -> Result<(), S3Error> {
        #[derive(Serialize)]
        struct Written<'a> {
            subject: &'a Subject,
            next: u64,
            inventory: &'a Inventory,
        }
        // Written out it is no larger than in memory.
        let mut account = self.budget.account();
        let held = account.add(inventory.bytes());
        held.map_err(|over| S3Error::over_budget("PutObject", &self.bucket, &over))?;
        let image = Written { subject: &self.subject, next: self.next, inventory };
        let body = serde_json::to_vec(&image).unwrap_or_default();
        let condition = match &self.image {
            Some(etag) => Condition::Unchanged(etag),
            None => Condition::Absent,
        };
        let etag = self.s3.put(&self.bucket, &self.image_name(), body, condition).await?;
        self.image = Some(etag);
        self.entries = 0;
        match tokio::time::timeout(CLEAN_TIMEOUT, self.clean()).await {
            Ok(Ok(())) => {}
            // Entries before an image are never read, so they may stay until the next one.
            Ok(Err(error)) => tracing::warn!("old entries are left for later: {error}"),
            Err(_) => tracing::warn!("old entries are left for later: no answer"),
        }
        Ok(())
    }

    async fn clean(&self) -> Result<(), S3Error> {
        let entries = self.entries_from(0).await?;
        let old = entries.range(..self.next).map(|(_, name)| name);
        let removals: Vec<_> = old.map(|name| self.s3.delete(&self.bucket, name)).collect();
        stream::iter(removals).buffer_unordered(PARALLEL).try_collect::<Vec<()>>().await?;
        Ok(())
    }

    async fn entries_from(&self, first: u64) -> Result<BTreeMap<u64, String>, S3Error> {
        let prefix = format!("{}log/", self.home);
        let mut entries = BTreeMap::new();
        let mut pages = Pages::new(&self.s3, &self.bucket, &prefix);
        while let Some(objects) = pages.next().await? {
            for object in objects {
                let number = object.key.strip_prefix(&prefix);
                let number = number.and_then(|name| name.strip_suffix(names::SUFFIX));
                if let Some(number) = number.and_then(|number| number.parse().ok())
                    && number >= first
                {
                    entries.insert(number, object.key);
                }
            }
            if entries.len() > MAX_ENTRIES {
                let detail = format!("more than {MAX_ENTRIES} objects below {prefix}");
                let (action, bucket) = ("ListObjectsV2", self.bucket.clone());
                return Err(S3Error::TooMuch { action, bucket, detail });
            }
        }
        Ok(entries)
    }

    fn image_name(&self) -> String {
        format!("{}inventory{}", self.home, names::SUFFIX)
    }

    fn entry_name(&self, number: u64) -> String {
        format!("{}log/{number:012}{}", self.home, names::SUFFIX)
    }
}
