//! A table of orders in a database of its own, and the Service by which functions reach it.

use std::{net::SocketAddr, ops::RangeInclusive};

use kipper_cluster::sandbox::Sandbox;
use kipper_function::service::ServiceKind;
use serde_json::{Value, json};

use crate::{
    bindings::{reachable, service},
    servers::{ADMIN, ADMIN_PASSWORD, Session},
};

pub(super) struct Orders {
    kind: ServiceKind,
    database: String,
    address: SocketAddr,
}

impl Orders {
    pub(super) async fn create(sandbox: &Sandbox, kind: ServiceKind) -> Self {
        let database = sandbox.name("orders").replace('-', "_");
        let sql = format!("CREATE DATABASE {database}");
        Session::admin(kind).await.run(&sql).await.unwrap();
        let address = reachable(kind).await;
        let orders = Self { kind, database, address };
        let table = "CREATE TABLE orders (id int PRIMARY KEY, state varchar(10) NOT NULL)";
        orders.session().await.run(table).await.unwrap();
        service(sandbox, "db", kind.as_str()).await;
        orders.credentials(sandbox, ADMIN_PASSWORD).await;
        orders
    }

    pub(super) async fn credentials(&self, sandbox: &Sandbox, password: &str) {
        let (host, port) = (self.address.ip().to_string(), self.address.port().to_string());
        let values = [
            ("HOST", &*host),
            ("PORT", &port),
            ("USERNAME", ADMIN),
            ("PASSWORD", password),
            ("NAME", &self.database),
        ];
        sandbox.secret("db-credentials", &values).await;
    }

    pub(super) async fn insert(&self, ids: RangeInclusive<usize>) {
        let rows: Vec<_> = ids.map(|id| format!("({id}, 'new')")).collect();
        let sql = format!("INSERT INTO orders VALUES {}", rows.join(", "));
        self.session().await.run(&sql).await.unwrap();
    }

    pub(super) async fn unfinished(&self) -> usize {
        let sql = "SELECT count(*) FROM orders WHERE state <> 'done'";
        let count = self.session().await.value(sql).await.unwrap();
        count.unwrap().parse().unwrap()
    }

    pub(super) async fn run(&self, sql: &str) {
        self.session().await.run(sql).await.unwrap();
    }

    pub(super) fn trigger(&self) -> Value {
        trigger(self.kind)
    }

    async fn session(&self) -> Session {
        Session::admin_in(self.kind, &self.database).await
    }
}

/// An event trigger on `orders`, there or not.
pub(super) fn trigger(kind: ServiceKind) -> Value {
    json!({ "type": kind.as_str(), "config": {
        "source": "db",
        "query": "SELECT id FROM orders WHERE state = 'new'",
        "markDone": "UPDATE orders SET state = 'done' WHERE id = {{id}}",
    }})
}
