//! The bare hyper proxy: another role of this harness's own binary.

use std::process::Command;

use super::setup::{Listen, Setup};

pub(super) fn command(listen: Listen, setup: &Setup, shape: &str) -> Command {
    let mut command = Command::new(&setup.bench);
    command
        .arg("hyper-proxy")
        .args(["--listen", &listen.plain.to_string()])
        .args(["--upstream", &setup.backend.to_string()])
        .args(["--shape", shape])
        .args(["--workers", &setup.workers.to_string()]);
    command
}
