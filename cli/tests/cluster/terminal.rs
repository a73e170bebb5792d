//! A person at a terminal.

use std::{
    fs::File,
    io::{Read as _, Write as _},
    os::fd::OwnedFd,
    process::{Command, Stdio},
};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

/// Runs the command at a terminal and types `keys` once it asks; its exit code, and what the terminal
/// showed.
pub(crate) async fn answered(
    command: tokio::process::Command,
    keys: &'static str,
) -> (Option<i32>, String) {
    tokio::task::spawn_blocking(move || type_at(command.into_std(), keys)).await.unwrap()
}

fn type_at(mut command: Command, keys: &str) -> (Option<i32>, String) {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let path = ptsname(&master, Vec::new()).unwrap();
    let slave = File::options().read(true).write(true).open(path.to_str().unwrap()).unwrap();
    let end = |slave: &File| Stdio::from(OwnedFd::from(slave.try_clone().unwrap()));
    command.stdin(end(&slave)).stderr(end(&slave)).stdout(end(&slave));
    let mut child = command.spawn().unwrap();
    // Nobody but the command has the terminal open, so reading it ends with the command.
    drop((command, slave));
    let mut master = File::from(master);
    let mut shown = Vec::new();
    let mut chunk = [0; 1024];
    let mut has_typed = false;
    while let Ok(read) = master.read(&mut chunk) {
        if read == 0 {
            break;
        }
        shown.extend_from_slice(&chunk[..read]);
        if !has_typed && String::from_utf8_lossy(&shown).contains(": ") {
            master.write_all(keys.as_bytes()).unwrap();
            has_typed = true;
        }
    }
    (child.wait().unwrap().code(), String::from_utf8_lossy(&shown).into_owned())
}
