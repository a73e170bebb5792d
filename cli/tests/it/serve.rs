//! From zero, up, and back to zero.

use std::fs;

use crate::support::{Kip, folder, until};

const EXAMPLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/examples");
const ECHO: &str = "module.exports = async (event, context) => \
    ({ path: context.path, greeting: process.env.GREETING, trigger: context.trigger })";
/// One request a second for each replica.
const BUSY: &str = "apiVersion: kipper.run/v1alpha1\nkind: Function\nmetadata: {name: busy}\nspec:\n  \
    source: {code: 'module.exports = async () => \"ok\"'}\n  \
    scaling: {targetRequestRate: 1, maxReplicas: 3}\n";

fn examples(names: &[&str]) -> tempfile::TempDir {
    let texts: Vec<String> = names
        .iter()
        .map(|name| fs::read_to_string(format!("{EXAMPLES}/{name}")).unwrap())
        .collect();
    let files: Vec<(&str, &str)> =
        names.iter().copied().zip(texts.iter().map(String::as_str)).collect();
    folder(&files)
}

#[test]
fn both_runtimes_answer_from_zero_on_every_address() {
    let folder = examples(&["hello.js", "hello-python.py"]);
    let kip = Kip::start(folder.path(), &[]);
    assert!(kip.children().is_empty(), "nothing runs before it is needed");
    for (function, runtime) in [("hello", "node"), ("hello-python", "python")] {
        let joined = format!("fn-{function}-localhost");
        let below = format!("fn-{function}.localhost:{}", kip.address.port());
        let path = format!("/_fn/{function}/?name=you");
        for (host, target) in [
            (joined.as_str(), "/?name=you"),
            (below.as_str(), "/?name=you"),
            ("127.0.0.1", path.as_str()),
        ] {
            let (status, body) = kip.get(host, target);
            assert_eq!(status, 200, "{host}{target}: {body}");
            assert!(body.contains("Hello, you!") && body.contains(runtime), "{body}");
        }
        let line = kip.wait_for(&format!("{function:<12}  woke in "));
        for phase in [" ms  (signal ", " · spawn ", " · listen ", " · answer "] {
            assert!(line.contains(phase), "{line}");
        }
    }
    assert_eq!(kip.get("unknown.localhost", "/").0, 404);
}

#[test]
fn a_request_has_a_line_unless_it_is_turned_off() {
    let hello = "module.exports = async () => { console.log('handled'); return 'hi' }";
    let greet = "def handler():\n    print('handled')\n    return 'hi'\n";
    let folder = folder(&[("hello.js", hello), ("greet.py", greet)]);
    let kip = Kip::start(folder.path(), &[]);
    for function in ["hello", "greet"] {
        for (start, path) in [("cold", "/orders"), ("warm", "/later")] {
            assert_eq!(kip.get("localhost", &format!("/_fn/{function}{path}?token=x")).0, 200);
            let line = kip.wait_for(&format!("{function} | kipper: request GET {path} 200 "));
            assert!(line.contains(&format!(" ms {start} ")) && line.ends_with(" MiB"), "{line}");
        }
    }
    // That a process is ready is told by the line of its wake.
    assert!(
        !kip.lines().iter().any(|line| line.contains("kipper: readiness")),
        "{:#?}",
        kip.lines()
    );
    drop(kip);

    let kip = Kip::start(folder.path(), &["--log-requests=false"]);
    for function in ["hello", "greet"] {
        for nth in 1..=2 {
            assert_eq!(kip.get("localhost", &format!("/_fn/{function}/")).0, 200);
            kip.wait_for_nth(&format!("{function} | handled"), nth);
        }
    }
    assert!(!kip.lines().iter().any(|line| line.contains("kipper: request")), "{:#?}", kip.lines());
}

#[test]
fn every_example_runs() {
    let kip = Kip::start(std::path::Path::new(EXAMPLES), &[]);
    for (function, query, expected) in [
        ("hello", "name=a", "Hello, a!"),
        ("hello-python", "name=b", "Hello, b!"),
        ("slugify", "title=Cr%C3%A8me+br%C3%BBl%C3%A9e!", r#"{"slug":"creme-brulee"}"#),
        ("word-count", "", r#""words":0"#),
    ] {
        let (status, body) = kip.get("localhost", &format!("/_fn/{function}/?{query}"));
        assert!(status == 200 && body.contains(expected), "{function}: {status} {body}");
    }
    assert!(kip.wait_for("heartbeat     node    ").contains("Every minute, next 2"));
    kip.wait_for("orders        node    postgres trigger: needs --source shopdb=<url> or ");
    // It has no http trigger, and so no route.
    let (status, body) = kip.get("localhost", "/_fn/orders/event");
    assert!(status == 404 && body.contains("\"unknown_name\""), "{body}");
    let (status, body) = kip.get("orders.localhost", "/");
    assert!(status == 404 && body.contains("\"unknown_host\""), "{body}");
}

#[test]
fn a_function_sees_its_own_path_and_environment() {
    let folder = folder(&[("echo.js", ECHO)]);
    let kip = Kip::start(folder.path(), &["--env", "GREETING=a=b"]);
    let (_, body) = kip.get("localhost", "/_fn/echo/deep/er?q=1");
    assert_eq!(body, r#"{"path":"/deep/er","greeting":"a=b","trigger":"http"}"#);
}

#[test]
fn idle_functions_go_to_zero_and_wake_again() {
    let folder = examples(&["hello.js"]);
    let kip = Kip::start(folder.path(), &["--idle-timeout", "1s"]);
    for round in 1..=2 {
        assert_eq!(kip.get("fn-hello-localhost", "/").0, 200);
        kip.wait_for_nth("woke in ", round);
        kip.wait_for_nth("idle, scaled to 0", round);
        until("no process runs", || kip.children().is_empty());
    }
}

#[test]
fn load_brings_more_replicas_and_quiet_takes_them_away() {
    let folder = folder(&[("busy.yaml", BUSY)]);
    let flags = ["--idle-timeout", "1s", "--polling-interval", "200ms"];
    let kip = Kip::start(folder.path(), &flags);
    for _ in 0..40 {
        assert_eq!(kip.get("fn-busy-localhost", "/"), (200, "ok".to_owned()));
    }
    kip.wait_for("scaled 1 → 3");
    until("three processes run", || kip.children().len() == 3);
    kip.wait_for("idle, scaled to 0");
    until("no process runs", || kip.children().is_empty());
}

/// Nothing is polled here: whoever scales is told by the counts.
#[test]
fn a_step_has_its_replicas_ahead_of_every_poll() {
    let folder = folder(&[("busy.yaml", BUSY)]);
    let kip = Kip::start(folder.path(), &["--polling-interval", "1h"]);
    until("three processes run", || {
        assert_eq!(kip.get("fn-busy-localhost", "/"), (200, "ok".to_owned()));
        kip.children().len() == 3
    });
    kip.wait_for("scaled 1 → 3");
}

/// As `kip function create` reads them.
#[test]
fn variables_come_from_a_file_and_the_command_line() {
    let code = "module.exports = async () => [process.env.A, process.env.B].join(' ')";
    let folder = folder(&[("f.js", code)]);
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "# both\nexport A='one'\nB=two\n").unwrap();
    let path = file.path().to_str().unwrap();
    let kip = Kip::start(folder.path(), &["--env-file", path, "--env", "B=2"]);
    assert_eq!(kip.get("fn-f-localhost", "/"), (200, "one 2".to_owned()));
}
