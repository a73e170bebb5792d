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

/// A file that is added to a folder is a function, as it would be at the next start.
#[test]
fn a_new_file_is_a_new_function() {
    let folder = folder(&[("f.js", &version(1))]);
    let kip = Kip::start(folder.path(), &[]);
    assert_eq!(kip.get(HOST, "/").1, "version 1");
    assert_eq!(kip.get("fn-g-localhost", "/").0, 404);
    save(&folder.path().join("g.js"), &version(2));
    let line = kip.wait_for("/_fn/g/");
    assert!(line.starts_with("g "), "{line}");
    assert_eq!(kip.get("fn-g-localhost", "/"), (200, "version 2".to_owned()));
    assert!(!kip.lines().iter().any(|line| line.contains("reloaded")), "{:#?}", kip.lines());
    // What cannot be one is told.
    save(&folder.path().join("7th.js"), &version(3));
    kip.wait_for("rename the file");
    assert_eq!(kip.get(HOST, "/"), (200, "version 1".to_owned()));
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
    // Whoever waits is told, and so is who comes before the next try.
    for (status, body) in [receive(held).unwrap(), kip.get(HOST, "/")] {
        assert!(status == 502 && body.contains(r#""reason":"start_failed""#), "{status} {body}");
    }
    // A second try fails as the first did and is one line, not one more stack.
    kip.wait_for_nth("failed to start: ", 2);
    let stacks = kip.lines().iter().filter(|line| line.contains("| SyntaxError: ")).count();
    assert_eq!(stacks, 1, "{:#?}", kip.lines());
    save(&folder.path().join("f.js"), &version(1));
    until("the new version answers", || kip.get(HOST, "/") == (200, "version 1".to_owned()));
}

/// A save that does not start, in the middle of a replacement: whoever answers from then on is of one
/// version.
#[test]
fn a_broken_save_while_versions_change_leaves_one_of_them() {
    let manifest = |code: &str| {
        format!(
            "apiVersion: kipper.run/v1alpha1\nkind: Function\nmetadata: {{name: f}}\nspec:\n  \
             source: {{code: {code:?}}}\n  scaling: {{minReplicas: 3}}\n"
        )
    };
    // They start one after the other, and take their time.
    let slow = |number| {
        format!(
            "Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 500); {}",
            version(number)
        )
    };
    let folder = folder(&[("f.yaml", &manifest(&slow(1)))]);
    let file = folder.path().join("f.yaml");
    let kip = Kip::start(&file, &[]);
    until("all three run", || kip.children().len() == 3 && kip.get(HOST, "/").1 == "version 1");
    save(&file, &manifest(&slow(2)));
    until("a new one answers", || kip.get(HOST, "/").1 == "version 2");
    save(&file, &manifest("module.exports = async () => {{{"));
    kip.wait_for("reload failed, keeping the running version: cannot load the function");
    until("the first version is gone", || (0..20).all(|_| kip.get(HOST, "/").1 == "version 2"));
    save(&file, &manifest(&version(4)));
    until("all three are there again", || {
        kip.children().len() == 3 && (0..20).all(|_| kip.get(HOST, "/").1 == "version 4")
    });
}
