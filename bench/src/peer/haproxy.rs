//! HAProxy, once reading HTTP and once passing bytes.

use std::{fs, net::SocketAddr, path::Path, process::Command};

use super::{MAX_CONNECTIONS, Setup, system_binary};

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    Http,
    Tcp,
}

pub(super) fn command(
    dir: &Path,
    addr: SocketAddr,
    setup: &Setup,
    mode: Mode,
) -> Result<Command, anyhow::Error> {
    fs::create_dir_all(dir)?;
    let config = dir.join("haproxy.cfg");
    fs::write(&config, render(addr, setup.backend, setup.workers.get(), mode))?;
    let mut command = Command::new(system_binary("haproxy"));
    // `-db`: stay in the foreground.
    command.arg("-db").arg("-f").arg(&config);
    Ok(command)
}

fn render(addr: SocketAddr, backend: SocketAddr, workers: usize, mode: Mode) -> String {
    let mode = match mode {
        Mode::Http => {
            "mode http
    http-reuse always
    option forwardfor
    http-request set-header X-Forwarded-Proto http"
        }
        Mode::Tcp => "mode tcp",
    };
    format!(
        "global
    maxconn {MAX_CONNECTIONS}
    nbthread {workers}
defaults
    timeout connect 5s
    timeout client 1h
    timeout server 1h
listen bench
    bind {addr}
    {mode}
    server backend {backend}
"
    )
}
