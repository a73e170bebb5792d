//! The end: in order, at once, and by force.

use std::fs;

use rustix::process::Signal;

use crate::support::{Kip, folder, is_gone, receive, send, until};

/// Answers once the file `gate` beside it exists.
const GATED: &str = "const fs = require('node:fs');\n\
    module.exports = () => new Promise((resolve) => {\n\
      console.log('request began');\n\
      const look = () => fs.existsSync('gate') ? resolve('done') : setTimeout(look, 10);\n\
      look();\n\
    });";
const PLAIN: &str = "module.exports = async () => 'ok'";

#[test]
fn ctrl_c_lets_the_running_request_finish_and_leaves_nothing() {
    let folder = folder(&[("f.js", GATED)]);
    let mut kip = Kip::start(folder.path(), &[]);
    let running = send(kip.address, "fn-f-localhost", "/").unwrap();
    kip.wait_for("request began");
    let children = kip.children();
    assert_eq!(children.len(), 1);
    kip.signal(Signal::INT);
    kip.wait_for("stopping");
    fs::write(folder.path().join("gate"), "").unwrap();
    assert_eq!(receive(running).unwrap(), (200, "done".to_owned()));
    assert_eq!(kip.wait().code(), Some(0));
    assert!(children.into_iter().all(is_gone));
}

#[test]
fn a_second_ctrl_c_does_not_wait() {
    let folder = folder(&[("f.js", GATED)]);
    let mut kip = Kip::start(folder.path(), &[]);
    let running = send(kip.address, "fn-f-localhost", "/").unwrap();
    kip.wait_for("request began");
    let children = kip.children();
    kip.signal(Signal::INT);
    kip.wait_for("stopping");
    kip.signal(Signal::INT);
    assert_eq!(kip.wait().code(), Some(130));
    drop(running);
    until("no process is left", || children.iter().all(|pid| is_gone(*pid)));
}

#[test]
fn nothing_survives_a_kip_that_was_killed() {
    let folder = folder(&[("f.js", PLAIN)]);
    let mut kip = Kip::start(folder.path(), &[]);
    assert_eq!(kip.get("fn-f-localhost", "/").0, 200);
    let children = kip.children();
    assert_eq!(children.len(), 1);
    kip.signal(Signal::KILL);
    kip.wait();
    until("no process is left", || children.iter().all(|pid| is_gone(*pid)));
}

#[test]
fn a_process_that_dies_is_replaced() {
    let code = "module.exports = async (event, context) => \
        { if (context.path === '/die') process.exit(3); return 'ok'; }";
    let folder = folder(&[("f.js", code)]);
    let kip = Kip::start(folder.path(), &[]);
    assert_eq!(kip.get("fn-f-localhost", "/").0, 200);
    assert_eq!(kip.get("fn-f-localhost", "/die").0, 502);
    kip.wait_for("exited unexpectedly");
    assert_eq!(kip.get("fn-f-localhost", "/"), (200, "ok".to_owned()));
}
