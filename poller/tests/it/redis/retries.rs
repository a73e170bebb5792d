//! What follows a delivery that fails.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use serde_json::Value;

use super::list::List;
use crate::{
    function::{Function, Reply, status},
    poller::Poller,
    wait::until,
};

/// Answers `reply` to item 1 and 200 to all others.
async fn picky(reply: impl Fn() -> Reply + Send + Sync + 'static) -> Function {
    Function::with(move |delivery| {
        let reply = if delivery.row_id() == 1 { reply() } else { status(200) };
        async move { reply }
    })
    .await
}

fn with_attempts(list: &List, function: &Function, attempts: u32) -> Vec<String> {
    let mut flags = list.flags(&function.url());
    flags.push(format!("--max-attempts={attempts}"));
    flags
}

async fn letter(list: &List) -> Value {
    let text: String = list.ask(&["LINDEX", &list.key("dead"), "0"]).await;
    serde_json::from_str(&text).unwrap()
}

#[tokio::test]
async fn retryable_answers_end_among_the_dead_letters() {
    for code in [404, 429, 500, 503] {
        let (list, function) = (List::new().await, picky(move || status(code)).await);
        list.fill(30).await;
        let poller = Poller::start(&with_attempts(&list, &function, 2));
        until("all settled", async || list.is_done().await).await;
        poller.stop().await;
        assert_eq!(list.dead().await, 1, "{code}");
        let letter = letter(&list).await;
        assert_eq!(letter["item"], r#"{"id":1}"#, "{code}");
        assert_eq!(letter["attempts"], 2, "{code}");
        assert!(letter["reason"].as_str().unwrap().starts_with(&code.to_string()), "{letter}");
        let attempts: Vec<u32> = function
            .deliveries()
            .iter()
            .filter(|delivery| delivery.row_id() == 1)
            .map(|delivery| delivery.attempt)
            .collect();
        assert_eq!(attempts, [1, 2], "{code}");
        list.assert_clean().await;
    }
}

#[tokio::test]
async fn other_client_errors_are_dead_at_once() {
    for code in [400, 410] {
        let (list, function) = (List::new().await, picky(move || status(code)).await);
        list.fill(5).await;
        let poller = Poller::start(&with_attempts(&list, &function, 10));
        until("all settled", async || list.is_done().await).await;
        poller.stop().await;
        assert_eq!((list.dead().await, function.count()), (1, 5), "{code}");
        assert_eq!(letter(&list).await["attempts"], 1, "{code}");
    }
}

/// The command of the documentation puts dead letters back; each is delivered once, under its id.
#[tokio::test]
async fn a_redrive_delivers_once() {
    let redrive = include_str!("../../../docs/redis.md");
    let redrive = redrive.split("```lua\n").nth(1).unwrap().split("```").next().unwrap();
    let well = Arc::new(AtomicBool::new(false));
    let answer = Arc::clone(&well);
    let function = Function::with(move |_| {
        let code = if answer.load(Ordering::Relaxed) { 200 } else { 400 };
        async move { status(code) }
    })
    .await;
    let list = List::new().await;
    list.fill(30).await;
    let poller = Poller::start(&with_attempts(&list, &function, 3));
    until("dead", async || list.dead().await == 30).await;
    well.store(true, Ordering::Relaxed);
    let keys = [list.key("dead"), list.key("items"), list.key("leases")];
    let back: i64 = list.ask(&["EVAL", redrive, "3", &keys[0], &keys[1], &keys[2]]).await;
    assert_eq!(back, 30);
    until("all gone", async || list.is_done().await).await;
    poller.stop().await;
    assert_eq!(list.dead().await, 0);
    assert_eq!(function.by_id().len(), 30);
    assert!(function.by_id().values().all(|count| *count == 2));
    list.assert_clean().await;
}

/// More items that always fail than may be held: all others still come through.
#[tokio::test]
async fn poison_never_blocks_the_others() {
    let function = Function::with(|delivery| async move {
        status(if delivery.row_id() <= 40 && delivery.row_id() % 2 == 0 { 500 } else { 200 })
    })
    .await;
    let list = List::new().await;
    list.fill(200).await;
    let mut flags = list.flags(&function.url());
    flags.push("--max-held=16".to_owned());
    let poller = Poller::start(&flags);
    until("the others gone", async || list.waiting().await == 0 && list.leases().await == 20).await;
    poller.stop().await;
    assert_eq!(list.owned().await, 0);
    let well =
        function.deliveries().iter().filter(|d| d.row_id() > 40 || d.row_id() % 2 == 1).count();
    assert_eq!(well, 180);
    assert_eq!(function.overlaps(), 0);
}

/// While the function answers nothing but 503, nothing is dead-lettered, little is held, and it
/// recovers by itself. The twenty failures that open the breaker count as no attempts, nor do the
/// probes; an event that failed twice before keeps one.
#[tokio::test(flavor = "multi_thread")]
async fn an_outage_uses_up_no_attempt() {
    let down = Arc::new(AtomicBool::new(true));
    let answer = Arc::clone(&down);
    let function = Function::with(move |_| {
        let code = if answer.load(Ordering::Relaxed) { 503 } else { 200 };
        async move { status(code) }
    })
    .await;
    let list = List::new().await;
    list.fill(20_000).await;
    let poller = Poller::start(&list.flags(&function.url()));
    until("probes", async || function.count() >= 24 && list.owned().await <= 1).await;
    let attempts: Vec<usize> = list.ask(&["HVALS", &list.key("attempts")]).await;
    let attempts: usize = attempts.into_iter().sum();
    assert!(attempts + 20 < function.count(), "{attempts} of {}", function.count());
    down.store(false, Ordering::Relaxed);
    until("all gone", async || list.is_done().await).await;
    poller.stop().await;
    assert_eq!((list.dead().await, function.overlaps()), (0, 0));
    let well = function.by_id().len();
    assert_eq!(well, 20_000);
    list.assert_clean().await;
}
