//! What all servers have from their guard, seen at the one that starts fastest.

use std::{
    env,
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Command, Stdio},
    thread,
};

use kipper_servers::{Redis, ServerError, redis::Options};

use crate::support::{await_that, is_gone, leaves_nothing};

/// Set for the process that is going to be killed.
const VICTIM: &str = "KIPPER_SERVERS_VICTIM";

#[test]
fn a_killed_process_takes_its_servers_with_it() {
    if env::var_os(VICTIM).is_some() {
        let redis = Redis::start(Options::default()).unwrap();
        println!("\nserver {} {}", redis.pid(), redis.directory().display());
        loop {
            thread::park();
        }
    }
    let mut victim = Command::new(env::current_exe().unwrap())
        .args(["--exact", "guard::a_killed_process_takes_its_servers_with_it", "--nocapture"])
        .env(VICTIM, "yes")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(victim.stdout.take().unwrap()).lines();
    let line = lines.find_map(|line| line.unwrap().strip_prefix("server ").map(str::to_owned));
    let line = line.unwrap();
    let (pid, directory) = line.split_once(' ').unwrap();
    let pid = pid.parse().unwrap();
    assert!(!is_gone(pid) && Path::new(directory).is_dir());
    victim.kill().unwrap();
    victim.wait().unwrap();
    await_that("server and directory are gone", || is_gone(pid) && !Path::new(directory).exists());
}

#[test]
fn what_is_wrong_is_quoted_and_nothing_stays() {
    let config = vec!["no-such-setting yes".to_owned()];
    let error = Redis::start(Options { config, ..Options::default() }).unwrap_err();
    assert!(matches!(&error, ServerError::Failed { server: "redis", .. }), "{error:?}");
    assert!(error.to_string().contains("no-such-setting"), "{error}");
}

#[test]
fn a_server_that_ended_by_itself_starts_again() {
    let redis = Redis::start(Options::default()).unwrap();
    let killed = redis.pid();
    assert!(Command::new("kill").args(["-KILL", &killed.to_string()]).status().unwrap().success());
    await_that("it is gone", || is_gone(killed));
    redis.start_again().unwrap();
    let running = redis.pid();
    redis.start_again().unwrap();
    assert!(running != killed && redis.pid() == running);
    redis.kill().unwrap();
    redis.kill().unwrap();
    assert!(is_gone(running) && redis.pid() == 0);
    redis.start_again().unwrap();
    leaves_nothing(redis);
}
