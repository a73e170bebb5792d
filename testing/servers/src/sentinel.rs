//! Two Redis servers, one the other's replica, and one sentinel which makes the replica the master
//! some seconds after the master has gone.

use std::{ops::Deref, process::Command};

use crate::{
    CertificateFor, Redis, Server, ServerError,
    guard::{Plan, RunAs},
    redis,
};

const INSTALL: &str = "apt-get install redis-server";

/// The sentinel; its own port is that of [`Server::port`], without password and TLS.
#[derive(Debug)]
pub struct Sentinel {
    // Dropped first, so that it sees no failure in the end of the others.
    server: Server,
    members: [Redis; 2],
}

impl Sentinel {
    /// The name under which the sentinel knows the master.
    pub const SERVICE: &str = "kipper";
    /// The password of the two servers. Sentinels write it to their file without quotes.
    pub const PASSWORD: &str = "sesame-9";

    /// Starts all three with lines of `redis.conf` for the two servers. The replica is in step, and
    /// the sentinel knows both, when this returns.
    ///
    /// # Errors
    /// When Redis is not installed or one of them does not start.
    pub fn start(config: Vec<String>) -> Result<Self, ServerError> {
        let password = Some(Self::PASSWORD.to_owned());
        let master = Redis::start(redis::Options { password, tls: false, config })?;
        let replica = master.replica()?;
        let server = Server::start(&Plan {
            name: "sentinel",
            script: include_str!("sentinel.sh"),
            programs: &[("redis-server", INSTALL), ("redis-cli", "apt-get install redis-tools")],
            path: Vec::new(),
            files: vec![(
                "lines.conf",
                format!("sentinel auth-pass {} {}\n", Self::SERVICE, Self::PASSWORD),
            )],
            env: vec![("PRIMARY_PORT".to_owned(), master.port().to_string())],
            certificate: CertificateFor::NameAndAddress,
            user: RunAs::Nobody,
        })?;
        Ok(Self { server, members: [master, replica] })
    }

    /// Both servers, the first master before the first replica.
    pub fn members(&self) -> &[Redis; 2] {
        &self.members
    }

    /// Whom the sentinel calls the master now. A failover is over when this is the other one.
    ///
    /// # Errors
    /// When the sentinel does not say.
    pub fn master(&self) -> Result<&Redis, ServerError> {
        let output = Command::new("redis-cli")
            .args(["-h", "127.0.0.1", "-p", &self.port().to_string()])
            .args(["sentinel", "get-master-addr-by-name", Self::SERVICE])
            .output()
            .map_err(ServerError::io("run redis-cli"))?;
        let output = String::from_utf8_lossy(&output.stdout).into_owned();
        let port = output.lines().nth(1).and_then(|port| port.parse().ok());
        let member = self.members.iter().find(|member| Some(member.port()) == port);
        member.ok_or(ServerError::Client { client: "redis-cli", output })
    }

    /// Kills the master and gives it back, for [`Server::start_again`]: the sentinel makes a replica
    /// of it then.
    ///
    /// # Errors
    /// When the sentinel does not say who it is, or it cannot be killed.
    pub fn kill_master(&self) -> Result<&Redis, ServerError> {
        let master = self.master()?;
        master.kill()?;
        Ok(master)
    }
}

impl Deref for Sentinel {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}
