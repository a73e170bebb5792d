//! Ctrl-C between two writes that belong together. No cluster can be made to wait there, so this
//! one is a script: it answers as an API server does, and holds one answer back.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    process::{Command, Stdio},
    sync::mpsc::{Receiver, Sender, channel},
    thread,
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::{
    function::kubeconfig,
    support::{PATIENCE, folder, kip},
};

/// What is held back.
const HELD: &str = "POST /api/v1/namespaces/shop-one/secrets";

/// Tells of every write, and waits for leave before it answers the one that is held back.
struct Script {
    writes: Sender<String>,
    leave: Receiver<()>,
}

impl Script {
    /// Answers requests on one connection after the other; `kip` needs no second one.
    fn run(&self, listener: &TcpListener) {
        while let Ok((stream, _)) = listener.accept() {
            if self.serve(stream).is_none() {
                return;
            }
        }
    }

    /// `None` once nobody wants to know any more.
    fn serve(&self, mut stream: TcpStream) -> Option<()> {
        let mut reader = BufReader::new(stream.try_clone().ok()?);
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).unwrap_or(0) == 0 {
                return Some(());
            }
            let mut length = 0;
            loop {
                let mut header = String::new();
                reader.read_line(&mut header).ok()?;
                if header.trim().is_empty() {
                    break;
                }
                if let Some(value) = header.to_ascii_lowercase().strip_prefix("content-length:") {
                    length = value.trim().parse().ok()?;
                }
            }
            let mut body = vec![0; length];
            reader.read_exact(&mut body).ok()?;
            let target = line.rsplit_once(' ')?.0.split('?').next()?.to_owned();
            let is_dry = line.contains("dryRun=");
            let (status, answer) = answer(&target, &body);
            if !target.starts_with("GET") && !is_dry {
                self.writes.send(target.clone()).ok()?;
            }
            if target == HELD {
                self.leave.recv().ok()?;
            }
            let text = answer.to_string();
            let head = format!(
                "HTTP/1.1 {status} x\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
                text.len()
            );
            stream.write_all((head + &text).as_bytes()).ok()?;
        }
    }
}

/// A cluster without anything in it, that takes everything.
fn answer(target: &str, body: &[u8]) -> (u16, Value) {
    let missing = json!({
        "kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound",
        "code": 404, "message": "not found", "details": { "name": "x", "kind": "x" },
    });
    let nothing = json!({ "apiVersion": "v1", "kind": "List", "metadata": {}, "items": [] });
    let Ok(mut object) = serde_json::from_slice::<Value>(body) else {
        let is_list = target.ends_with("/functions") || target.ends_with("/ingresses");
        return if is_list { (200, nothing) } else { (404, missing) };
    };
    object["metadata"]["uid"] = json!("1");
    object["metadata"]["resourceVersion"] = json!("1");
    (200, object)
}

#[test]
fn what_was_begun_is_finished_before_the_end() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let config = kubeconfig(&listener.local_addr().unwrap().to_string(), "one");
    let home = folder(&[("kubeconfig", &config)]);
    let (writes, written) = channel();
    let (go_on, leave) = channel();
    thread::spawn(move || Script { writes, leave }.run(&listener));

    let create = ["function", "create", "hello", "--image", "x", "--secret", "TOKEN", "--wait"];
    let mut command: Command = kip();
    command.args(create).env("HOME", home.path()).env("XDG_CONFIG_HOME", home.path());
    command.env("KIP_KUBECONFIG", home.path().join("kubeconfig")).env_remove("KIP_NAMESPACE");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"hunter2").unwrap();
    let next = || written.recv_timeout(PATIENCE).unwrap();
    assert_eq!(next(), HELD);
    let pid = Pid::from_raw(child.id().try_into().unwrap()).unwrap();
    kill_process(pid, Signal::INT).unwrap();
    go_on.send(()).unwrap();
    assert_eq!(next(), "PATCH /apis/kipper.run/v1alpha1/namespaces/shop-one/functions/hello");
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(130), "{stderr}");
    assert!(stderr.contains("interrupted: writes in progress were completed"), "{stderr}");
}
