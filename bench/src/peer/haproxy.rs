//! HAProxy, once reading HTTP and once passing bytes.

use std::{fs, path::Path, process::Command};

use super::setup::{Listen, MAX_CONNECTIONS, Setup, system_binary};

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    Http,
    Tcp,
}

pub(super) fn command(
    dir: &Path,
    listen: Listen,
    setup: &Setup,
    mode: Mode,
) -> Result<Command, anyhow::Error> {
    fs::create_dir_all(dir)?;
    let config = dir.join("haproxy.cfg");
    fs::write(&config, render(listen, setup, mode))?;
    let mut command = Command::new(system_binary("haproxy"));
    // `-db`: stay in the foreground.
    command.arg("-db").arg("-f").arg(&config);
    Ok(command)
}

fn render(listen: Listen, setup: &Setup, mode: Mode) -> String {
    let (workers, backend) = (setup.workers, setup.backend);
    let Listen { plain, tls } = listen;
    let http = |scheme: &str| {
        format!(
            "mode http
    http-reuse always
    option forwardfor
    http-request set-header X-Forwarded-Proto {scheme}"
        )
    };
    let mut config = format!(
        "global
    maxconn {MAX_CONNECTIONS}
    nbthread {workers}
defaults
    timeout connect 5s
    timeout client 1h
    timeout server 1h
listen plain
    bind {plain}
    {}
    server backend {backend}
",
        if mode == Mode::Http { http("http") } else { "mode tcp".to_owned() }
    );
    if mode == Mode::Http {
        let (both, mode) = (setup.certificate.both(), http("https"));
        config.push_str(&format!(
            "listen tls
    bind {tls} ssl crt {} alpn h2,http/1.1
    {mode}
    server backend {backend}
",
            both.display()
        ));
    }
    config
}
