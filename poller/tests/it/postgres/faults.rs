//! What dies, and what that costs: nothing lost, and nothing delivered twice that was not in work.

use std::time::Duration;

use kipper_servers::{
    postgres::{Options, Postgres},
    proxy::Proxy,
};

use super::database::{Database, connect};
use crate::{
    function::{Function, status},
    poller::{Poller, Process},
    wait::until,
};

/// More deliveries than events.
fn duplicates(function: &Function) -> usize {
    function.count() - function.by_id().len()
}

/// SIGKILL of one of three pollers, again and again. What it had claimed and not marked may come
/// twice, all else once. `make soak` runs it longer.
#[tokio::test(flavor = "multi_thread")]
async fn killed_pollers_lose_nothing() {
    const MAX_HELD: usize = 64;
    let soak = std::env::var_os("KIPPER_SOAK").is_some();
    let (rows, kills) = if soak { (100_000, 20) } else { (10_000, 8) };
    let (database, function) = (Database::new().await, Function::start().await);
    database.fill(rows).await;
    let mut flags = database.flags(&function.url());
    flags.push(format!("--max-held={MAX_HELD}"));
    let mut pollers: Vec<Process> = (0..3).map(|_| Process::start(&flags)).collect();
    for kill in 0..kills {
        let seen = function.count();
        until("progress", async || {
            function.count() >= seen + if soak { 4_000 } else { 400 }
                || database.count("pending").await == 0
        })
        .await;
        pollers.remove(fastrand::usize(..3)).kill();
        pollers.push(Process::start(&flags));
        println!("kill {kill}: {} deliveries, {} twice", function.count(), duplicates(&function));
    }
    until("all marked", async || database.count("done").await == rows).await;
    drop(pollers);
    println!("{} rows, {kills} kills: 0 lost, {} twice", rows, duplicates(&function));
    assert_eq!(function.by_id().len(), usize::try_from(rows).unwrap());
    assert!(duplicates(&function) <= kills * MAX_HELD, "{} twice", duplicates(&function));
    until("locks gone", async || database.locks().await == 0).await;
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

/// The session with the locks is ended alone, with handlers at work: their events are taken again by
/// the same pod, so that nobody delivers them a second time.
#[tokio::test(flavor = "multi_thread")]
async fn a_lost_session_takes_its_work_again() {
    let database = Database::new().await;
    let function = Function::with(|_| async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        status(200)
    })
    .await;
    database.fill(40).await;
    let poller = Poller::start(&database.flags(&function.url()));
    until("at work", async || function.count() >= 8).await;
    let end = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
               WHERE datname = current_database() AND application_name = 'kipper-poll' \
               AND pid IN (SELECT pid FROM pg_locks WHERE locktype = 'advisory')";
    assert_eq!(database.number(end).await, 1);
    until("all marked", async || database.count("done").await == 40).await;
    poller.stop().await;
    assert_eq!(function.count(), 40);
    assert_eq!(function.overlaps(), 0);
}

/// Both connections cut in the middle, several times.
#[tokio::test(flavor = "multi_thread")]
async fn cut_connections_lose_nothing() {
    let server = Postgres::start(Options::default()).unwrap();
    let database = Database::on(&server).await;
    let proxy = Proxy::start(server.port()).unwrap();
    let name: String =
        database.client.query_one("SELECT current_database()::text", &[]).await.unwrap().get(0);
    let url = server.url(&name).replace(&server.port().to_string(), &proxy.port().to_string());
    let function = Function::start().await;
    database.fill(3_000).await;
    let poller = Poller::start(&database.flags_at(&url, &function.url()));
    for _ in 0..5 {
        let seen = function.count();
        until("progress", async || {
            function.count() >= seen + 200 || database.count("pending").await == 0
        })
        .await;
        proxy.cut();
    }
    until("all marked", async || database.count("done").await == 3_000).await;
    poller.stop().await;
    assert_eq!(function.by_id().len(), 3_000);
    assert!(duplicates(&function) <= 5 * 256, "{} twice", duplicates(&function));
    assert_eq!(function.overlaps(), 0);
}

/// The function goes away in the middle and comes back.
#[tokio::test(flavor = "multi_thread")]
async fn a_function_that_restarts_loses_nothing() {
    let database = Database::new().await;
    let function = Function::start().await;
    let (addr, url) = (function.addr(), function.url());
    database.fill(3_000).await;
    let poller = Poller::start(&database.flags(&url));
    until("under way", async || function.count() >= 500).await;
    let before = function.by_id();
    drop(function);
    until("released", async || database.locks().await == 0).await;
    let function = Function::listen(addr, |_| async { status(200) }).await;
    until("all marked", async || database.count("done").await == 3_000).await;
    poller.stop().await;
    let mut all = function.by_id();
    all.extend(before);
    assert_eq!(all.len(), 3_000);
    assert!(function.deliveries().iter().all(|delivery| delivery.attempt <= 2));
}

/// SIGTERM: handlers finish, their marks are committed, nothing new is begun.
#[tokio::test]
async fn a_signal_finishes_what_runs() {
    let database = Database::new().await;
    let function = Function::with(|_| async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        status(200)
    })
    .await;
    database.fill(100).await;
    let poller = Poller::start(&database.flags(&function.url()));
    until("at work", async || function.count() >= 8).await;
    poller.stop().await;
    let delivered = i64::try_from(function.count()).unwrap();
    assert!(delivered < 100);
    assert_eq!(database.count("done").await, delivered);
    assert_eq!(database.locks().await, 0);
}
