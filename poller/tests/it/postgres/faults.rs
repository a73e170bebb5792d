//! What dies, and what that costs: nothing lost, and nothing delivered twice that was not in work.

use kipper_servers::{
    postgres::{Options, Postgres},
    proxy::Proxy,
};

use super::database::{Database, connect};
use crate::{
    function::Function,
    poller::Poller,
    scenario::faults::{self, duplicates},
    table::Table as _,
    wait::until,
};

#[tokio::test(flavor = "multi_thread")]
async fn killed_pollers_lose_nothing() {
    faults::killed_pollers(Database::new().await).await;
}

/// The server restarts without a shutdown: every session ends at once.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_restarts_loses_nothing() {
    let server = Postgres::start(Options::default()).unwrap();
    let database = Database::on(&server).await;
    let function = Function::start().await;
    database.fill(3_000).await;
    let flags = database.flags(&function.url());
    let pollers: Vec<Poller> = (0..2).map(|_| Poller::start(&flags)).collect();
    until("under way", async || function.count() >= 500).await;
    server.restart_immediate().unwrap();
    let client = connect(&database.url).await;
    let open = "SELECT count(*) FROM orders WHERE status <> 'done'";
    until("all marked", async || client.query_one(open, &[]).await.unwrap().get::<_, i64>(0) == 0)
        .await;
    for poller in pollers {
        poller.stop().await;
    }
    assert_eq!(function.by_id().len(), 3_000);
    assert!(duplicates(&function) <= 2 * 256, "{} twice", duplicates(&function));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_session_takes_its_work_again() {
    let end = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
               WHERE datname = current_database() AND application_name = 'kipper-poll' \
               AND pid IN (SELECT pid FROM pg_locks WHERE locktype = 'advisory')";
    let end = async |database: &Database| assert_eq!(database.number(end).await, 1);
    faults::lost_session(Database::new().await, end).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cut_connections_lose_nothing() {
    let server = Postgres::start(Options::default()).unwrap();
    let database = Database::on(&server).await;
    let proxy = Proxy::start(server.port()).unwrap();
    let url = database.url.replace(&server.port().to_string(), &proxy.port().to_string());
    faults::cut_connections(database, &proxy, &url).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_pod_took_over_is_not_tried_again() {
    let server = Postgres::start(Options::default()).unwrap();
    let database = Database::on(&server).await;
    let proxy = Proxy::start(server.port()).unwrap();
    let url = database.url.replace(&server.port().to_string(), &proxy.port().to_string());
    faults::taken_over(database, &proxy, &url).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_function_that_restarts_loses_nothing() {
    faults::function_that_restarts(Database::new().await).await;
}

#[tokio::test]
async fn a_signal_finishes_what_runs() {
    faults::signal(Database::new().await).await;
}
