//! The session that holds the locks: taking them, reading what they stand for, giving them up.
//!
//! It keeps its own list of the locks it holds. The server's list is compared with it after every
//! claim that failed: a statement that ends with an error keeps the locks it took before.

use std::collections::{HashMap, HashSet};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio_postgres::{Client, Row as SqlRow, Statement, types::ToSql};

use super::{
    connection::{Role, explain},
    plan::{Plan, about},
    row::Row,
    text::{Text, array},
};
use crate::source::{Claimed, Event, Key, Reread, SourceError, Unusable, Wanted};

/// Rounds of giving stray locks up; each takes one off locks that were taken several times.
const MAX_STRAY_ROUNDS: usize = 64;

/// Locks this session holds, by how often it took each.
type Locks = HashMap<i64, u32>;

pub(super) struct Session {
    client: Client,
    claim: Statement,
    fetch: Statement,
    keyless: Statement,
    key_columns: usize,
    locks: Mutex<Locks>,
}

impl Session {
    pub(super) async fn prepare(client: Client, plan: &Plan) -> Result<Self, SourceError> {
        let prepare = async |sql: &str| {
            client.prepare(sql).await.map_err(|error| about("query", Role::Claims, &error))
        };
        let claim = prepare(&plan.claim).await?;
        let fetch = prepare(&plan.fetch).await?;
        let keyless = prepare(&plan.keyless).await?;
        let key_columns = plan.key.len();
        let session =
            Self { client, claim, fetch, keyless, key_columns, locks: Mutex::new(Locks::new()) };
        // Runs nothing, and still meets missing grants.
        session
            .client
            .query(&session.claim, &[&0i64, &Vec::<&str>::new(), &0i64])
            .await
            .map_err(|error| about("query", Role::Claims, &error))?;
        Ok(session)
    }

    pub(super) fn is_closed(&self) -> bool {
        self.client.is_closed()
    }

    /// Says so where rows without a key exist: they can never be claimed.
    pub(super) async fn warn_of_keyless(&self) -> Result<(), SourceError> {
        let row = self.client.query_one(&self.keyless, &[]).await;
        if row.map_err(|error| explain(Role::Claims, &error))?.get(0) {
            tracing::error!("rows whose key is null match the query; they are never delivered");
        }
        Ok(())
    }

    /// Locks rows nobody else has, then reads them again in a new snapshot: one that another pod
    /// marked meanwhile is not there any more.
    pub(super) async fn claim(
        &self,
        seed: i64,
        wanted: Wanted<'_>,
    ) -> Result<Claimed<Row>, SourceError> {
        let except: Vec<&str> = wanted.except.iter().map(|key| &**key).collect();
        let limit = i64::try_from(wanted.events).unwrap_or(i64::MAX);
        let parameters: [&(dyn ToSql + Sync); 3] = [&seed, &except, &limit];
        let taken = match self.client.query(&self.claim, &parameters).await {
            Ok(rows) => rows,
            Err(error) => {
                let error = explain(Role::Claims, &error);
                self.unlock_strays().await?;
                return Err(error);
            }
        };
        let more = taken.len() >= wanted.events;
        let mut order: Vec<(Key, i64)> = Vec::with_capacity(taken.len());
        {
            let mut locks = self.locks.lock();
            for row in &taken {
                let (key, lock): (&str, i64) = (row.get(0), row.get(1));
                *locks.entry(lock).or_default() += 1;
                order.push((Key::from(key), lock));
            }
        }
        let all: Vec<i64> = order.iter().map(|(_, lock)| *lock).collect();
        match self.fetch(order, wanted.bytes).await {
            Ok((events, unusable)) => {
                let used: HashSet<i64> = events.iter().map(|event| event.claim.lock).collect();
                let mut spare = all;
                spare.retain(|lock| !used.contains(lock));
                self.unlock(&spare).await?;
                Ok(Claimed { events, unusable, more })
            }
            Err(error) => {
                self.unlock(&all).await?;
                Err(error)
            }
        }
    }

    /// Reads the locked rows, in the order they were locked.
    async fn fetch(
        &self,
        order: Vec<(Key, i64)>,
        bytes: usize,
    ) -> Result<(Vec<Event<Row>>, Vec<(Key, Unusable)>), SourceError> {
        if order.is_empty() {
            return Ok((Vec::new(), Vec::new()));
        }
        let keys = key_arrays(order.iter().map(|(key, _)| &**key), self.key_columns)?;
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX).to_string();
        let texts: Vec<Text<'_>> =
            keys.iter().chain([&bytes]).map(|text| Text(Some(text))).collect();
        let parameters: Vec<&(dyn ToSql + Sync)> =
            texts.iter().map(|text| text as &(dyn ToSql + Sync)).collect();
        let rows = self.client.query(&self.fetch, &parameters).await;
        let rows = rows.map_err(|error| explain(Role::Claims, &error))?;
        let mut by_key: HashMap<&str, Vec<&SqlRow>> = HashMap::with_capacity(rows.len());
        for row in &rows {
            by_key.entry(row.get(0)).or_default().push(row);
        }
        let mut locked: HashMap<Key, u32> = HashMap::with_capacity(order.len());
        for (key, _) in &order {
            *locked.entry(key.clone()).or_default() += 1;
        }
        let (mut events, mut unusable) = (Vec::with_capacity(order.len()), Vec::new());
        for (key, lock) in order {
            let rows = by_key.remove(&*key).unwrap_or_default();
            if rows.len() > 1 {
                unusable.push((key, Unusable::Duplicate));
            } else if let [row] = rows[..]
                && let (Some(body), Some(values)) = (row.get::<_, Option<&str>>(1), row.get(2))
                && locked.get(&key) == Some(&1)
            {
                let body = Bytes::copy_from_slice(body.as_bytes());
                events.push(Event { key, body, attempts: 0, claim: Row { lock, values } });
            }
        }
        Ok((events, unusable))
    }

    /// Reads a locked row again. One whose key names another row too is nobody's event any more.
    pub(super) async fn reread(&self, event: &Event<Row>) -> Result<Reread<Row>, SourceError> {
        let order = vec![(event.key.clone(), event.claim.lock)];
        let (mut events, _) = self.fetch(order, usize::MAX).await?;
        Ok(Reread::of(event, events.pop()))
    }

    /// Gives locks up, each as often as it is listed.
    pub(super) async fn unlock(&self, locks: &[i64]) -> Result<(), SourceError> {
        if locks.is_empty() {
            return Ok(());
        }
        let sql = "SELECT pg_advisory_unlock(l) FROM unnest($1::int8[]) l";
        let rows = self.client.query(sql, &[&locks]).await;
        let rows = rows.map_err(|error| explain(Role::Claims, &error))?;
        let mut held = self.locks.lock();
        for lock in locks {
            if let Some(count) = held.get_mut(lock) {
                *count -= 1;
                if *count == 0 {
                    held.remove(lock);
                }
            }
        }
        let missing = rows.iter().filter(|row| !row.get::<_, bool>(0)).count();
        if missing > 0 {
            tracing::error!(missing, "locks given up that the session did not hold");
        }
        Ok(())
    }

    /// Takes locks again in a new session. Returns those that nobody else has.
    pub(super) async fn lock(&self, locks: &[i64]) -> Result<HashSet<i64>, SourceError> {
        let sql = "SELECT l, pg_try_advisory_lock(l) FROM unnest($1::int8[]) l";
        let rows = self.client.query(sql, &[&locks]).await;
        let rows = rows.map_err(|error| explain(Role::Claims, &error))?;
        let taken = rows.iter().filter(|row| row.get(1)).map(|row| row.get(0));
        let mut held = self.locks.lock();
        Ok(taken.inspect(|lock| *held.entry(*lock).or_default() += 1).collect())
    }

    /// Gives up what the server says this session holds and it does not know of.
    async fn unlock_strays(&self) -> Result<(), SourceError> {
        let sql = "SELECT (classid::int8 << 32) | objid::int8 FROM pg_catalog.pg_locks \
                   WHERE locktype = 'advisory' AND pid = pg_backend_pid() AND objsubid = 1 AND granted";
        for _ in 0..MAX_STRAY_ROUNDS {
            let rows = self.client.query(sql, &[]).await;
            let rows = rows.map_err(|error| explain(Role::Claims, &error))?;
            let mut strays: Vec<i64> = rows.iter().map(|row| row.get(0)).collect();
            {
                let held = self.locks.lock();
                strays.retain(|lock| !held.contains_key(lock));
            }
            if strays.is_empty() {
                return Ok(());
            }
            self.unlock(&strays).await?;
        }
        Err(SourceError::Lost("locks of a failed claim cannot be given up".to_owned()))
    }

    /// Proves that the session lives.
    pub(super) async fn prove(&self) -> Result<(), SourceError> {
        let answer = self.client.simple_query("").await;
        answer.map(drop).map_err(|error| explain(Role::Claims, &error))
    }
}

/// One array literal for each column of the key.
pub(super) fn key_arrays<'a>(
    keys: impl Iterator<Item = &'a str>,
    columns: usize,
) -> Result<Vec<String>, SourceError> {
    if columns == 1 {
        return Ok(vec![array(keys)]);
    }
    let mut by_column: Vec<Vec<String>> = vec![Vec::new(); columns];
    for key in keys {
        let parts: Vec<String> = serde_json::from_str(key)
            .map_err(|error| SourceError::Failed(format!("key {key:?}: {error}")))?;
        for (column, part) in by_column.iter_mut().zip(parts) {
            column.push(part);
        }
    }
    Ok(by_column.iter().map(|column| array(column.iter().map(String::as_str))).collect())
}
