//! The session that holds the locks: taking them, reading what they stand for, giving them up.
//!
//! It keeps its own list of the locks it holds and never asks for one of them: the server would say
//! yes, and count it twice.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use mysql_async::{Row as SqlRow, Value};
use parking_lot::Mutex;

use super::{
    connection::Link,
    locks::{Batches, Lock, Names, answers},
    plan::{MAX_CHOSEN, Plan, Shape},
    row::Row,
    server::number,
};
use crate::source::{Claimed, Event, Key, Reread, SourceError, Unusable, Wanted};

/// Rows that a claim looks at before it gives up. All pods of a function hold fewer, and so do the
/// dispatcher and the completer leave fewer out.
const MAX_WINDOW: usize = 1 << 20;

pub(super) struct Session {
    link: Link,
    plan: Arc<Plan>,
    names: Names,
    take: Batches,
    give_up: Batches,
    /// Locks this session holds, each taken once.
    locks: Mutex<HashSet<Lock>>,
    /// Rows that the last claim passed by: how much more than is wanted the next one looks at.
    passed: AtomicUsize,
}

/// A row that is locked and is to be read again.
struct Place {
    /// In the query's order.
    at: usize,
    lock: Lock,
    /// Rows there are of its key.
    rows: usize,
    /// Its body and values, while they fit.
    content: Option<(Vec<u8>, Vec<Value>)>,
}

impl Session {
    pub(super) async fn prepare(
        link: Link,
        plan: Arc<Plan>,
        names: Names,
    ) -> Result<Self, SourceError> {
        let session = Self {
            link,
            plan,
            names,
            take: Batches::take(),
            give_up: Batches::give_up(),
            locks: Mutex::new(HashSet::new()),
            passed: AtomicUsize::new(0),
        };
        let plan = &session.plan;
        let mut turn = session.link.turn().await;
        // Both run for nothing, and still meet whatever is wrong with them.
        let none = turn.rows(&plan.window, vec![Value::UInt(0)]).await;
        none.map_err(|error| error.about("query"))?;
        let (sql, parameters) = plan.chosen_none();
        turn.rows(sql, parameters).await.map_err(|error| error.about("query"))?;
        drop(turn);
        Ok(session)
    }

    pub(super) fn is_closed(&self) -> bool {
        self.link.is_closed()
    }

    pub(super) async fn prove(&self) -> Result<(), SourceError> {
        self.link.prove().await
    }

    /// Says so where rows without a key exist: they can never be claimed.
    pub(super) async fn warn_of_keyless(&self) -> Result<(), SourceError> {
        let rows = self.link.turn().await.rows(&self.plan.keyless, Vec::new()).await?;
        if number(&rows) == Some(1) {
            tracing::error!("rows whose key is null match the query; they are never delivered");
        }
        Ok(())
    }

    /// Locks rows nobody else has, then reads them again in a new snapshot: one that another pod
    /// marked meanwhile is not there any more.
    pub(super) async fn claim(&self, wanted: Wanted<'_>) -> Result<Claimed<Row>, SourceError> {
        let mut taken = Vec::new();
        let read = match self.lock_rows(wanted, &mut taken).await {
            Ok(more) => self.fetch(&taken, wanted.bytes).await.map(|read| (read, more)),
            Err(error) => Err(error),
        };
        let locks = taken.into_iter().map(|(_, lock)| lock);
        match read {
            Ok(((events, unusable), more)) => {
                let used: HashSet<&Lock> = events.iter().map(|event| &event.claim.lock).collect();
                let spare: Vec<Lock> = locks.filter(|lock| !used.contains(lock)).collect();
                self.unlock(&spare).await?;
                Ok(Claimed { events, unusable, more })
            }
            Err(error) => {
                let locks: Vec<Lock> = locks.collect();
                self.unlock(&locks).await?;
                Err(error)
            }
        }
    }

    /// Locks the first rows of the query that are free. The window on it grows until there are
    /// enough or there is nothing more: what others hold, rests or fails hides no row behind it.
    /// Returns whether there is more.
    async fn lock_rows(
        &self,
        wanted: Wanted<'_>,
        taken: &mut Vec<(Key, Lock)>,
    ) -> Result<bool, SourceError> {
        let mut seen: HashSet<Key> = wanted.except.iter().cloned().collect();
        let mut window = (wanted.events + self.passed.load(Ordering::Relaxed)).min(MAX_WINDOW);
        loop {
            let limit = vec![Value::UInt(u64::try_from(window).unwrap_or(u64::MAX))];
            let (mut rows, mut fresh) = (0, Vec::new());
            let visit = |row: SqlRow| {
                rows += 1;
                if let Some(key) = self.plan.window_key(&row)
                    && seen.insert(key.clone())
                {
                    fresh.push(key);
                }
            };
            self.link.turn().await.each(&self.plan.window, limit, visit).await?;
            let left = self.lock_keys(fresh, wanted.events, taken).await?;
            let exhausted = rows < window || window >= MAX_WINDOW;
            if exhausted || taken.len() >= wanted.events {
                let passed = rows.saturating_sub(left + taken.len());
                self.passed.store(passed, Ordering::Relaxed);
                return Ok(left > 0 || !exhausted);
            }
            window = (window * 2).min(MAX_WINDOW);
        }
    }

    /// Takes locks in this order until there are `enough`, never one more. Returns how many were not
    /// tried.
    async fn lock_keys(
        &self,
        keys: Vec<Key>,
        enough: usize,
        taken: &mut Vec<(Key, Lock)>,
    ) -> Result<usize, SourceError> {
        let mut named: Vec<(Key, Lock)> = Vec::with_capacity(keys.len());
        {
            let held = self.locks.lock();
            for key in keys {
                let lock = self.names.of(&key);
                if !held.contains(&lock) {
                    named.push((key, lock));
                }
            }
        }
        let locks: Vec<Lock> = named.iter().map(|(_, lock)| Lock::clone(lock)).collect();
        let mut tried = 0;
        while tried < locks.len() && taken.len() < enough {
            let end = locks.len().min(tried + enough - taken.len());
            let got = self.try_locks(&locks[tried..end]).await?;
            let tries = named[tried..].iter().zip(&got);
            taken.extend(tries.filter(|(_, got)| **got).map(|(named, _)| named.clone()));
            tried += got.len();
        }
        Ok(locks.len() - tried)
    }

    /// Tries the first batch of these locks, of which there is one at least, and says for each whether
    /// it is this session's now.
    async fn try_locks(&self, locks: &[Lock]) -> Result<Vec<bool>, SourceError> {
        let Some((batch, sql, parameters)) = self.take.first(locks) else {
            return Err(SourceError::Failed("no lock to take".to_owned()));
        };
        let mut turn = self.link.turn().await;
        let answer = turn.rows(sql, parameters).await.map(|rows| answers(&rows));
        let got = match answer {
            Ok(got) if got.len() == batch.len() => got,
            answer => {
                // What it had taken before it failed is taken.
                for lock in batch {
                    turn.rows("SELECT RELEASE_LOCK(?)", vec![Value::from(&**lock)]).await?;
                }
                let error = answer.err().map(SourceError::from);
                return Err(error.unwrap_or_else(|| SourceError::Failed("no answer".to_owned())));
            }
        };
        let mut held = self.locks.lock();
        held.extend(batch.iter().zip(&got).filter(|(_, got)| **got).map(|(lock, _)| lock.clone()));
        Ok(got)
    }

    /// Reads the locked rows, in the order they were locked.
    async fn fetch(
        &self,
        taken: &[(Key, Lock)],
        bytes: usize,
    ) -> Result<(Vec<Event<Row>>, Vec<(Key, Unusable)>), SourceError> {
        let mut reading = Reading::new(taken, bytes);
        for keys in taken.chunks(MAX_CHOSEN) {
            let keys: Vec<&str> = keys.iter().map(|(key, _)| &**key).collect();
            let (sql, parameters) = self.plan.chosen(&keys).map_err(SourceError::Failed)?;
            let mut shape = None;
            let visit = |row: SqlRow| {
                let shape = shape.get_or_insert_with(|| self.plan.shape(row.columns_ref()));
                if let Ok(shape) = shape {
                    reading.row(shape, &row);
                }
            };
            self.link.turn().await.each(sql, parameters, visit).await?;
            if let Some(Err(text)) = shape {
                return Err(SourceError::Failed(text));
            }
        }
        Ok(reading.finish())
    }

    /// Reads a locked row again. One whose key names another row too is nobody's event any more.
    pub(super) async fn reread(&self, event: &Event<Row>) -> Result<Reread<Row>, SourceError> {
        let taken = [(event.key.clone(), Lock::clone(&event.claim.lock))];
        let (mut events, _) = self.fetch(&taken, usize::MAX).await?;
        Ok(Reread::of(event, events.pop()))
    }

    /// Gives locks up.
    pub(super) async fn unlock(&self, locks: &[Lock]) -> Result<(), SourceError> {
        let (mut rest, mut missing) = (locks, 0);
        while let Some((batch, sql, parameters)) = self.give_up.first(rest) {
            let rows = self.link.turn().await.rows(sql, parameters).await?;
            missing += answers(&rows).iter().filter(|released| !**released).count();
            let mut held = self.locks.lock();
            for lock in batch {
                held.remove(lock);
            }
            drop(held);
            rest = &rest[batch.len()..];
        }
        if missing > 0 {
            tracing::error!(missing, "locks given up that the session did not hold");
        }
        Ok(())
    }

    /// Takes locks again in a new session. Says of each whether nobody else has it.
    pub(super) async fn lock(&self, locks: &[Lock]) -> Result<Vec<bool>, SourceError> {
        let mut taken = Vec::with_capacity(locks.len());
        while taken.len() < locks.len() {
            taken.extend(self.try_locks(&locks[taken.len()..]).await?);
        }
        Ok(taken)
    }
}

/// Rows as they come in, in any order, under a bound on their bytes.
struct Reading {
    places: HashMap<Key, Place>,
    /// What is kept, by place: the last one goes first when there is too much.
    kept: BTreeMap<usize, (Key, usize)>,
    bytes: usize,
    limit: usize,
}

impl Reading {
    fn new(taken: &[(Key, Lock)], limit: usize) -> Self {
        let place = |(at, (key, lock)): (usize, &(Key, Lock))| {
            let place = Place { at, lock: Lock::clone(lock), rows: 0, content: None };
            (Key::clone(key), place)
        };
        let places = taken.iter().enumerate().map(place).collect();
        Self { places, kept: BTreeMap::new(), bytes: 0, limit }
    }

    fn row(&mut self, shape: &Shape, row: &SqlRow) {
        let Some(key) = shape.key(row) else { return };
        // The server may find keys equal that are not the same text.
        let Some(place) = self.places.get_mut(&key) else { return };
        place.rows += 1;
        let body = shape.body(row);
        if let Some((_, size)) = self.kept.insert(place.at, (key, body.len())) {
            self.bytes -= size;
        }
        self.bytes += body.len();
        place.content = Some((body, shape.values(row)));
        while self.bytes > self.limit
            && self.kept.len() > 1
            && let Some((_, (key, size))) = self.kept.pop_last()
        {
            self.bytes -= size;
            if let Some(place) = self.places.get_mut(&key) {
                place.content = None;
            }
        }
    }

    fn finish(self) -> (Vec<Event<Row>>, Vec<(Key, Unusable)>) {
        let mut places: Vec<(Key, Place)> = self.places.into_iter().collect();
        places.sort_by_key(|(_, place)| place.at);
        let (mut events, mut unusable) = (Vec::with_capacity(places.len()), Vec::new());
        for (key, Place { lock, rows, content, .. }) in places {
            match content {
                _ if rows > 1 => unusable.push((key, Unusable::Duplicate)),
                Some((body, values)) => {
                    let body = Bytes::from(body);
                    events.push(Event { key, body, attempts: 0, claim: Row { lock, values } });
                }
                None => {}
            }
        }
        (events, unusable)
    }
}
