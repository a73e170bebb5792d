//! A sentinel with its two servers.

use kipper_servers::Sentinel;

use crate::{
    redis::ask,
    support::{await_that, is_gone, leaves_nothing},
};

#[test]
fn the_replica_takes_over_from_a_killed_master() {
    let sentinel = Sentinel::start(Vec::new()).unwrap();
    let [first, second] = sentinel.members();
    assert_eq!(sentinel.master().unwrap().port(), first.port());
    ask(first, &["set", "pushed", "yes"]).unwrap();
    assert_eq!(ask(first, &["wait", "1", "0"]).unwrap(), "1");

    assert_eq!(sentinel.kill_master().unwrap().port(), first.port());
    await_that("the sentinel changes masters", || {
        sentinel.master().unwrap().port() == second.port()
    });
    assert_eq!(ask(second, &["get", "pushed"]).unwrap(), "yes");
    await_that("the new master takes writes", || ask(second, &["set", "pushed", "no"]).is_ok());

    first.start_again().unwrap();
    await_that("the old master follows", || ask(first, &["get", "pushed"]).unwrap() == "no");
    let pids = [first.pid(), second.pid()];
    leaves_nothing(sentinel);
    assert!(pids.into_iter().all(is_gone));
}
