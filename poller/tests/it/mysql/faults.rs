//! What dies, and what that costs: nothing lost, and nothing delivered twice that was not in work.

use kipper_servers::Proxy;
use mysql_async::prelude::Queryable as _;

use super::database::Database;
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

/// The server is killed and starts again: every session ends at once.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_restarts_loses_nothing() {
    let (server, database) = Database::alone(&[]).await;
    let function = Function::start().await;
    database.fill(3_000).await;
    let flags = database.flags(&function.url());
    let pollers: Vec<Poller> = (0..2).map(|_| Poller::start(&flags)).collect();
    until("under way", async || function.count() >= 500).await;
    server.restart().unwrap();
    let database = database.again(&server);
    until("all marked", async || database.count("done").await == 3_000).await;
    for poller in pollers {
        poller.stop().await;
    }
    assert_eq!(function.by_id().len(), 3_000);
    assert!(duplicates(&function) <= 2 * 256, "{} twice", duplicates(&function));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_session_takes_its_work_again() {
    let end = async |database: &Database| {
        let holders = "SELECT DISTINCT l.thread_id FROM information_schema.metadata_lock_info l \
                       JOIN information_schema.processlist p ON p.id = l.thread_id \
                       WHERE l.lock_type = 'User lock' AND p.db = DATABASE()";
        let holder = database.number(holders).await;
        database.run(&format!("KILL {holder}")).await;
    };
    faults::lost_session(Database::new().await, end).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cut_connections_lose_nothing() {
    let (server, database) = Database::alone(&[]).await;
    let proxy = Proxy::start(server.port()).unwrap();
    let url = database.url.replace(&server.port().to_string(), &proxy.port().to_string());
    faults::cut_connections(database, &proxy, &url).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_pod_took_over_is_not_tried_again() {
    let (server, database) = Database::alone(&[]).await;
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

/// A commit that was carried out and never confirmed: its row is looked at, not marked twice.
#[tokio::test(flavor = "multi_thread")]
async fn a_commit_of_unknown_outcome_is_not_made_twice() {
    let (server, database) = Database::alone(&[]).await;
    let proxy = Proxy::start(server.port()).unwrap();
    let url = database.url.replace(&server.port().to_string(), &proxy.port().to_string());
    let function = Function::start().await;
    let mut flags = database.flags_at(&url, &function.url());
    flags.retain(|flag| !flag.starts_with("--mark-done="));
    let mark = "UPDATE orders SET tries = tries + 1, status = 'done' WHERE id = {{id}}";
    flags.push(format!("--mark-done={mark}"));
    database.fill(1).await;
    let mut backup = database.pool.get_conn().await.unwrap();
    for stage in ["START", "FLUSH", "BLOCK_DDL", "BLOCK_COMMIT"] {
        backup.query_drop(format!("BACKUP STAGE {stage}")).await.unwrap();
    }
    let poller = Poller::start(&flags);
    let committing = "SELECT count(*) FROM information_schema.processlist \
                      WHERE db = DATABASE() AND state = 'Waiting for backup lock'";
    until("in the commit", async || database.number(committing).await == 1).await;
    proxy.stall_answers();
    backup.query_drop("BACKUP STAGE END").await.unwrap();
    until("committed", async || database.count("done").await == 1).await;
    assert_eq!(proxy.cut(), 2);
    proxy.resume();
    database.fill(1).await;
    until("the next marked", async || database.count("done").await == 2).await;
    poller.stop().await;
    assert_eq!(database.number("SELECT sum(tries) FROM orders").await, 2);
    assert_eq!((function.count(), database.locks().await), (2, 0));
}

/// A primary that becomes read only takes no marks, and gives out no claims either.
#[tokio::test(flavor = "multi_thread")]
async fn a_primary_that_becomes_read_only() {
    let (_server, database) = Database::alone(&[]).await;
    let function = Function::start().await;
    database.fill(20).await;
    let poller = Poller::start(&database.flags(&function.url()));
    until("all marked", async || database.count("done").await == 20).await;
    database.run("SET GLOBAL read_only = 1").await;
    until("the session ends", async || database.sessions().await < 2).await;
    database.fill(20).await;
    database.run("SET GLOBAL read_only = 0").await;
    until("all marked", async || database.count("done").await == 40).await;
    poller.stop().await;
    assert_eq!((function.count(), function.overlaps()), (40, 0));
}
