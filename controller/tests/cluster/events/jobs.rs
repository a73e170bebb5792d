//! A list of jobs in Redis, and the Service by which functions reach it.

use std::{ops::RangeInclusive, sync::LazyLock};

use fred::{
    clients::Client,
    interfaces::ClientLike as _,
    types::{Builder, ClusterHash, CustomCommand, FromValue, Value as Argument, config::Config},
};
use kipper_cluster::{bridge::on_bridge, sandbox::Sandbox};
use kipper_servers::redis::{Options, Redis};
use serde_json::{Value, json};
use tokio::task::spawn_blocking;

use crate::bindings::service;

static SERVER: LazyLock<Redis> =
    LazyLock::new(|| Redis::start(Options::default()).unwrap_or_else(|error| panic!("{error}")));

pub(super) struct Jobs {
    list: String,
    client: Client,
}

impl Jobs {
    pub(super) async fn create(sandbox: &Sandbox) -> Self {
        let server = spawn_blocking(|| &*SERVER).await.unwrap();
        let config = Config::from_url(&server.url()).unwrap();
        let client = Builder::from_config(config).build().unwrap();
        client.init().await.unwrap();
        let address = on_bridge(server.port()).await;
        let (host, port) = (address.ip().to_string(), address.port().to_string());
        let password = server.password().unwrap();
        let values = [("HOST", &*host), ("PORT", &port), ("PASSWORD", password)];
        service(sandbox, "cache", "redis").await;
        sandbox.secret("cache-credentials", &values).await;
        Self { list: sandbox.name("jobs"), client }
    }

    pub(super) async fn push(&self, ids: RangeInclusive<usize>) {
        for id in ids {
            self.ask::<u64>("RPUSH", &[&self.list, &json!({ "id": id }).to_string()]).await;
        }
    }

    /// Puts a text where the list should be, or takes it away.
    pub(super) async fn set_text(&self, is_there: bool) {
        if is_there {
            self.ask::<()>("SET", &[&self.list, "x"]).await;
        } else {
            self.ask::<u64>("DEL", &[&self.list]).await;
        }
    }

    /// Jobs in the list and those with a lease.
    pub(super) async fn left(&self) -> usize {
        let waiting: usize = self.ask("LLEN", &[&self.list]).await;
        let leases: usize = self.ask("ZCARD", &[&format!("{{{}}}:kp:leases", self.list)]).await;
        waiting + leases
    }

    pub(super) fn trigger(&self) -> Value {
        json!({ "type": "redis", "config": { "source": "cache", "list": self.list } })
    }

    async fn ask<R: FromValue>(&self, command: &str, arguments: &[&str]) -> R {
        let command = CustomCommand::new(command, ClusterHash::FirstKey, false);
        let arguments = arguments.iter().map(|argument| Argument::from(*argument)).collect();
        self.client.custom(command, arguments).await.unwrap()
    }
}
