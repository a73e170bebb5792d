//! One server for all tests, a list for each.

use std::{
    sync::{
        LazyLock,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use fred::{
    clients::Client,
    interfaces::ClientLike,
    types::{Builder, ClusterHash, CustomCommand, FromValue, Value, config::Config},
};
use kipper_poller::source::{
    Claimed, Event, Source, Wanted,
    redis::{Lease, Redis as Items, RedisConfig},
};
use kipper_servers::redis::{Options, Redis};
use kipper_trigger::ListEnd;

use crate::poller::flags;

static SERVER: LazyLock<Redis> = LazyLock::new(|| Redis::start(Options::default()).unwrap());
static NEXT: AtomicU32 = AtomicU32::new(0);

/// A list that nobody else uses.
pub(crate) struct List {
    pub(crate) url: String,
    pub(crate) name: String,
    client: Client,
}

impl List {
    pub(crate) async fn new() -> Self {
        Self::on(&SERVER).await
    }

    pub(crate) async fn on(server: &Redis) -> Self {
        let name = format!("it{}", NEXT.fetch_add(1, Ordering::Relaxed));
        Self::named(&server.url(), &name).await
    }

    /// A list of the common server.
    pub(crate) async fn called(name: &str) -> Self {
        Self::named(&SERVER.url(), name).await
    }

    pub(crate) async fn named(url: &str, name: &str) -> Self {
        let client = connect(url).await;
        Self { url: url.to_owned(), name: name.to_owned(), client }
    }

    /// The name of one of the keys beside a list without a hash tag.
    pub(crate) fn key(&self, name: &str) -> String {
        format!("{{{}}}:kp:{name}", self.name)
    }

    /// One command.
    pub(crate) async fn ask<R: FromValue>(&self, command: &[&str]) -> R {
        self.try_ask(command).await.unwrap()
    }

    /// One command that may fail.
    pub(crate) async fn try_ask<R: FromValue>(
        &self,
        command: &[&str],
    ) -> Result<R, fred::error::Error> {
        let arguments = command[1..].iter().map(|part| Value::from(*part)).collect();
        ask(&self.client, command[0], arguments).await
    }

    /// Adds an item at the right end.
    pub(crate) async fn push(&self, item: impl Into<Vec<u8>>) {
        self.push_all(vec![item.into()]).await;
    }

    pub(crate) async fn push_all(&self, items: Vec<Vec<u8>>) {
        for batch in items.chunks(1_000) {
            let items = batch.iter().map(|item| Value::try_from(item.clone()).unwrap());
            let arguments = std::iter::once(Value::from(&*self.name)).chain(items).collect();
            let _: i64 = ask(&self.client, "RPUSH", arguments).await.unwrap();
        }
    }

    /// Adds `{"id":1}` to `{"id":<count>}`.
    pub(crate) async fn fill(&self, count: usize) {
        let items = (1..=count).map(|id| format!(r#"{{"id":{id}}}"#).into_bytes());
        self.push_all(items.collect()).await;
    }

    /// Items in the list.
    pub(crate) async fn waiting(&self) -> usize {
        self.ask(&["LLEN", &self.name]).await
    }

    /// Events outside of it, claimed or given back.
    pub(crate) async fn leases(&self) -> usize {
        self.ask(&["ZCARD", &self.key("leases")]).await
    }

    /// Claimed events.
    pub(crate) async fn owned(&self) -> usize {
        self.ask(&["HLEN", &self.key("owners")]).await
    }

    pub(crate) async fn dead(&self) -> usize {
        self.ask(&["LLEN", &self.key("dead")]).await
    }

    /// How often this list's own user was refused a command.
    pub(crate) async fn denied(&self, command: &str) -> usize {
        let log: Vec<std::collections::HashMap<String, Value>> = self.ask(&["ACL", "LOG"]).await;
        let text = |entry: &std::collections::HashMap<String, Value>, field: &str| {
            entry.get(field).and_then(|value| value.as_string()).unwrap_or_default()
        };
        let mine = |entry: &&std::collections::HashMap<String, Value>| {
            text(entry, "username") == self.name && text(entry, "object") == command
        };
        log.iter().filter(mine).map(|entry| text(entry, "count").parse::<usize>().unwrap()).sum()
    }

    /// Whether everything was handled.
    pub(crate) async fn is_done(&self) -> bool {
        // At one moment: between two commands an item could go from one place to the other.
        let sum = "return redis.call('LLEN', KEYS[1]) + redis.call('ZCARD', KEYS[2])";
        self.ask::<i64>(&["EVAL", sum, "2", &self.name, &self.key("leases")]).await == 0
    }

    /// Fails the test if a trace is left of any event.
    pub(crate) async fn assert_clean(&self) {
        for key in ["items", "leases", "owners", "attempts"] {
            let there: i64 = self.ask(&["EXISTS", &self.key(key)]).await;
            assert_eq!(there, 0, "{key}");
        }
    }

    pub(crate) fn flags(&self, target: &str) -> Vec<String> {
        self.flags_at(&self.url, target)
    }

    /// The same by another way to the server.
    pub(crate) fn flags_at(&self, url: &str, target: &str) -> Vec<String> {
        let mut flags = flags(target);
        flags.push("--trigger=redis".to_owned());
        flags.push(format!("--source-url={url}"));
        flags.push(format!("--list={}", self.name));
        flags
    }

    /// What a poller of this list would be configured with.
    pub(crate) fn config(&self, lease: Duration) -> RedisConfig {
        RedisConfig {
            url: self.url.clone(),
            authority: None,
            list: self.name.clone(),
            end: ListEnd::Left,
            lease,
            max_attempts: 10,
        }
    }

    /// The source alone, with a lease that does not run out in a test.
    pub(crate) async fn source(&self) -> Items {
        self.source_with(Duration::from_secs(600)).await
    }

    pub(crate) async fn source_with(&self, lease: Duration) -> Items {
        Items::open(self.config(lease)).await.unwrap()
    }
}

/// A connection of the test's own.
pub(crate) async fn connect(url: &str) -> Client {
    let client = Builder::from_config(Config::from_url(url).unwrap()).build().unwrap();
    client.init().await.unwrap();
    client
}

pub(crate) async fn ask<R: FromValue>(
    client: &Client,
    command: &str,
    arguments: Vec<Value>,
) -> Result<R, fred::error::Error> {
    client.custom(CustomCommand::new(command, ClusterHash::FirstKey, false), arguments).await
}

/// Claims up to `events`.
pub(crate) async fn claim(source: &Items, events: usize) -> Vec<Event<Lease>> {
    claim_but(source, events, &[]).await.events
}

pub(crate) async fn claim_but(
    source: &Items,
    events: usize,
    except: &[std::sync::Arc<str>],
) -> Claimed<Lease> {
    source.claim(Wanted { events, bytes: usize::MAX, except }).await.unwrap()
}

/// The ids of what was delivered, in order.
pub(crate) fn numbers(events: &[Event<Lease>]) -> Vec<i64> {
    let number = |event: &Event<Lease>| {
        let body: serde_json::Value = serde_json::from_slice(&event.body).unwrap();
        body["id"].as_i64().unwrap()
    };
    events.iter().map(number).collect()
}
