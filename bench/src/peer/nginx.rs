//! nginx as a reverse proxy with an upstream keep-alive pool.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path, process::Command};

use super::setup::{KEEPALIVE_REQUESTS, Listen, MAX_CONNECTIONS, Setup, system_binary};

pub(super) fn command(dir: &Path, listen: Listen, setup: &Setup) -> Result<Command, anyhow::Error> {
    fs::create_dir_all(dir)?;
    // Started by root, nginx runs its workers as another user, who must reach its directories.
    fs::set_permissions(dir, fs::Permissions::from_mode(0o755))?;
    let config = dir.join("nginx.conf");
    fs::write(&config, render(listen, setup))?;
    let mut command = Command::new(system_binary("nginx"));
    command.arg("-e").arg("stderr").arg("-p").arg(dir).arg("-c").arg(&config);
    Ok(command)
}

fn render(listen: Listen, setup: &Setup) -> String {
    let (workers, backend) = (setup.workers, setup.backend);
    let (certificate, key) = (setup.certificate.certificate(), setup.certificate.key());
    let (certificate, key) = (certificate.display(), key.display());
    let Listen { plain, tls } = listen;
    let proxy = "proxy_pass http://backend;
            proxy_http_version 1.1;
            proxy_set_header Connection \"\";
            proxy_set_header Host $host;
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
            proxy_set_header X-Forwarded-Proto $scheme;";
    // Large bodies pass through, as with every other peer, instead of by the disk.
    let locations = format!(
        "location / {{
            {proxy}
        }}
        location /bulk/ {{
            client_max_body_size 0;
            proxy_request_buffering off;
            proxy_max_temp_file_size 0;
            {proxy}
        }}"
    );
    format!(
        "daemon off;
worker_processes {workers};
pid nginx.pid;
error_log stderr warn;
worker_rlimit_nofile 65536;
events {{ worker_connections {MAX_CONNECTIONS}; }}
http {{
    access_log off;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    keepalive_requests {KEEPALIVE_REQUESTS};
    keepalive_timeout 1h;
    upstream backend {{
        server {backend};
        keepalive 256;
        keepalive_requests {KEEPALIVE_REQUESTS};
        keepalive_timeout 1h;
    }}
    server {{
        listen {plain} reuseport backlog=4096;
        {locations}
    }}
    server {{
        listen {tls} ssl http2 reuseport backlog=4096;
        ssl_certificate {certificate};
        ssl_certificate_key {key};
        {locations}
    }}
}}
"
    )
}
