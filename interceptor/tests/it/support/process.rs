//! The real binary, for what only a process can show: exit codes, signals, its admin port.

use std::{io::Write as _, net::SocketAddr, process::Stdio};

use parking_lot::Mutex;
use serde_json::Value;
use std::sync::Arc;
use tempfile::NamedTempFile;
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, BufReader},
    process::{Child, ChildStdout, Command},
};

use super::{Wire, until, within};

const BINARY: &str = env!("CARGO_BIN_EXE_kipper-interceptor");

/// A loopback address with a port that is free at this moment.
pub(crate) fn free_address() -> SocketAddr {
    kipper_servers::free_address().unwrap()
}

/// A running interceptor; killed with the test.
pub(crate) struct Process {
    child: Child,
    pub(crate) address: SocketAddr,
    admin: SocketAddr,
    log: Arc<Mutex<String>>,
    /// A stdout that is not read.
    _stdout: Option<ChildStdout>,
    _routes: NamedTempFile,
}

impl Process {
    /// Starts it with fixed routes, and waits until it is ready.
    pub(crate) async fn start(routes: &Value, flags: &[&str]) -> Self {
        Self::start_at(free_address(), routes, flags).await
    }

    /// The same at an address of the test's choice.
    pub(crate) async fn start_at(address: SocketAddr, routes: &Value, flags: &[&str]) -> Self {
        Self::start_with(address, routes, flags, true).await
    }

    /// The same with a stdout that nobody reads.
    pub(crate) async fn start_unread(routes: &Value, flags: &[&str]) -> Self {
        Self::start_with(free_address(), routes, flags, false).await
    }

    async fn start_with(
        address: SocketAddr,
        routes: &Value,
        flags: &[&str],
        read_stdout: bool,
    ) -> Self {
        let admin = free_address();
        let mut file = NamedTempFile::new().unwrap();
        file.write_all(routes.to_string().as_bytes()).unwrap();
        let mut child = Command::new(BINARY)
            .args(["--listen", &address.to_string()])
            .args(["--admin-listen", &admin.to_string()])
            .args(["--static-routes", file.path().to_str().unwrap()])
            .args(flags)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let log = Arc::new(Mutex::new(String::new()));
        let mut stdout = child.stdout.take();
        if read_stdout {
            collect(stdout.take().unwrap(), &log);
        }
        collect(child.stderr.take().unwrap(), &log);
        let mut process = Self { child, address, admin, log, _stdout: stdout, _routes: file };
        process.wait_ready().await;
        process
    }

    async fn wait_ready(&mut self) {
        let waiting = async {
            loop {
                let exited = self.child.try_wait().unwrap();
                assert!(exited.is_none(), "{exited:?}: {}", self.log.lock());
                if let Ok(stream) = tokio::net::TcpStream::connect(self.admin).await
                    && Wire::new(stream).get("admin", "/readyz").await.status() == 200
                {
                    return;
                }
                tokio::time::sleep(super::LOOK_AGAIN).await;
            }
        };
        within("the process gets ready", waiting).await;
    }

    /// Status of an admin path, asked on a fresh connection.
    pub(crate) async fn admin(&self, path: &str) -> u16 {
        self.admin_body(path).await.status()
    }

    /// The whole answer of an admin path.
    pub(crate) async fn admin_body(&self, path: &str) -> super::Message {
        Wire::connect(self.admin).await.get("admin", path).await
    }

    /// Waits until it has logged `text`.
    pub(crate) async fn logged(&self, text: &str) {
        until(text, || self.log.lock().contains(text)).await;
    }

    /// What it has logged so far.
    pub(crate) fn log(&self) -> String {
        self.log.lock().clone()
    }

    /// Sends SIGTERM.
    pub(crate) fn terminate(&self) {
        let pid = self.child.id().unwrap().to_string();
        let sent = std::process::Command::new("kill").args(["-TERM", &pid]).status();
        assert!(sent.unwrap().success());
    }

    /// Waits for its end: the exit code.
    pub(crate) async fn exited(mut self) -> Option<i32> {
        within("the process ends", self.child.wait()).await.unwrap().code()
    }

    /// Runs it with flags that must not let it start: exit code and what it printed on stderr.
    pub(crate) async fn refused(flags: &[&str]) -> (Option<i32>, String) {
        let running = Command::new(BINARY).args(flags).kill_on_drop(true).output();
        let output = within("the process gives up", running).await.unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    }
}

fn collect(stream: impl AsyncRead + Send + Unpin + 'static, log: &Arc<Mutex<String>>) {
    let log = Arc::clone(log);
    tokio::spawn(async move {
        let mut lines = BufReader::new(stream).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            let mut log = log.lock();
            log.push_str(&line);
            log.push('\n');
        }
    });
}
