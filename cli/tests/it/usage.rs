//! What is said when there is nothing to run.

use std::{
    fs,
    net::TcpListener,
    process::{Command, Output},
};

use crate::{
    database::{Database, MARK_DONE},
    support::{Kip, folder, kip},
};

fn run(flags: &[&str]) -> (i32, String, String) {
    let Output { status, stdout, stderr } = kip().arg("dev").args(flags).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap().trim_end().to_owned();
    (status.code().unwrap(), text(stdout), text(stderr))
}

#[test]
fn bad_flags_are_told_as_everywhere_and_exit_64() {
    for flags in [
        &["--port", "x", "a.js"][..],
        &["--env", "PORT=1", "a.js"],
        &["--idle-timeout", "soon", "a.js"],
        &["--source", "db", "a.js"],
        &["--source-ca", "db=/no/such/file", "a.js"],
        &["--unknown"],
        &[],
    ] {
        let (code, stdout, stderr) = run(flags);
        assert_eq!((code, stdout.as_str()), (64, ""), "{flags:?}: {stderr}");
        let [first, .., last] = &stderr.lines().collect::<Vec<_>>()[..] else {
            panic!("{flags:?}: {stderr}");
        };
        assert!(first.starts_with("error: ") && last.contains("--help"), "{flags:?}: {stderr}");
    }
    let (code, _, stderr) = run(&["--log-level", "a=b=c", "a.js"]);
    assert_eq!(code, 64, "{stderr}");
    assert!(stderr.starts_with("error: ") && !stderr.contains('\n'), "{stderr}");
    let (code, stdout, _) = run(&["--help"]);
    assert!(code == 0 && stdout.contains("Usage: kip dev"), "{stdout}");
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
fn a_folder_of_images_is_an_error_after_why() {
    let image = "apiVersion: kipper.run/v1alpha1\nkind: Function\nmetadata: {name: f}\n\
        spec: {image: nginx}\n";
    let folder = folder(&[("f.yaml", image)]);
    let (code, stdout, stderr) = run(&[folder.path().to_str().unwrap()]);
    assert_eq!(code, 1, "{stderr}");
    assert!(stdout.contains("f: kip dev runs inline code only, not images"), "{stdout}");
    assert_eq!(stderr, "error: none of these functions can run in kip dev");
}

#[test]
fn a_program_that_is_missing_is_one_line_before_anything_starts() {
    let lone = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let copy = lone.path().join("kip");
    fs::hard_link(env!("CARGO_BIN_EXE_kip"), &copy).unwrap();
    let code = folder(&[("f.js", "module.exports = async () => {}"), ("g.js", "")]);
    let (file, url) = (code.path().join("f.js"), "postgres://127.0.0.1:9/x");
    let flags = ["--trigger=postgres", "--query=SELECT 1", "--source-url", url];
    let output =
        Command::new(copy).arg("dev").arg(file).args(flags).env("PATH", "").output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), &*output.stdout), (Some(1), &b""[..]), "{stderr}");
    assert_eq!(
        stderr,
        "error: kipper-poll not found beside kip or in PATH: event triggers need it; build it with \
         `make pollers`, or install the kip package, which contains it\n"
    );
}

/// Functions that do without it run; the one that does not is listed with why.
#[test]
fn a_program_that_is_missing_and_a_source_nobody_has_stop_nobody() {
    let lone = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let copy = lone.path().join("kip");
    fs::hard_link(env!("CARGO_BIN_EXE_kip"), &copy).unwrap();
    let event = "apiVersion: kipper.run/v1alpha1\nkind: Function\nmetadata: {name: jobs}\nspec:\n  \
        source: {code: x}\n  triggers: [{type: redis, config: {source: cache, list: jobs}}]\n";
    let code = folder(&[("f.js", "module.exports = async () => 'hi'"), ("jobs.yaml", event)]);
    let flags = ["--source=cache=redis://127.0.0.1:9", "--source=cach=redis://127.0.0.1:9"];
    let kip = Kip::start_as(&copy, code.path(), &flags);
    kip.wait_for("--source cach: no function has a source of this name");
    kip.wait_for("redis trigger: kipper-poll not found beside kip or in PATH: ");
    assert_eq!(kip.get("fn-f-localhost", "/"), (200, "hi".to_owned()));
}

/// Where there is nothing else to run, a trigger that cannot work is a usage error.
#[test]
fn a_lone_trigger_that_cannot_work_is_one_line_and_exit_64() {
    let database = Database::new();
    database.execute("CREATE TABLE bare (id int)");
    let code = folder(&[("f.js", "module.exports = async () => {}")]);
    let file = code.path().join("f.js");
    let flags = |query: &'static str, mark: &'static str| {
        let file = file.to_str().unwrap().to_owned();
        let text = ["--trigger=postgres", "--query", query, "--mark-done", mark, "--source-url"];
        let text = text.into_iter().map(str::to_owned);
        [file].into_iter().chain(text).chain([database.url.clone()]).collect::<Vec<String>>()
    };
    let minio = "apiVersion: kipper.run/v1alpha1\nkind: Function\nmetadata: {name: f}\nspec:\n  \
        source: {code: x}\n  triggers: [{type: minio, config: {source: queue, bucket: b}}]\n";
    let yaml = folder(&[("f.yaml", minio)]);
    let nowhere = minio.replace("minio", "postgres").replace("bucket: b", "query: SELECT 1");
    fs::write(yaml.path().join("g.yaml"), nowhere).unwrap();
    let path = |name: &str| yaml.path().join(name).to_str().unwrap().to_owned();
    let query = "SELECT * FROM orders";
    let given = |more: &[&str]| {
        let more = more.iter().map(|flag| (*flag).to_owned());
        [file.to_str().unwrap().to_owned()].into_iter().chain(more).collect::<Vec<String>>()
    };
    for (flags, expected) in [
        (flags("SELECT * FROM orders LIMIT 3", MARK_DONE), "LIMIT"),
        (flags("SELECT * FROM bare", "DELETE FROM bare"), "primary key"),
        (flags("SELECT * FROM nothing", MARK_DONE), "nothing"),
        (flags(query, "UPDATE orders SET status = 'of {{id}}'"), "longer literal"),
        (flags(query, "UPDATE orders SET status = {{nr}}"), "nr"),
        (given(&["--trigger=postgres", "--query=x"]), "a postgres trigger needs --source-url"),
        (given(&["--query=x"]), "--query needs --trigger postgres or mysql"),
        (vec![path("f.yaml"), "--source=queue=http://h:9000".into()], "access key and secret key"),
        (vec![path("g.yaml")], "f: needs --source queue=<url> or KIPPER_SOURCE_QUEUE"),
        (vec![path("g.yaml"), "--trigger=http".into()], "--trigger is for code files"),
    ] {
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        let (code, stdout, stderr) = run(&flags);
        assert_eq!((code, stdout.as_str()), (64, ""), "{flags:?}: {stderr}");
        assert!(stderr.starts_with("error: ") && stderr.contains(expected), "{stderr}");
        assert!(!stderr.contains('\n'), "{stderr}");
    }
}
