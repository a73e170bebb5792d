//! What is said when there is nothing to run.

use std::{net::TcpListener, process::Output};

use crate::support::{folder, kip};

fn run(flags: &[&str]) -> (i32, String, String) {
    let Output { status, stdout, stderr } = kip().arg("dev").args(flags).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap().trim_end().to_owned();
    (status.code().unwrap(), text(stdout), text(stderr))
}

#[test]
fn bad_flags_are_one_line_and_exit_64() {
    for flags in [
        &["--port", "x", "a.js"][..],
        &["--env", "PORT=1", "a.js"],
        &["--idle-timeout", "soon", "a.js"],
        &["--log-level", "a=b=c", "a.js"],
        &["--unknown"],
        &[],
    ] {
        let (code, stdout, stderr) = run(flags);
        assert_eq!((code, stdout.as_str()), (64, ""), "{flags:?}: {stderr}");
        assert!(stderr.starts_with("error: ") && !stderr.contains('\n'), "{flags:?}: {stderr}");
    }
}

#[test]
fn what_cannot_be_loaded_is_one_line_and_exit_1() {
    let ruby = "apiVersion: kipper.run/v1alpha1\nkind: Function\nmetadata: {name: f}\n\
        spec: {runtime: ruby, source: {code: x}}\n";
    let folder = folder(&[("a.js", ""), ("bad.yaml", "a: [\n"), ("ruby.yaml", ruby)]);
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    for (flags, expected) in [
        (vec![path("gone.js")], "gone.js: No such file or directory"),
        (vec![path("bad.yaml")], "bad.yaml: not valid YAML"),
        (vec![path("ruby.yaml")], "spec.runtime: must be node or python"),
        (vec![path("a.js"), "--node".into(), "no-such-node".into()], "no-such-node not found"),
        (vec![path("a.js"), "--port".into(), port], "cannot listen on 127.0.0.1"),
    ] {
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        let (code, _, stderr) = run(&flags);
        assert_eq!(code, 1, "{stderr}");
        assert!(stderr.starts_with("error: ") && stderr.contains(expected), "{stderr}");
        assert!(!stderr.contains('\n'), "{stderr}");
    }
}

#[test]
fn event_triggers_are_left_out_with_a_notice() {
    let text = "apiVersion: kipper.run/v1alpha1\nkind: Function\nmetadata: {name: orders}\nspec:\n  \
        source: {code: x}\n  triggers: [{type: redis, config: {source: q, list: l}}]\n";
    let folder = folder(&[("f.yaml", text)]);
    let (code, stdout, stderr) = run(&[folder.path().to_str().unwrap()]);
    assert_eq!((code, stderr.as_str()), (0, ""));
    assert_eq!(stdout, "orders: event triggers are not available in kip dev yet");
}
