//! Programs in Go that stand for Kubernetes: built once per checkout, asked over standard input.

use std::{
    io::Write,
    process::{Command, Stdio},
};

const WANTED: &str =
    "Go 1.26 or newer must be installed: these tests compare with Kubernetes' own code";

/// Builds the program in `tests/<name>`, gives it `input`, and returns what it says.
pub(crate) fn ask(name: &str, input: &[u8]) -> Vec<u8> {
    let program = format!("{}/{name}", env!("CARGO_TARGET_TMPDIR"));
    // Go's own cache makes this a matter of a second, except for the first time. Built as the local
    // cluster's programs are, it shares with them what it needs of Kubernetes.
    let built = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../.ci/go"))
        .args(["build", "-mod=readonly", "-o", &program, "."])
        .current_dir(format!("{}/tests/{name}", env!("CARGO_MANIFEST_DIR")))
        .output()
        .expect(WANTED);
    let said = String::from_utf8_lossy(&built.stderr);
    assert!(built.status.success(), "{name} does not build. {WANTED}.\n{said}");

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
