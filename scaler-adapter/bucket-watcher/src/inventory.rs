//! What is known of one bucket, and whether what is heard about it is news.
//!
//! Pure. Every change is heard of in two ways: the service's notifications, late, twice or out of order,
//! and lists, which see only what is there. Each upload and each removal has one id, whichever way
//! it was heard, and becomes one event: what was accepted is remembered, so that the other way's word,
//! or a repetition, is recognised even when the event has long been handled.
//!
//! Lists collapse: of an object written twice, or written and removed, between two lists they see
//! the last state only. A notification adds what they missed.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::Arc,
};

use kipper_bucket::{Listed, names};
use serde::{Deserialize, Serialize};

/// What a map or a queue costs for each entry beside its texts, about.
const ENTRY_BYTES: usize = 160;
/// Objects known at most; a bucket with more cannot be watched by lists.
pub(crate) const MAX_OBJECTS: usize = 500_000;
/// Accepted events remembered at most. A notification that is repeated after as many others may be
/// accepted again, with the same id.
const MAX_SEEN: usize = 65_536;
/// Removals shown by lists that a notification may still report.
const MAX_REMOVED: usize = 65_536;

/// The state an object was seen in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Version {
    /// Without quotes.
    pub(crate) etag: String,
    pub(crate) modified_ms: u64,
}

/// What a notification says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Notice {
    Created { key: String, version: Version },
    Removed { key: String, removed_ms: u64 },
}

/// News: an event to store, and what follows for the inventory once it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct News {
    /// The event's id.
    pub(crate) id: String,
    /// Under which the same is reported by the other way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) alias: Option<String>,
    pub(crate) key: String,
    pub(crate) effect: Effect,
}

/// How the inventory changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Effect {
    /// The news are older than what is known.
    None,
    Set(Version),
    Removed,
    /// Missing in a list that was complete then.
    Missing(u64),
}

/// What is known of one bucket.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Inventory {
    /// What happened before is not an event.
    since_ms: u64,
    objects: HashMap<String, Version>,
    seen: Seen,
    /// Removals that lists showed and no notification has reported yet.
    missing: HashMap<String, Missing>,
    /// What all of this takes in memory, about.
    #[serde(skip)]
    bytes: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Missing {
    /// When the latest of these lists was complete.
    listed_ms: u64,
    /// How many removals they showed.
    count: u32,
}

impl Inventory {
    /// Of a bucket that was not listed yet. What [`Inventory::found_first`] adds is no event.
    pub(crate) fn new(began_ms: u64) -> Self {
        Self { since_ms: began_ms, ..Self::default() }
    }

    /// An object of the first list of a bucket.
    pub(crate) fn found_first(&mut self, object: &Listed) {
        self.set(object.key.clone(), version(object));
    }

    /// Begins from what was read: what it takes in memory is not written.
    pub(crate) fn weighed(mut self) -> Self {
        let objects = self.objects.iter().map(|(key, version)| cost(key, Some(version)));
        let missing = self.missing.keys().map(|key| cost(key, None));
        let seen = self.seen.order.iter().map(|id| cost(id, None));
        self.bytes = objects.chain(missing).chain(seen).sum();
        self
    }

    /// What it takes in memory, about.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn len(&self) -> usize {
        self.objects.len()
    }

    fn set(&mut self, key: String, version: Version) {
        self.bytes += cost(&key, Some(&version));
        if let Some((key, former)) = self.objects.remove_entry(&key) {
            self.bytes -= cost(&key, Some(&former));
        }
        self.objects.insert(key, version);
    }

    fn unset(&mut self, key: &str) {
        if let Some((key, former)) = self.objects.remove_entry(key) {
            self.bytes -= cost(&key, Some(&former));
        }
    }

    fn saw(&mut self, id: &str) {
        let (added, gone) = self.seen.insert(id);
        self.bytes += if added { cost(id, None) } else { 0 };
        self.bytes -= gone.map_or(0, |gone| cost(&gone, None));
    }

    /// What a notification brings, if it is news.
    pub(crate) fn notified(&mut self, bucket: &str, notice: &Notice) -> Option<News> {
        match notice {
            Notice::Created { key, version } => {
                let id = names::created(bucket, key, &version.etag, version.modified_ms);
                let known = self.objects.get(key);
                let old = version.modified_ms < self.since_ms;
                if old || known == Some(version) || self.seen.contains(&id) {
                    return None;
                }
                // Known to be over: written over by now, or gone when a list was taken later.
                let late = known.is_some_and(|known| known.modified_ms > version.modified_ms)
                    || self
                        .missing
                        .get(key)
                        .is_some_and(|missing| version.modified_ms <= missing.listed_ms);
                let effect = if late { Effect::None } else { Effect::Set(version.clone()) };
                Some(News { id, alias: None, key: key.clone(), effect })
            }
            Notice::Removed { key, removed_ms } => {
                let unseen = names::removed_unseen(bucket, key, *removed_ms);
                if *removed_ms < self.since_ms || self.seen.contains(&unseen) {
                    return None;
                }
                if let Some(known) = self.objects.get(key)
                    && known.modified_ms <= *removed_ms
                {
                    let id = names::removed(bucket, key, &known.etag, known.modified_ms);
                    let (alias, key) = (Some(unseen), key.clone());
                    return Some(News { id, alias, key, effect: Effect::Removed });
                }
                // A list was faster. It showed one removal, so it answers for one.
                if let Some(missing) = self.missing.get_mut(key)
                    && *removed_ms <= missing.listed_ms
                {
                    missing.count -= 1;
                    if missing.count == 0 {
                        self.missing.remove(key);
                        self.bytes -= cost(key, None);
                    }
                    self.saw(&unseen);
                    return None;
                }
                Some(News { id: unseen, alias: None, key: key.clone(), effect: Effect::None })
            }
        }
    }

    /// What an object in a list brings, if it is news.
    pub(crate) fn listed(&mut self, bucket: &str, object: &Listed) -> Option<News> {
        let version = version(object);
        if self.objects.get(&object.key) == Some(&version) {
            return None;
        }
        let id = names::created(bucket, &object.key, &version.etag, version.modified_ms);
        if self.seen.contains(&id) {
            self.set(object.key.clone(), version);
            return None;
        }
        let effect = Effect::Set(version);
        Some(News { id, alias: None, key: object.key.clone(), effect })
    }

    /// Whether an object in a list is as it is known.
    pub(crate) fn is_known(&self, object: &Listed) -> bool {
        self.objects.get(&object.key).is_some_and(|known| {
            known.modified_ms == object.modified_ms && known.etag == object.etag.trim_matches('"')
        })
    }

    /// Keys that are known and not in a list.
    pub(crate) fn not_in(&self, is_listed: impl Fn(&str) -> bool) -> impl Iterator<Item = &str> {
        self.objects.keys().map(String::as_str).filter(move |key| !is_listed(key))
    }

    /// What the absence of a known object from a list brings, if it is news.
    pub(crate) fn absent(&mut self, bucket: &str, key: &str, listed_ms: u64) -> Option<News> {
        let known = self.objects.get(key)?;
        let id = names::removed(bucket, key, &known.etag, known.modified_ms);
        if self.seen.contains(&id) {
            self.unset(key);
            return None;
        }
        let effect = Effect::Missing(listed_ms);
        Some(News { id, alias: None, key: key.to_owned(), effect })
    }

    /// What was known of an object last.
    pub(crate) fn known(&self, key: &str) -> Option<&Version> {
        self.objects.get(key)
    }

    /// Takes stored news in. The same news in the same order make the same inventory.
    pub(crate) fn apply(&mut self, news: &News) {
        self.saw(&news.id);
        if let Some(alias) = &news.alias {
            self.saw(alias);
        }
        match &news.effect {
            Effect::None => {}
            Effect::Set(version) => {
                self.set(news.key.clone(), version.clone());
            }
            Effect::Removed => self.unset(&news.key),
            Effect::Missing(listed_ms) => {
                self.unset(&news.key);
                self.note_missing(&news.key, *listed_ms);
            }
        }
    }
}

impl Inventory {
    fn note_missing(&mut self, key: &str, listed_ms: u64) {
        if self.missing.len() >= MAX_REMOVED {
            // What is older than most: no notification will report it any more.
            let mut times: Vec<u64> = self.missing.values().map(|m| m.listed_ms).collect();
            times.sort_unstable();
            let middle = times[times.len() / 2];
            self.missing.retain(|_, missing| missing.listed_ms > middle);
            *self = std::mem::take(self).weighed();
        }
        if !self.missing.contains_key(key) {
            self.bytes += cost(key, None);
        }
        let missing = self.missing.entry(key.to_owned());
        let missing = missing.or_insert(Missing { listed_ms, count: 0 });
        missing.listed_ms = listed_ms;
        missing.count = missing.count.saturating_add(1);
    }
}

/// What an entry takes in memory, about.
pub(crate) fn cost(key: &str, version: Option<&Version>) -> usize {
    ENTRY_BYTES + key.len() + version.map_or(0, |version| version.etag.len())
}

/// Ids that were accepted, the latest ones.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Seen {
    order: VecDeque<Arc<str>>,
    ids: HashSet<Arc<str>>,
}

impl Seen {
    fn contains(&self, id: &str) -> bool {
        self.ids.contains(id)
    }

    /// Whether it is new, and which one is forgotten for it.
    fn insert(&mut self, id: &str) -> (bool, Option<Arc<str>>) {
        if self.contains(id) {
            return (false, None);
        }
        let id: Arc<str> = id.into();
        self.ids.insert(Arc::clone(&id));
        let full = self.order.len() >= MAX_SEEN;
        let oldest = if full { self.order.pop_front() } else { None };
        if let Some(oldest) = &oldest {
            self.ids.remove(oldest);
        }
        self.order.push_back(id);
        (true, oldest)
    }
}

impl Serialize for Seen {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.order.iter().map(|id| &**id))
    }
}

impl<'de> Deserialize<'de> for Seen {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let order: VecDeque<String> = VecDeque::deserialize(deserializer)?;
        let order: VecDeque<Arc<str>> = order.into_iter().map(Arc::from).collect();
        Ok(Self { ids: order.iter().cloned().collect(), order })
    }
}

/// Services differ in the quotes.
fn version(object: &Listed) -> Version {
    Version { etag: object.etag.trim_matches('"').to_owned(), modified_ms: object.modified_ms }
}

#[cfg(test)]
mod tests;
