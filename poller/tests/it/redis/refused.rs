//! What is refused at start, with a line that says why.

use clap::Parser as _;
use kipper_poller::{Config, check};
use kipper_servers::{
    PATIENCE, Sentinel,
    redis::{Options, Redis},
};

use super::list::List;
use crate::{
    function::Function,
    poller::{Poller, Process, TARGET, refused},
    wait::until,
};

/// The flags with one more, or another one of its name.
fn with(flags: &[String], flag: &str) -> Vec<String> {
    let (name, _) = flag.split_once('=').unwrap();
    let mut flags = flags.to_vec();
    flags.retain(|other| !other.starts_with(&format!("{name}=")));
    flags.push(flag.to_owned());
    flags
}

#[tokio::test]
async fn flags_that_could_not_work() {
    let list = List::new().await;
    let flags = list.flags(TARGET);
    let mut none = flags.clone();
    none.retain(|flag| !flag.starts_with("--list="));
    refused(&none, "--list").await;
    refused(&with(&flags, "--list="), "name").await;
    for (url, says) in [
        ("redis-cluster://127.0.0.1:1", "Cluster"),
        ("http://127.0.0.1:1", "scheme"),
        ("127.0.0.1", "redis://"),
        ("redis://", "source URL"),
        ("redis://127.0.0.1/notanumber", "source URL"),
        ("redis-sentinel://127.0.0.1:1", "sentinel"),
    ] {
        refused(&with(&flags, &format!("--source-url={url}")), says).await;
    }
    let (_, server) = list.url.rsplit_once('@').unwrap();
    refused(&with(&flags, &format!("--source-url=redis://:wrong@{server}")), "WRONGPASS").await;
    refused(&with(&flags, &format!("--source-url=redis://{server}")), "NOAUTH").await;
    let database = list.url.replace("/0", "/99");
    refused(&with(&flags, &format!("--source-url={database}")), "DB index").await;
    let no_authority = concat!("--source-ca=", env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
    refused(&with(&flags, no_authority), "PEM").await;
}

#[tokio::test]
async fn keys_of_a_wrong_type() {
    for (key, command) in [
        (None, "SADD"),
        (Some("items"), "SADD"),
        (Some("leases"), "RPUSH"),
        (Some("dead"), "SADD"),
        (Some("state"), "RPUSH"),
    ] {
        let list = List::new().await;
        let key = key.map_or_else(|| list.name.clone(), |key| list.key(key));
        let _: i64 = list.ask(&[command, &key, "member"]).await;
        refused(&list.flags(TARGET), &key).await;
    }
}

/// `a` and `{a}` have the same keys beside them.
#[tokio::test]
async fn two_lists_that_would_share_their_keys() {
    let list = List::new().await;
    drop(list.source().await);
    drop(list.source().await);
    let other = List::called(&format!("{{{}}}", list.name)).await;
    refused(&other.flags(TARGET), &list.name).await;
}

#[tokio::test]
async fn eviction_that_takes_what_waits() {
    let server = Redis::start(Options::default()).unwrap();
    let list = List::on(&server).await;
    for policy in ["allkeys-lru", "allkeys-lfu", "allkeys-random"] {
        let _: String = list.ask(&["CONFIG", "SET", "maxmemory-policy", policy]).await;
        refused(&list.flags(TARGET), policy).await;
    }
    for policy in ["volatile-lru", "volatile-ttl", "noeviction"] {
        let _: String = list.ask(&["CONFIG", "SET", "maxmemory-policy", policy]).await;
        drop(list.source().await);
    }
}

#[tokio::test]
async fn a_replica_also_one_that_takes_writes() {
    let server = Redis::start(Options::default()).unwrap();
    let replica = server.replica().unwrap();
    let list = List::on(&replica).await;
    refused(&list.flags(TARGET), "replica").await;
    let _: String = list.ask(&["CONFIG", "SET", "replica-read-only", "no"]).await;
    refused(&list.flags(TARGET), "replica").await;
}

#[tokio::test]
async fn a_sentinel_taken_for_a_server() {
    let sentinel = Sentinel::start(Vec::new()).unwrap();
    let list = List::on(&sentinel.members()[0]).await;
    let url = format!("redis://127.0.0.1:{}/0", sentinel.port());
    refused(&list.flags_at(&url, TARGET), "sentinel").await;
}

#[tokio::test]
async fn a_cluster() {
    let config = vec!["cluster-enabled yes".to_owned()];
    let server = Redis::start(Options { config, ..Options::default() }).unwrap();
    let list = List::on(&server).await;
    refused(&list.flags(TARGET), "Cluster").await;
}

/// One line on stderr and exit code 64, before anything is claimed.
#[tokio::test]
async fn the_process_says_it_in_one_line() {
    let list = List::new().await;
    let _: i64 = list.ask(&["SADD", &list.name, "member"]).await;
    let output = Process::output(&list.flags(TARGET));
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(64), "{text}");
    let last = text.lines().last().unwrap();
    assert!(last.starts_with("error: ") && last.contains(&list.name), "{text}");
    assert!(!text.contains("quoted"), "a password in {text}");
}

#[tokio::test]
async fn a_server_that_is_away_is_waited_for() {
    let server = Redis::start(Options::default()).unwrap();
    let list = List::on(&server).await;
    let function = Function::start().await;
    server.kill().unwrap();
    let poller = Poller::start(&list.flags(&function.url()));
    server.start_again().unwrap();
    let list = List::named(&list.url, &list.name).await;
    list.fill(1).await;
    until("delivered", async || function.count() == 1).await;
    poller.stop().await;
}

/// A port without TLS reads a greeting of TLS as the beginning of a line, and waits for its end.
#[tokio::test]
async fn tls_where_there_is_none_is_told_in_time() {
    let list = List::new().await;
    let (_, server) = list.url.rsplit_once('@').unwrap();
    let flags = list.flags_at(&format!("rediss://{server}"), TARGET);
    let config = ["kipper-poll".to_owned()].into_iter().chain(flags);
    let config = Config::try_parse_from(config).unwrap();
    let error = tokio::time::timeout(PATIENCE, check(&config)).await.unwrap().unwrap_err();
    assert!(!error.is_usage(), "a server that is silent may be on its way: {error}");
    assert!(error.to_string().contains("redis://"), "{error}");
}
