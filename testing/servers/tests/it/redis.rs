//! Redis.

use std::process::Command;

use kipper_servers::{Redis, redis::Options};

use crate::support::{leaves_nothing, output, restarts};

pub(crate) fn ask(server: &Redis, command: &[&str]) -> Result<String, String> {
    let mut client = Command::new("redis-cli");
    if let Some(password) = server.password() {
        client.env("REDISCLI_AUTH", password);
    }
    client.args(["-e", "-h", "127.0.0.1", "-p", &server.port().to_string()]);
    output(client.args(command))
}

#[test]
fn keeps_what_it_confirmed_when_it_is_killed() {
    let config = vec!["maxmemory-policy allkeys-lru".to_owned()];
    let redis = Redis::start(Options { config, ..Options::default() }).unwrap();
    for n in 1..=20 {
        assert_eq!(ask(&redis, &["rpush", "orders", "x"]).unwrap(), n.to_string());
        redis.restart().unwrap();
    }
    restarts(&redis);
    assert_eq!(ask(&redis, &["llen", "orders"]).unwrap(), "20");
    let policy = ask(&redis, &["config", "get", "maxmemory-policy"]).unwrap();
    assert!(policy.ends_with("allkeys-lru"), "{policy}");
    let stranger = output(Command::new("redis-cli").args([
        "-e",
        "-p",
        &redis.port().to_string(),
        "llen",
        "orders",
    ]));
    assert!(stranger.is_err_and(|error| error.contains("NOAUTH")));
    leaves_nothing(redis);
}

#[test]
fn speaks_tls_beside_plain_text() {
    let redis = Redis::start(Options { password: None, tls: true, ..Options::default() }).unwrap();
    assert_eq!(ask(&redis, &["set", "a", "b"]).unwrap(), "OK");
    let port = redis.tls_port().unwrap().to_string();
    let ca = redis.ca_file();
    for host in ["localhost", "127.0.0.1"] {
        let mut client = Command::new("redis-cli");
        client.args(["-h", host, "-p", &port, "--tls", "--cacert"]).arg(&ca).args(["get", "a"]);
        assert_eq!(output(&mut client).unwrap(), "b");
    }
    let url = format!("rediss://127.0.0.1:{port}/0");
    assert_eq!(redis.tls_url().unwrap(), url);
    leaves_nothing(redis);
}
