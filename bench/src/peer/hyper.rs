//! The bare hyper proxy: another role of this harness's own binary.

use std::{net::SocketAddr, process::Command};

use super::Setup;

pub(super) fn command(addr: SocketAddr, setup: &Setup, shape: &str) -> Command {
    let mut command = Command::new(&setup.bench);
    command
        .arg("hyper-proxy")
        .args(["--listen", &addr.to_string()])
        .args(["--upstream", &setup.backend.to_string()])
        .args(["--shape", shape])
        .args(["--workers", &setup.workers.to_string()]);
    command
}
