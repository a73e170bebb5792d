//! One list of a bucket, compared with what is known page by page.
//!
//! Of a page only what differs is kept, and of the rest that it was listed: a list of a bucket that
//! has not changed costs a few bytes for each object. What is kept is paid for from the trigger's
//! budget, so a service that finds no end, or sends more than anybody can hold, ends its own list.

use std::{
    collections::{HashSet, VecDeque},
    future::pending,
    hash::{BuildHasher as _, RandomState},
    time::Duration,
};

use futures_util::{FutureExt as _, future::BoxFuture};
use kipper_bucket::{Account, Budget, Listed, Pages, S3, S3Error};
use tokio::time::Instant;

use crate::{
    inventory::{Inventory, MAX_OBJECTS, cost},
    trigger::BucketTrigger,
};

/// What noting that an object was listed takes in memory, about.
const NOTED_BYTES: usize = 32;
const LIST: &str = "ListObjectsV2";

/// The difference between a list and the inventory, as far as it is not worked off.
#[derive(Default)]
pub(crate) struct Diff {
    pub(crate) objects: VecDeque<Listed>,
    pub(crate) absent: VecDeque<String>,
    pub(crate) listed_ms: u64,
    pub(crate) took: Duration,
    pub(crate) events: usize,
    /// What it has of the budget.
    account: Option<Account>,
}

impl Diff {
    pub(crate) fn is_done(&self) -> bool {
        self.objects.is_empty() && self.absent.is_empty()
    }

    /// Gives back what it had of the budget, once it is worked off.
    pub(crate) fn settle(&mut self) {
        if self.is_done() {
            self.account = None;
        }
    }
}

type Turn = (Pages, Result<Option<Vec<Listed>>, S3Error>);

/// A list that is being taken.
pub(crate) struct Listing {
    turn: BoxFuture<'static, Turn>,
    bucket: String,
    began: Instant,
    /// Keys that were listed, by their hash. Two with one hash hide a removal until the next list,
    /// which hashes in another way.
    listed: HashSet<u64>,
    hasher: RandomState,
    changed: VecDeque<Listed>,
    account: Account,
}

impl Listing {
    pub(crate) fn begin(s3: &S3, trigger: &BucketTrigger, budget: &Budget) -> Self {
        Self {
            turn: turn(Pages::new(s3, &trigger.bucket, &trigger.prefix)),
            bucket: trigger.bucket.clone(),
            began: Instant::now(),
            listed: HashSet::new(),
            hasher: RandomState::new(),
            changed: VecDeque::new(),
            account: budget.account(),
        }
    }

    /// Takes in what [`next_page`] gave. True if there was no further page.
    pub(crate) fn took(
        &mut self,
        (pages, page): Turn,
        trigger: &BucketTrigger,
        inventory: &Inventory,
    ) -> Result<bool, S3Error> {
        let Some(page) = page? else { return Ok(true) };
        self.turn = turn(pages);
        for object in page.into_iter().filter(|object| trigger.wants(&object.key)) {
            let known = inventory.is_known(&object);
            let bytes = if known { 0 } else { cost(&object.key, None) + object.etag.len() };
            self.account
                .add(NOTED_BYTES + bytes)
                .map_err(|over| S3Error::over_budget(LIST, &self.bucket, &over))?;
            self.listed.insert(self.hasher.hash_one(&*object.key));
            if !known {
                self.changed.push_back(object);
            }
        }
        if self.listed.len() > MAX_OBJECTS {
            return Err(too_many(&self.bucket));
        }
        Ok(false)
    }

    /// What the list showed, once it is complete.
    pub(crate) fn finish(self, s3: &S3, inventory: &Inventory) -> Result<Diff, S3Error> {
        let Self { listed, hasher, changed, mut account, began, bucket, .. } = self;
        let is_listed = |key: &str| listed.contains(&hasher.hash_one(key));
        let mut absent = VecDeque::new();
        for key in inventory.not_in(is_listed) {
            account
                .add(cost(key, None))
                .map_err(|over| S3Error::over_budget(LIST, &bucket, &over))?;
            absent.push_back(key.to_owned());
        }
        Ok(Diff {
            objects: changed,
            absent,
            listed_ms: s3.clock().at_most().unwrap_or_default(),
            took: began.elapsed(),
            events: 0,
            account: Some(account),
        })
    }
}

/// The next page of the list that is under way; never, while there is none.
pub(crate) async fn next_page(listing: &mut Option<Listing>) -> Turn {
    match listing {
        Some(listing) => (&mut listing.turn).await,
        None => pending().await,
    }
}

fn turn(mut pages: Pages) -> BoxFuture<'static, Turn> {
    async move {
        let page = pages.next().await;
        (pages, page)
    }
    .boxed()
}

/// The first inventory of a bucket: everything the trigger wants to know of.
pub(crate) async fn first(
    s3: &S3,
    trigger: &BucketTrigger,
    account: &mut Account,
) -> Result<Inventory, S3Error> {
    let mut pages = Pages::new(s3, &trigger.bucket, &trigger.prefix);
    let mut inventory = None;
    while let Some(page) = pages.next().await? {
        // What is written while the list is taken is an event.
        let began_ms = s3.clock().at_least().unwrap_or_default();
        let inventory = inventory.get_or_insert_with(|| Inventory::new(began_ms));
        let wanted = page.iter().filter(|object| trigger.wants(&object.key));
        wanted.for_each(|object| inventory.found_first(object));
        if inventory.len() > MAX_OBJECTS {
            return Err(too_many(&trigger.bucket));
        }
        account
            .set(inventory.bytes())
            .map_err(|over| S3Error::over_budget(LIST, &trigger.bucket, &over))?;
    }
    Ok(inventory.unwrap_or_default())
}

fn too_many(bucket: &str) -> S3Error {
    S3Error::Rejected {
        action: LIST,
        bucket: bucket.to_owned(),
        detail: format!("more than {MAX_OBJECTS} objects: give a narrower prefix"),
    }
}
