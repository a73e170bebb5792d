//! Completions, asked for as shells ask.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::{TcpListener, TcpStream},
    path::Path,
    process::Command,
    thread,
};

use serde_json::json;
use tempfile::TempDir;

use crate::{
    function::{kubeconfig, run},
    support::folder,
};

/// A cluster that knows the names of two functions and one volume.
fn cluster() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    thread::spawn(move || {
        for stream in listener.incoming() {
            thread::spawn(move || answer(stream.unwrap()));
        }
    });
    address
}

/// Answers one request: what a namespace holds is in the path.
fn answer(mut stream: TcpStream) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") && reader.read_line(&mut head).is_ok_and(|read| read > 0) {}
    let path = head.split(' ').nth(1).unwrap_or_default();
    let names: &[&str] = match path.split('?').next().unwrap_or_default() {
        "/apis/kipper.run/v1alpha1/namespaces/shop-one/functions" => &["hello", "help", "orders"],
        "/apis/kipper.run/v1alpha1/namespaces/other/functions" => &["elsewhere"],
        "/apis/kipper.run/v1alpha1/namespaces/shop-one/services" => &["db"],
        "/api/v1/namespaces/shop-one/persistentvolumeclaims" => &["shared-cache", "data-0"],
        "/api/v1/namespaces" => &["other", "shop-one"],
        _ => &[],
    };
    let items = names.iter().map(|name| json!({ "metadata": { "name": name } }));
    let body = json!({
        "apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadataList", "metadata": {},
        "items": items.collect::<Vec<_>>(),
    });
    let body = body.to_string();
    let length = body.len();
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\
         connection: close\r\n\r\n"
    );
    // Whoever asked may be gone.
    let _ = stream.write_all((head + &body).as_bytes());
}

/// What bash offers for the last of these words, by the script that `kip completion` prints.
fn bash(home: &Path, config: &Path, words: &[&str]) -> Vec<String> {
    let (code, script, stderr) = run(home, &[], &["completion", "bash"]);
    assert_eq!(code, 0, "{stderr}");
    let kip = Path::new(env!("CARGO_BIN_EXE_kip")).parent().unwrap().to_str().unwrap();
    let line = format!(
        "{script}\nCOMP_WORDS=(\"$@\"); COMP_CWORD=$(( $# - 1 )); COMP_TYPE=9\n\
         _clap_complete_kip kip \"${{!#}}\" \"\"\nprintf '%s\\n' \"${{COMPREPLY[@]}}\""
    );
    let output = Command::new("bash")
        .args(["--norc", "-c", &line, "kip"])
        .args(words)
        .env("PATH", format!("{kip}:{}", std::env::var("PATH").unwrap()))
        .env("HOME", home)
        .env("XDG_CONFIG_HOME", home)
        .env("KUBECONFIG", config)
        .env_remove("KIP_NAMESPACE")
        .env_remove("KIP_CONTEXT")
        .env_remove("KIP_KUBECONFIG")
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    assert_eq!(text(output.stderr), "", "{words:?}");
    text(output.stdout).lines().filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

fn home(address: &str) -> TempDir {
    folder(&[("kubeconfig", &kubeconfig(address, "one"))])
}

#[test]
fn names_of_the_cluster_are_completed() {
    let home = home(&cluster());
    let config = home.path().join("kubeconfig");
    for (words, expected) in [
        (&["kip", "function", "describe", "hel"][..], &["hello", "help"][..]),
        (&["kip", "function", "describe", "-n", "other", "e"], &["elsewhere"]),
        (&["kip", "fn", "env", "set", "or"], &["orders"]),
        (&["kip", "function", "delete", "orders", "hello"], &["hello"]),
        (&["kip", "function", "bind", "hello", "d"], &["db"]),
        (&["kip", "service", "describe", "d"], &["db"]),
        (&["kip", "volume", "delete", "c"], &["cache"]),
        (&["kip", "volume", "create", "c"], &[]),
        (&["kip", "function", "list", "--namespace", "sh"], &["shop-one"]),
        (&["kip", "function", "list", "--context", "t"], &["two"]),
        (&["kip", "function", "rollb"], &["rollback"]),
        (&["kip", "function", "create", "x", "--mark-"], &["--mark-done"]),
    ] {
        assert_eq!(bash(home.path(), &config, words), expected, "{words:?}");
    }
    // Names come before the flags that could be meant as well.
    let offered = bash(home.path(), &config, &["kip", "function", "invoke", ""]);
    assert_eq!(offered[..3], ["hello", "help", "orders"], "{offered:?}");
}

#[test]
fn without_a_cluster_nothing_is_completed_and_nothing_said() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    // This one takes connections, and never answers.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    for address in [closed, silent.local_addr().unwrap().to_string()] {
        let home = home(&address);
        let config = home.path().join("kubeconfig");
        let words = ["kip", "function", "describe", "h"];
        assert_eq!(bash(home.path(), &config, &words), Vec::<String>::new());
    }
    let home = home("127.0.0.1:9");
    let words = ["kip", "function", "describe", "h"];
    assert!(bash(home.path(), &home.path().join("none"), &words).is_empty());
}

#[test]
fn every_shell_has_a_script_that_asks_kip() {
    let home = home("127.0.0.1:9");
    for shell in ["bash", "zsh", "fish"] {
        let (code, script, stderr) = run(home.path(), &[], &["completion", shell]);
        assert_eq!(code, 0, "{stderr}");
        assert!(script.contains("KIP_COMPLETE"), "{script}");
    }
}
