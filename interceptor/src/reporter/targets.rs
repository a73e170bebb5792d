//! Which adapter addresses there are: names in, addresses out, again and again.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use tokio::sync::mpsc;

use super::config::{ReporterConfig, ReporterError};

/// How often names are resolved; cluster DNS answers from a cache of a few seconds.
const RESOLVE_INTERVAL: Duration = Duration::from_secs(2);

/// One address of an adapter.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub(super) addr: SocketAddr,
    /// The name its certificate must bear.
    pub(super) server_name: Arc<str>,
}

/// The configured adapters, each with the addresses it last resolved to.
pub(super) struct Targets {
    adapters: Vec<Adapter>,
}

struct Adapter {
    /// `host:port`.
    name: String,
    server_name: Arc<str>,
    addrs: Vec<SocketAddr>,
    failed: bool,
}

impl Targets {
    pub(super) fn parse(config: &ReporterConfig) -> Result<Self, ReporterError> {
        let adapters = config.adapters.iter().map(|name| {
            let (host, port) = name.rsplit_once(':').unwrap_or_default();
            if host.is_empty() || port.parse::<u16>().is_err() {
                return Err(ReporterError::Address(name.clone()));
            }
            let host = host.trim_start_matches('[').trim_end_matches(']');
            let server_name = config.adapter_server_name.as_deref().unwrap_or(host).into();
            Ok(Adapter { name: name.clone(), server_name, addrs: Vec::new(), failed: false })
        });
        Ok(Self { adapters: adapters.collect::<Result<_, _>>()? })
    }

    /// Sends the targets on after every round, until nobody receives them.
    pub(super) async fn watch(mut self, targets: mpsc::Sender<Vec<Target>>) {
        loop {
            for adapter in &mut self.adapters {
                adapter.resolve().await;
            }
            if targets.send(self.all()).await.is_err() {
                return;
            }
            tokio::time::sleep(RESOLVE_INTERVAL).await;
        }
    }

    fn all(&self) -> Vec<Target> {
        let each = self.adapters.iter().flat_map(|adapter| {
            adapter
                .addrs
                .iter()
                .map(|addr| Target { addr: *addr, server_name: Arc::clone(&adapter.server_name) })
        });
        each.collect()
    }
}

impl Adapter {
    /// Keeps the last addresses while the name does not resolve.
    async fn resolve(&mut self) {
        match tokio::net::lookup_host(&self.name).await {
            Ok(addrs) => {
                self.addrs = addrs.collect();
                self.failed = false;
            }
            Err(error) if !self.failed => {
                tracing::warn!(adapter = %self.name, %error, "adapter not resolved");
                self.failed = true;
            }
            Err(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn parse(adapters: &[&str]) -> Result<Targets, ReporterError> {
        let adapters = adapters.iter().map(|&name| name.to_owned()).collect();
        Targets::parse(&ReporterConfig { adapters, ..ReporterConfig::default() })
    }

    #[test]
    fn an_adapter_is_a_host_and_a_port() {
        for bad in ["adapter", "adapter:", ":9091", "adapter:http", ""] {
            assert!(parse(&[bad]).is_err(), "{bad:?}");
        }
        let targets = parse(&["adapter.kipper:9091", "[::1]:9091"]).unwrap();
        let names: Vec<_> = targets.adapters.iter().map(|adapter| &*adapter.server_name).collect();
        assert_eq!(names, ["adapter.kipper", "::1"]);
    }

    #[tokio::test]
    async fn the_last_addresses_outlive_a_failed_lookup() {
        let mut targets = parse(&["127.0.0.1:9091"]).unwrap();
        targets.adapters[0].resolve().await;
        targets.adapters[0].name = "not a name:9091".to_owned();
        targets.adapters[0].resolve().await;
        assert_eq!(targets.all()[0].addr, "127.0.0.1:9091".parse().unwrap());
    }
}
