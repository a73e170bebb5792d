//! What dies, and what that costs: nothing lost, and nothing delivered twice that was not in work.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use kipper_servers::Proxy;
use tokio_util::sync::CancellationToken;

use crate::{
    function::{Function, status},
    poller::{Embedded, Poller, Process},
    table::Table,
    wait::until,
};

/// More deliveries than events.
pub(crate) fn duplicates(function: &Function) -> usize {
    function.count() - function.by_id().len()
}

/// Whether this is `make soak`: the same over many more events.
pub(crate) fn is_soak() -> bool {
    std::env::var_os("KIPPER_SOAK").is_some()
}

/// SIGKILL of one of three pollers, again and again. What it had claimed and not marked may come
/// twice, all else once. `make soak` runs it longer.
pub(crate) async fn killed_pollers(database: impl Table) {
    const MAX_HELD: usize = 64;
    let (rows, kills, between) = if is_soak() { (100_000, 20, 4_000) } else { (10_000, 8, 400) };
    let function = Function::start().await;
    database.fill(rows).await;
    let mut flags = database.flags(&function.url());
    flags.push(format!("--max-held={MAX_HELD}"));
    let mut pollers: Vec<Process> = (0..3).map(|_| Process::start(&flags)).collect();
    for kill in 1..=kills {
        let seen = function.count();
        until("progress", async || {
            function.count() >= seen + between || database.count("pending").await == 0
        })
        .await;
        pollers.remove(fastrand::usize(..3)).kill();
        pollers.push(Process::start(&flags));
        println!("kill {kill}: {} deliveries, {} twice", function.count(), duplicates(&function));
    }
    until("all marked", async || database.count("done").await == rows).await;
    drop(pollers);
    println!("{rows} rows, {kills} kills: {} twice", duplicates(&function));
    assert_eq!(function.by_id().len(), usize::try_from(rows).unwrap());
    assert!(duplicates(&function) <= kills * MAX_HELD, "{} twice", duplicates(&function));
    until("locks gone", async || database.locks().await == 0).await;
}

/// Both connections cut in the middle, several times. The URL leads through the proxy.
pub(crate) async fn cut_connections(database: impl Table, proxy: &Proxy, url: &str) {
    const CUTS: usize = 5;
    let function = Function::start().await;
    database.fill(3_000).await;
    let poller = Poller::start(&database.flags_at(url, &function.url()));
    for _ in 0..CUTS {
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
    assert!(duplicates(&function) <= CUTS * 256, "{} twice", duplicates(&function));
    assert_eq!(function.overlaps(), 0);
}

/// The function goes away in the middle and comes back.
pub(crate) async fn function_that_restarts(database: impl Table) {
    let function = Function::start().await;
    let (addr, url) = (function.addr(), function.url());
    database.fill(3_000).await;
    let poller = Poller::start(&database.flags(&url));
    until("under way", async || function.count() >= 500).await;
    let before = function.log();
    drop(function);
    until("released", async || database.locks().await == 0).await;
    let function = Function::listen(addr, |_| async { status(200) }).await;
    until("all marked", async || database.count("done").await == 3_000).await;
    poller.stop().await;
    let mut all = function.by_id();
    all.extend(before());
    assert_eq!(all.len(), 3_000);
    assert!(function.deliveries().iter().all(|delivery| delivery.attempt <= 2));
}

/// SIGTERM: handlers finish, their marks are committed, nothing new is begun.
pub(crate) async fn signal(database: impl Table) {
    let function = slow(Duration::from_millis(200)).await;
    database.fill(100).await;
    let poller = Poller::start(&database.flags(&function.url()));
    until("at work", async || function.count() >= 8).await;
    poller.stop().await;
    let delivered = i64::try_from(function.count()).unwrap();
    assert!(delivered < 100);
    assert_eq!(database.count("done").await, delivered);
    assert_eq!(database.locks().await, 0);
}

/// The session with the locks is ended alone by `end`, with handlers at work: their events are taken
/// again by the same pod, so that nobody delivers them a second time.
pub(crate) async fn lost_session<T: Table>(database: T, end: impl AsyncFnOnce(&T)) {
    let function = slow(Duration::from_millis(300)).await;
    database.fill(40).await;
    let poller = Poller::start(&database.flags(&function.url()));
    until("at work", async || function.count() >= 8).await;
    end(&database).await;
    until("all marked", async || database.count("done").await == 40).await;
    poller.stop().await;
    assert_eq!(function.count(), 40);
    assert_eq!(function.overlaps(), 0);
}

/// The session is away for so long that another pod claims what is in work: it ends there, and a
/// failure of what still runs here is not tried again. The URL leads through the proxy.
pub(crate) async fn taken_over(database: impl Table, proxy: &Proxy, url: &str) {
    let (fail, finish) = (CancellationToken::new(), CancellationToken::new());
    let function = Function::with({
        let (fail, finish, calls) = (fail.clone(), finish.clone(), AtomicUsize::new(0));
        move |_| {
            let is_first = calls.fetch_add(1, Ordering::Relaxed) == 0;
            let (fail, finish) = (fail.clone(), finish.clone());
            async move {
                let (end, code) = if is_first { (fail, 500) } else { (finish, 200) };
                end.cancelled().await;
                status(code)
            }
        }
    })
    .await;
    database.fill(1).await;
    let cut = Embedded::start(&database.flags_at(url, &function.url()));
    until("at work", async || function.count() == 1).await;
    proxy.refuse();
    proxy.cut();
    let other = Poller::start(&database.flags(&function.url()));
    until("taken over", async || function.count() == 2).await;
    proxy.resume();
    fail.cancel();
    until("left to the other", async || !cut.is_holding()).await;
    finish.cancel();
    until("marked", async || database.count("done").await == 1).await;
    cut.stop().await;
    other.stop().await;
    assert_eq!(function.count(), 2);
    assert_eq!(database.locks().await, 0);
}

/// Answers 200 after a while.
async fn slow(pause: Duration) -> Function {
    Function::with(move |_| async move {
        tokio::time::sleep(pause).await;
        status(200)
    })
    .await
}
