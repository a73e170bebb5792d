//! The handlers that the prompt shows are handlers: the runtimes load and run them.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use kipper_assistant::{Prompt, Request, reply};
use kipper_function::function::Runtime;
use serde_json::json;

/// Runs the example of this runtime once, as a test run does.
fn run(runtime: Runtime, program: &str, main: &str, file: &str) {
    let request: Request = serde_json::from_value(json!({
        "messages": [{"role": "user", "text": "hello"}], "draft": {"runtime": runtime.as_str()}
    }))
    .unwrap();
    let prompt = Prompt::of(&request);
    let blocks = reply::blocks(&prompt.system);
    let example = reply::file(&blocks, runtime).unwrap();
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join(file), &example.code).unwrap();
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let main: PathBuf = repository.join("runtimes").join(main);
    let output = Command::new(program)
        .arg(main)
        .env("KIPPER_FUNCTION_PATH", folder.path())
        .env("KIPPER_MODE", "batch")
        .env("KIPPER_TRIGGER", "test")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n{}", example.code);
    assert!(prompt.system.contains(&format!("Handler, in \"{file}\"")));
}

#[test]
fn the_example_for_node_runs() {
    run(Runtime::Node, "node", "node/main.js", "index.js");
}

#[test]
fn the_example_for_python_runs() {
    run(Runtime::Python, "python3", "python/main.py", "handler.py");
}
