//! Users with less than all rights, at start and at run time.

use std::collections::HashSet;

use kipper_servers::redis::{Options, Redis};

use super::list::List;
use crate::{
    function::Function,
    poller::{Poller, TARGET, refused},
    wait::until,
};

/// The commands of the documentation's grant.
fn granted() -> Vec<String> {
    let page = include_str!("../../../docs/redis.md");
    let grant = page.split("```text\nACL SETUSER").nth(1).unwrap().split("```").next().unwrap();
    grant.split_whitespace().filter(|word| word.starts_with('+')).map(str::to_owned).collect()
}

/// A list of a server of its own with a user `poller` who has these commands and the list's keys.
async fn with_user(server: &Redis, commands: &[String]) -> (List, Vec<String>) {
    let list = List::on(server).await;
    let keys = [format!("~{}", list.name), format!("~{}", list.key("*"))];
    let mut command = vec!["ACL", "SETUSER", &list.name, "reset", "on", ">secret"];
    command.extend(keys.iter().map(String::as_str));
    command.extend(commands.iter().map(String::as_str));
    let _: String = list.ask(&command).await;
    let (_, address) = list.url.rsplit_once('@').unwrap();
    let url = format!("redis://{}:secret@{address}", list.name);
    (list, vec![url])
}

#[tokio::test]
async fn the_documented_rights_are_enough_and_all_needed() {
    let server = Redis::start(Options::default()).unwrap();
    let function = Function::start().await;
    let (list, url) = with_user(&server, &granted()).await;
    list.fill(100).await;
    let poller = Poller::start(&list.flags_at(&url[0], &function.url()));
    until("all gone", async || list.is_done().await).await;
    poller.stop().await;
    assert_eq!(function.count(), 100);

    // For scaling, for Sentinel, for an idle connection, and for a server that was restarted.
    let free = ["+llen", "+zcard", "+wait", "+ping", "+eval"];
    for missing in granted() {
        if free.contains(&missing.as_str()) {
            continue;
        }
        let mut rest = granted();
        rest.retain(|command| *command != missing);
        let (list, url) = with_user(&server, &rest).await;
        // Named by what it is for, where a script was refused it.
        let command = missing.trim_start_matches('+').to_uppercase();
        let says = if command == "EVALSHA" { "evalsha" } else { &command };
        refused(&list.flags_at(&url[0], TARGET), says).await;
    }
}

#[tokio::test]
async fn keys_that_the_user_may_not_touch() {
    let server = Redis::start(Options::default()).unwrap();
    let (list, url) = with_user(&server, &granted()).await;
    for missing in ["leases", "items", "dead", "state"] {
        let keys = ["items", "leases", "owners", "attempts", "dead", "state", "check:*"];
        let mut command = vec!["ACL".to_owned(), "SETUSER".to_owned(), list.name.clone()];
        command.extend(["resetkeys".to_owned(), format!("~{}", list.name)]);
        let keys = keys.into_iter().filter(|key| *key != missing);
        command.extend(keys.map(|key| format!("~{}", list.key(key))));
        let command: Vec<&str> = command.iter().map(String::as_str).collect();
        let _: String = list.ask(&command).await;
        refused(&list.flags_at(&url[0], TARGET), "is refused").await;
    }
}

/// A right that is taken away while items are claimed, at any place of the claim: nothing is lost and
/// nothing comes twice.
#[tokio::test(flavor = "multi_thread")]
async fn a_right_lost_at_run_time_loses_nothing() {
    let server = Redis::start(Options::default()).unwrap();
    for right in ["lrange", "hset", "zadd", "ltrim", "hdel"] {
        let (list, url) = with_user(&server, &granted()).await;
        let function = Function::start().await;
        let poller = Poller::start(&list.flags_at(&url[0], &function.url()));
        list.fill(100).await;
        until("under way", async || function.count() >= 100).await;
        let _: String = list.ask(&["ACL", "SETUSER", &list.name, &format!("-{right}")]).await;
        list.fill(200).await;
        // Whatever it does meanwhile, it was refused at least twice.
        until("refused", async || list.denied(right).await >= 2).await;
        let _: String = list.ask(&["ACL", "SETUSER", &list.name, &format!("+{right}")]).await;
        until("all gone", async || list.is_done().await).await;
        poller.stop().await;
        assert_eq!((function.count(), function.by_id().len()), (300, 300), "{right}");
        list.assert_clean().await;
    }
}

/// A key that becomes something else, and is put right again.
#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_type_at_run_time_loses_nothing() {
    let server = Redis::start(Options::default()).unwrap();
    let (list, function) = (List::on(&server).await, Function::start().await);
    let poller = Poller::start(&list.flags(&function.url()));
    list.fill(100).await;
    until("all gone", async || list.is_done().await).await;
    for key in [list.name.clone(), list.key("leases"), list.key("items"), list.key("owners")] {
        let before = function.count();
        let wrong = "redis.call('DEL', KEYS[1]); return redis.call('SET', KEYS[1], 'text')";
        let _: String = list.ask(&["EVAL", wrong, "1", &key]).await;
        if key != list.name {
            list.fill(100).await;
        }
        let refused = wrong_types(&list).await;
        until("refused", async || wrong_types(&list).await >= refused + 2).await;
        assert_eq!(function.count(), before);
        let _: i64 = list.ask(&["DEL", &key]).await;
        if key == list.name {
            list.fill(100).await;
        }
        until("all gone", async || list.is_done().await).await;
        let ids: HashSet<String> = function.by_id().into_keys().collect();
        assert_eq!((function.count(), ids.len()), (before + 100, before + 100), "{key}");
    }
    poller.stop().await;
    list.assert_clean().await;
}

/// How often the server met a key of a wrong type.
async fn wrong_types(list: &List) -> u64 {
    let stats: String = list.ask(&["INFO", "errorstats"]).await;
    let count = stats.split("errorstat_WRONGTYPE:count=").nth(1);
    count.map_or(0, |count| count.lines().next().unwrap().parse().unwrap())
}
