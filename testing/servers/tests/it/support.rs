//! What the tests ask of processes and command line clients.

use std::{
    fs,
    ops::Deref,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use kipper_servers::Server;

/// Longer than anything here takes on a busy machine.
const DEADLINE: Duration = Duration::from_secs(120);
/// How often a condition is looked at.
const LOOK: Duration = Duration::from_millis(20);

/// What the client wrote, or how it failed.
pub(crate) fn output(command: &mut Command) -> Result<String, String> {
    let output = command.output().unwrap();
    let text = |bytes| String::from_utf8_lossy(bytes).trim().to_owned();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
}

/// Waits until the condition holds.
pub(crate) fn await_that(what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + DEADLINE;
    while !condition() {
        assert!(Instant::now() < end, "not in time: {what}");
        thread::sleep(LOOK);
    }
}

/// True once the process has ended, whether or not somebody has looked at its status yet.
pub(crate) fn is_gone(pid: u32) -> bool {
    match fs::read_to_string(format!("/proc/{pid}/stat")) {
        Ok(stat) => stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('Z')),
        Err(_) => true,
    }
}

/// Drops a server that runs and checks that nothing of it is left.
pub(crate) fn leaves_nothing<S: Deref<Target = Server>>(server: S) {
    let (pid, directory) = (server.pid(), server.directory().to_owned());
    assert!(!is_gone(pid) && directory.is_dir());
    drop(server);
    assert!(is_gone(pid) && !directory.exists());
}

/// Restarts a server and checks that it is another process with the same port.
pub(crate) fn restarts(server: &Server) {
    let (pid, port) = (server.pid(), server.port());
    server.restart().unwrap();
    assert!(is_gone(pid) && !is_gone(server.pid()));
    assert_eq!(server.port(), port);
}
