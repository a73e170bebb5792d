//! Our interceptor, with routes from a file instead of a cluster.

use std::{
    fs,
    io::BufWriter,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Context as _;
use kipper_servers::free_address;
use serde::Serialize;

const BINARY: &str = "kipper-interceptor";

/// How the interceptor is started.
#[derive(Clone, Debug)]
pub struct Interceptor {
    /// Its binary.
    pub binary: PathBuf,
    /// Further arguments.
    pub args: Vec<String>,
}

impl Interceptor {
    /// The binary that was built beside `bench`.
    pub fn beside(bench: &Path) -> PathBuf {
        bench.with_file_name(BINARY)
    }

    pub(super) fn command(
        &self,
        dir: &Path,
        addr: SocketAddr,
        table: &RouteTable,
    ) -> Result<Command, anyhow::Error> {
        let binary = &self.binary;
        anyhow::ensure!(
            binary.exists(),
            "{} is missing: build it first with `cargo build --release -p {BINARY}`",
            binary.display()
        );
        fs::create_dir_all(dir)?;
        let routes = dir.join("routes.json");
        table.write(&routes)?;
        let mut command = Command::new(binary);
        command
            .args(["--listen", &addr.to_string()])
            .args(["--admin-listen", &free_address()?.to_string()])
            .arg("--static-routes")
            .arg(&routes)
            .args(&self.args);
        Ok(command)
    }
}

/// One function of a route table, as the interceptor reads it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Function {
    namespace: &'static str,
    name: String,
    hosts: Vec<String>,
    endpoints: Vec<SocketAddr>,
}

/// The functions an interceptor serves in a run; all forward to the same backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteTable {
    functions: Vec<Function>,
}

impl RouteTable {
    /// One function with one host.
    pub fn one(host: &str, backend: SocketAddr) -> Self {
        Self { functions: vec![Function::new(0, vec![host.to_owned()], backend)] }
    }

    /// `count` functions with a host each.
    pub fn many(count: usize, backend: SocketAddr) -> Self {
        let function = |index| Function::new(index, vec![host_of(index)], backend);
        Self { functions: (0..count).map(function).collect() }
    }

    /// One function that has all the given hosts.
    pub fn aliases(hosts: Vec<String>, backend: SocketAddr) -> Self {
        Self { functions: vec![Function::new(0, hosts, backend)] }
    }

    /// Every host, in the order of the functions.
    pub fn hosts(&self) -> Vec<String> {
        self.functions.iter().flat_map(|function| function.hosts.iter().cloned()).collect()
    }

    /// `count` hosts spread evenly over the table; fewer when it has fewer.
    pub fn sample_hosts(&self, count: usize) -> Vec<String> {
        let hosts = self.hosts();
        let step = hosts.len().div_ceil(count.max(1)).max(1);
        hosts.into_iter().step_by(step).collect()
    }

    fn write(&self, path: &Path) -> Result<(), anyhow::Error> {
        let file = fs::File::create(path)?;
        serde_json::to_writer(BufWriter::new(file), &self.functions).context("write routes")
    }
}

impl Function {
    fn new(index: usize, hosts: Vec<String>, backend: SocketAddr) -> Self {
        Self { namespace: "bench", name: format!("fn-{index}"), hosts, endpoints: vec![backend] }
    }
}

fn host_of(index: usize) -> String {
    format!("fn-bench-{index}-localhost")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_file_is_what_the_interceptor_reads() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("routes.json");
        RouteTable::one("a-localhost", "127.0.0.1:9".parse().unwrap()).write(&path).unwrap();
        assert_eq!(
            fs::read_to_string(path).unwrap(),
            r#"[{"namespace":"bench","name":"fn-0","hosts":["a-localhost"],"endpoints":["127.0.0.1:9"]}]"#
        );
    }

    #[test]
    fn sampled_hosts_are_spread_over_the_table() {
        let table = RouteTable::many(10_000, "127.0.0.1:9".parse().unwrap());
        let sample = table.sample_hosts(16);
        assert_eq!(sample.len(), 16);
        assert_eq!((sample[0].as_str(), sample[15].as_str()), (&*host_of(0), &*host_of(9375)));
        assert_eq!(RouteTable::many(3, "127.0.0.1:9".parse().unwrap()).sample_hosts(16).len(), 3);
    }
}
