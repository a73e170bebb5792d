//! Programs in Go that stand for Kubernetes: built once per run, asked over standard input.

use std::{
    collections::BTreeSet,
    io::Write,
    process::{Command, Stdio},
    sync::Mutex,
};

const WANTED: &str =
    "Go 1.26 or newer must be installed: these tests compare with Kubernetes' own code";

/// What was built already: a program that runs cannot be written.
static BUILT: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

/// The program in `tests/<name>`. Go's own cache makes this a matter of a second, except for the first
/// time. Built as the local cluster's programs are, it shares with them what it needs of Kubernetes.
fn built(name: &str) -> String {
    let program = format!("{}/{name}", env!("CARGO_TARGET_TMPDIR"));
    let mut done = BUILT.lock().unwrap();
    if done.insert(name.to_owned()) {
        let built = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../.ci/go"))
            .args(["build", "-mod=readonly", "-o", &program, "."])
            .current_dir(format!("{}/tests/{name}", env!("CARGO_MANIFEST_DIR")))
            .output()
            .expect(WANTED);
        let said = String::from_utf8_lossy(&built.stderr);
        assert!(built.status.success(), "{name} does not build. {WANTED}.\n{said}");
    }
    program
}

/// Gives the program in `tests/<name>` its input, and returns what it says.
pub(crate) fn ask(name: &str, input: &[u8]) -> Vec<u8> {
    let program = built(name);
    let mut child = Command::new(&program)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let answer = std::thread::scope(|scope| {
        // A program that fails stops reading; its own words say why, below.
        scope.spawn(move || stdin.write_all(input).is_ok());
        child.wait_with_output().unwrap()
    });
    assert!(answer.status.success(), "{name}: {}", String::from_utf8_lossy(&answer.stderr));
    answer.stdout
}
