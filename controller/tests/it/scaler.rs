//! KEDA's queries on real servers: what is counted, and how far.

use kipper_controller::{
    bindings,
    plan::{Event, Kind},
};
use kipper_function::service::ServiceKind;

use crate::{
    render::fixtures::Case,
    servers::{self, Session},
};

/// The scaler's query for a trigger with this query, at most 2 replicas and 3 rows for each.
fn counting(kind: ServiceKind, query: &str) -> String {
    let spec = format!(
        "{{image: x, scaling: {{maxReplicas: 2}}, triggers: [{{type: {kind}, \
         config: {{source: db, query: q, batch: '3', markDone: m}}}}]}}"
    );
    let mut case = Case::new("f", &spec).event(&[]);
    case.event = case.event.map(|event| Event { query: Some(query.to_owned()), ..event });
    let objects = case.render();
    let scaled = objects.iter().find(|object| object.kind == Kind::ScaledObject).unwrap();
    let query = scaled.json.pointer("/spec/triggers/0/metadata/query").unwrap();
    query.as_str().unwrap().to_owned()
}

/// A session in a database of its own.
async fn session(kind: ServiceKind) -> Session {
    let name = format!("counted_{:08x}", fastrand::u32(..));
    Session::admin(kind).await.run(&format!("CREATE DATABASE {name}")).await.unwrap();
    Session::admin_in(kind, &name).await
}

async fn check(kind: ServiceKind) {
    let mut session = session(kind).await;
    session.run("CREATE TABLE orders (id int)").await.unwrap();
    let query = counting(kind, "SELECT * FROM orders WHERE id > 0 -- all of them");
    for (more, expected) in [(0, "0"), (1, "1"), (4, "5"), (1, "6"), (1, "6")] {
        for _ in 0..more {
            session.run("INSERT INTO orders VALUES (1), (0)").await.unwrap();
        }
        let counted = session.value(&query).await.unwrap();
        assert_eq!(counted.as_deref(), Some(expected));
    }
}

#[tokio::test]
async fn rows_of_postgres_are_counted_up_to_what_all_replicas_take() {
    check(ServiceKind::Postgres).await;
}

#[tokio::test]
async fn rows_of_mariadb_are_counted_up_to_what_all_replicas_take() {
    check(ServiceKind::Mysql).await;
}

/// The limit in time of PostgreSQL is in its connection string.
#[tokio::test]
async fn mariadb_gives_a_long_count_up() {
    let mut session = session(ServiceKind::Mysql).await;
    session.run("CREATE TABLE orders (id int)").await.unwrap();
    session.run("INSERT INTO orders VALUES (1)").await.unwrap();
    let query = counting(ServiceKind::Mysql, "SELECT * FROM orders WHERE sleep(600) = 0");
    let sooner = query.replace("max_statement_time=5 ", "max_statement_time=0.1 ");
    assert_ne!(query, sooner);
    let error = session.value(&sooner).await.unwrap_err();
    assert!(error.contains("max_statement_time exceeded"), "{error}");
}

#[tokio::test]
async fn a_postgres_says_how_many_locks_it_has() {
    let kind = ServiceKind::Postgres;
    let server = servers::server(kind);
    let patience = std::time::Duration::from_secs(60);
    let capacity = bindings::lock_capacity(&server, patience).await.unwrap();
    let sql = "SELECT current_setting('max_connections')::int * \
               current_setting('max_locks_per_transaction')::int";
    let told = Session::admin(kind).await.value(sql).await.unwrap();
    assert_eq!(Some(capacity.to_string()), told);
}
