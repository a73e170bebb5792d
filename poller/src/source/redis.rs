//! Items of a Redis list, claimed by leases.
//!
//! A claim moves items from the list into a hash and gives each an id and a lease, in one script
//! that takes them off the list last: whatever fails leaves the item in one of the two places. A
//! lease is kept alive by its owner and runs out when that is gone; then anybody may take the event
//! over, under its old id and with one attempt more. What is marked, given up or renewed must be the
//! caller's own: whoever lost a lease can do nothing to the event any more.
//!
//! *Unknown outcomes.* The client sends nothing twice by itself, and a connection on which anything
//! went wrong is never used again. Owners are `<poller>:<number of the connection>`: [`Redis::recover`]
//! takes the events in work over to the new connection and gives everything else back that earlier
//! ones held, such as what a claim took whose answer was lost. A command of the old connection that
//! runs later still acts as the old owner: a mark, a release or a renewal finds nothing of its own,
//! and what a claim takes comes back when its lease runs out. Marking twice is the same as once,
//! because ids are never given twice.

mod answer;
mod backlog;
mod body;
mod check;
mod config;
mod connection;
mod keys;
mod lease;
mod scripts;

use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use fred::types::Value;
use kipper_trigger::ListEnd;
use parking_lot::Mutex;
use ring::rand::{SecureRandom as _, SystemRandom};

use self::{
    answer::{array, bytes, number},
    connection::{Connection, Connector, Script, invalid},
    keys::Keys,
    lease::micros,
    scripts::{Scripts, Taken},
};
pub use self::{backlog::Backlog, config::RedisConfig, lease::Lease};
use super::{Claimed, Digest, Event, Key, Mark, Source, SourceError, Wanted};

/// Events in one call of a script at most: Lua can pass a few thousand arguments on.
const MAX_BATCH: usize = 1_000;
/// How long a claim waits for a replica to have it, where sentinels may make that the master.
const CONFIRM_TIMEOUT: Duration = Duration::from_secs(1);
/// After a replica did not answer in that time, claims do not wait for one for this long.
const CONFIRM_PAUSE: Duration = Duration::from_secs(5);

/// A connection and the name under which it owns leases.
struct Link {
    connection: Connection,
    owner: String,
}

/// Logs in and leaves.
pub(crate) async fn login(url: &str, authority: Option<&str>) -> Result<(), SourceError> {
    let connection = Connector::new(url, authority)?.connect().await?;
    // Who gave no password is let in, and refused what it asks for.
    match connection.call("PING", Vec::new()).await? {
        Err(words) if words.starts_with("NOPERM") => Ok(()),
        Err(words) => Err(SourceError::Invalid(words)),
        Ok(_) => Ok(()),
    }
}

/// See the module.
pub struct Redis {
    connector: Connector,
    keys: Keys,
    scripts: Scripts,
    end: ListEnd,
    lease: Duration,
    max_attempts: u32,
    /// Random, and this value's own.
    poller: String,
    /// Connections made so far.
    connections: AtomicU64,
    /// Claims made so far.
    requests: AtomicU64,
    link: Mutex<Option<Arc<Link>>>,
    /// Whether a mark has said that this link is lost.
    reported: AtomicBool,
    /// Until then claims do not wait for a replica.
    unconfirmed: Mutex<Option<Instant>>,
}

impl Redis {
    /// Connects, checks everything that can be checked before the first event, and claims nothing.
    ///
    /// # Errors
    /// [`SourceError::Invalid`] for what only the user can mend, else what is wrong with the server.
    pub async fn open(config: RedisConfig) -> Result<Self, SourceError> {
        let connector = Connector::new(&config.url, config.authority.as_deref())?;
        if config.list.is_empty() {
            return Err(invalid("the list needs a name"));
        }
        let keys = Keys::new(&config.list);
        let mut random = [0; 8];
        SystemRandom::new()
            .fill(&mut random)
            .map_err(|_| SourceError::Failed("no random numbers available".to_owned()))?;
        let connection = connector.connect().await?;
        check::check(&connection, &keys, connector.has_sentinels()).await?;
        let source = Self {
            connector,
            keys,
            scripts: Scripts::default(),
            end: config.end,
            lease: config.lease,
            max_attempts: config.max_attempts,
            poller: format!("{:016x}", u64::from_be_bytes(random)),
            connections: AtomicU64::new(0),
            requests: AtomicU64::new(0),
            link: Mutex::new(None),
            reported: AtomicBool::new(false),
            unconfirmed: Mutex::new(None),
        };
        source.take(connection, source.next_connection());
        Ok(source)
    }

    fn next_connection(&self) -> u64 {
        self.connections.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Goes on with this connection.
    fn take(&self, connection: Connection, number: u64) {
        let owner = format!("{}:{number}", self.poller);
        self.reported.store(false, Ordering::Relaxed);
        *self.link.lock() = Some(Arc::new(Link { connection, owner }));
    }

    fn link(&self) -> Result<Arc<Link>, SourceError> {
        let link = self.link.lock().clone().filter(|link| !link.connection.is_closed());
        link.ok_or_else(|| SourceError::Lost("the connection has ended".to_owned()))
    }

    /// What a mark that met a lost connection says. Whoever meets it first says that the claims are
    /// lost; from then on marks wait for the next connection instead of trying again and again.
    fn broken(&self, error: SourceError) -> SourceError {
        match error {
            SourceError::Lost(text) if self.reported.swap(true, Ordering::Relaxed) => {
                SourceError::Broken(text)
            }
            error => error,
        }
    }

    fn claim_arguments(&self, owner: &str, wanted: Wanted<'_>) -> Vec<Value> {
        let request = self.requests.fetch_add(1, Ordering::Relaxed);
        let end = self.end.as_str();
        let mut arguments = vec![
            Value::from(owner),
            micros(self.lease),
            whole(wanted.events.min(MAX_BATCH)),
            whole(wanted.bytes),
            Value::from(end),
            Value::from(self.max_attempts),
            Value::from(format!("{}{request:x}", self.poller)),
        ];
        arguments.extend(wanted.except.iter().map(|key| Value::from(&**key)));
        arguments
    }

    /// Waits until a replica has what was claimed, so that it keeps its ids through a failover.
    async fn confirm(&self, connection: &Connection) -> Result<(), SourceError> {
        let now = Instant::now();
        let paused = self.unconfirmed.lock().is_some_and(|until| now < until);
        if !self.connector.has_sentinels() || paused {
            return Ok(());
        }
        let timeout = i64::try_from(CONFIRM_TIMEOUT.as_millis()).unwrap_or(i64::MAX);
        let answer = connection.call("WAIT", vec![Value::from(1), Value::from(timeout)]).await?;
        if answer.ok().as_ref().and_then(number).is_none_or(|replicas| replicas < 1) {
            *self.unconfirmed.lock() = Some(Instant::now() + CONFIRM_PAUSE);
        }
        Ok(())
    }

    /// The events this source still has leases of.
    fn leased(events: &[Arc<Event<Lease>>]) -> Vec<&Event<Lease>> {
        let leased = events.iter().map(|event| &**event);
        leased.filter(|event| !event.claim.is_over()).collect()
    }

    /// Runs a script that marks, and reads one status for each of `count` events.
    async fn mark(
        &self,
        script: &Script,
        mut arguments: Vec<Value>,
        count: usize,
    ) -> Result<Vec<i64>, SourceError> {
        let run = async {
            let link = self.link()?;
            arguments.insert(0, Value::from(&*link.owner));
            let answer = link.connection.run(script, self.keys.all(), arguments).await?;
            let statuses: Option<Vec<i64>> =
                array(answer).and_then(|parts| parts.iter().map(number).collect());
            statuses
                .filter(|statuses| statuses.len() == count)
                .ok_or_else(|| link.connection.lost("the answer to a mark makes no sense"))
        };
        run.await.map_err(|error| self.broken(error))
    }

    /// Takes in what a script says of a mark.
    fn marked(&self, event: &Event<Lease>, status: i64, retried: bool) -> Mark {
        event.claim.end();
        let rows = match status {
            1 => Some(1),
            // An earlier try did it, as far as anybody can know.
            0 if retried => None,
            0 => Some(0),
            _ => {
                tracing::warn!(key = %event.key, "the lease of a handled event was taken over");
                Some(0)
            }
        };
        Mark::Done { rows, still: None }
    }
}

impl Source for Redis {
    type Claim = Lease;

    fn has_dead_letters(&self) -> bool {
        true
    }

    async fn claim(&self, wanted: Wanted<'_>) -> Result<Claimed<Lease>, SourceError> {
        let link = self.link()?;
        let arguments = self.claim_arguments(&link.owner, wanted);
        let answer = link.connection.run(&self.scripts.claim, self.keys.all(), arguments).await?;
        let taken = Taken::read(answer)
            .ok_or_else(|| link.connection.lost("the answer to a claim makes no sense"))?;
        for key in &taken.dead {
            tracing::error!(%key, "event is dead: its poller went away while it was handled");
        }
        if !taken.problem.is_empty() {
            if taken.events.is_empty() {
                return Err(SourceError::Failed(taken.problem));
            }
            tracing::warn!("items stayed in the list: {}", taken.problem);
        }
        if !taken.events.is_empty() {
            self.confirm(&link.connection).await?;
        }
        Ok(Claimed { events: taken.events, unusable: Vec::new(), more: taken.more })
    }

    async fn extend(&self, held: &[Arc<Event<Lease>>]) -> Result<(), SourceError> {
        let link = self.link()?;
        let leased = Self::leased(held);
        if leased.is_empty() {
            // Any answer proves that it lives, even that the user may not ask.
            return link.connection.call("PING", Vec::new()).await.map(drop);
        }
        for batch in leased.chunks(MAX_BATCH) {
            let mut arguments = vec![Value::from(&*link.owner), micros(self.lease)];
            for event in batch {
                arguments.extend([Value::from(&*event.key), event.claim.attempts()]);
            }
            link.connection.run(&self.scripts.extend, self.keys.all(), arguments).await?;
        }
        Ok(())
    }

    async fn ack(
        &self,
        events: &[Arc<Event<Lease>>],
        retried: bool,
    ) -> Result<Vec<Mark>, SourceError> {
        let mut marks = Vec::with_capacity(events.len());
        for batch in events.chunks(MAX_BATCH) {
            let keys = batch.iter().map(|event| Value::from(&*event.key)).collect();
            let statuses = self.mark(&self.scripts.complete, keys, batch.len()).await?;
            for (event, status) in batch.iter().zip(statuses) {
                marks.push(self.marked(event, status, retried));
            }
        }
        Ok(marks)
    }

    async fn fail(
        &self,
        event: &Event<Lease>,
        reason: &str,
        attempts: u32,
        _retried: bool,
    ) -> Result<Mark, SourceError> {
        let arguments = vec![Value::from(&*event.key), Value::from(reason), Value::from(attempts)];
        let statuses = self.mark(&self.scripts.dead, arguments, 1).await?;
        // What is not there was moved by an earlier try.
        Ok(self.marked(event, statuses[0], true))
    }

    async fn release(&self, events: &[Arc<Event<Lease>>]) -> Result<(), SourceError> {
        let leased = Self::leased(events);
        if leased.is_empty() {
            return Ok(());
        }
        let (link, now) = (self.link()?, Instant::now());
        for batch in leased.chunks(MAX_BATCH) {
            let mut arguments = vec![Value::from(&*link.owner)];
            for event in batch {
                let (attempts, rest) = (event.claim.attempts(), event.claim.rest(now));
                arguments.extend([Value::from(&*event.key), attempts, rest]);
            }
            link.connection.run(&self.scripts.release, self.keys.all(), arguments).await?;
        }
        Ok(())
    }

    /// A handled item is gone: none ever asks to be delivered again.
    async fn peek(&self, _: &[Key]) -> Result<Vec<(Key, Digest)>, SourceError> {
        Ok(Vec::new())
    }

    async fn recover(&self, held: &[Arc<Event<Lease>>]) -> Result<Vec<Key>, SourceError> {
        // What would still be taken on the old one would be given back as not held.
        if let Some(link) = self.link.lock().take() {
            link.connection.close();
        }
        let connection = self.connector.connect().await?;
        let number = self.next_connection();
        let leased = Self::leased(held);
        let mut arguments = vec![
            Value::from(&*self.poller),
            whole(usize::try_from(number).unwrap_or(usize::MAX)),
            micros(self.lease),
        ];
        arguments.extend(leased.iter().map(|event| Value::from(&*event.key)));
        let answer = connection.run(&self.scripts.adopt, self.keys.all(), arguments).await?;
        let lost: HashSet<Bytes> =
            array(answer).unwrap_or_default().into_iter().filter_map(bytes).collect();
        self.take(connection, number);
        let others = leased.iter().filter(|event| lost.contains(event.key.as_bytes()));
        Ok(others.map(|event| Key::clone(&event.key)).collect())
    }

    fn attempted(&self, event: &Event<Lease>, attempts: u32, rest: Duration) {
        event.claim.note(attempts, Instant::now() + rest);
    }
}

/// A number as scripts take it.
fn whole(number: usize) -> Value {
    Value::from(i64::try_from(number).unwrap_or(i64::MAX))
}
