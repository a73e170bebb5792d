//! Saves while requests run.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
};

use crate::support::{Kip, folder, get, is_gone, receive, save, send, until};

const HOST: &str = "fn-f-localhost";

fn version(number: u32) -> String {
    format!("module.exports = async () => 'version {number}'")
}

#[test]
fn no_request_fails_while_versions_change() {
    let folder = folder(&[("f.js", &version(1))]);
    let kip = Kip::start(folder.path(), &[]);
    assert_eq!(kip.get(HOST, "/").1, "version 1");
    let [first] = kip.children()[..] else { panic!("one process runs") };
    let stop = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..2)
        .map(|_| {
            let (stop, address) = (Arc::clone(&stop), kip.address);
            thread::spawn(move || {
                let mut answers = 0;
                while !stop.load(Relaxed) {
                    let (status, body) = get(address, HOST, "/").unwrap();
                    assert!(status == 200 && body.starts_with("version "), "{status} {body}");
                    answers += 1;
                }
                answers
            })
        })
        .collect();
    for number in 2..=4 {
        save(&folder.path().join("f.js"), &version(number));
        let expected = (200, format!("version {number}"));
        until("the new version answers", || kip.get(HOST, "/") == expected);
    }
    stop.store(true, Relaxed);
    for client in clients {
        assert!(client.join().unwrap() > 0);
    }
    until("the first version is gone", || is_gone(first));
}

#[test]
fn python_never_runs_an_old_version_again() {
    // Of the same length and within one second: Python itself could not tell them apart.
    let version =
        |number: u32| format!("def handler(event, context):\n    return 'version {number}'\n");
    let folder = folder(&[("f.py", &version(1))]);
    let kip = Kip::start(folder.path(), &[]);
    for number in 1..=4 {
        save(&folder.path().join("f.py"), &version(number));
        let expected = (200, format!("version {number}"));
        until("the new version answers", || kip.get(HOST, "/") == expected);
    }
}

#[test]
fn a_broken_save_leaves_the_running_version() {
    let folder = folder(&[("f.js", &version(1))]);
    let kip = Kip::start(folder.path(), &[]);
    assert_eq!(kip.get(HOST, "/").1, "version 1");
    save(&folder.path().join("f.js"), "module.exports = async () => {{{");
    let line = kip.wait_for("reload failed, keeping the running version: cannot load the function");
    assert!(line.ends_with("(exit code 1)"), "{line}");
    kip.wait_for("SyntaxError");
    assert_eq!(kip.get(HOST, "/").1, "version 1");
    save(&folder.path().join("f.js"), &version(2));
    kip.wait_for("reloaded");
    assert_eq!(kip.get(HOST, "/").1, "version 2");
}

#[test]
fn a_function_that_does_not_start_says_why_and_a_save_repairs_it() {
    let folder = folder(&[("f.js", "module.exports = nonsense(")]);
    let kip = Kip::start(folder.path(), &[]);
    let held = send(kip.address, HOST, "/").unwrap();
    let line = kip.wait_for("failed to start: cannot load the function: ");
    assert!(line.contains("(exit code 1), next try in "), "{line}");
    // A second try fails as the first did and is one line, not one more stack.
    kip.wait_for_nth("failed to start: ", 2);
    let stacks = kip.lines().iter().filter(|line| line.contains("| SyntaxError: ")).count();
    assert_eq!(stacks, 1, "{:#?}", kip.lines());
    save(&folder.path().join("f.js"), &version(1));
    assert_eq!(receive(held).unwrap(), (200, "version 1".to_owned()));
}
