//! The binary: start, signals, kill and restart on the same ports.

use std::{
    net::SocketAddr,
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use kipper_counts::FunctionCounts;

use crate::support::{Interceptor, Keda, counts, patiently};

/// A running adapter; killed when dropped.
struct Process {
    child: Child,
    grpc: SocketAddr,
    counts: SocketAddr,
}

fn free_address() -> SocketAddr {
    kipper_servers::free_address().unwrap()
}

impl Process {
    async fn start(grpc: SocketAddr, counts: SocketAddr) -> Self {
        let child = Command::new(env!("CARGO_BIN_EXE_kipper-scaler-adapter"))
            .args(["--grpc-listen", &grpc.to_string(), "--counts-listen", &counts.to_string()])
            .args(["--admin-listen", "127.0.0.1:0", "--drain-delay", "0s"])
            .args(["--snapshot-wait", "1h"])
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let process = Self { child, grpc, counts };
        let listening = async {
            while tokio::net::TcpStream::connect(counts).await.is_err() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        patiently("listener", listening).await;
        process
    }

    fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
    }

    async fn exit(&mut self) -> ExitStatus {
        let exited = async {
            loop {
                if let Some(status) = self.child.try_wait().unwrap() {
                    return status;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        patiently("exit", exited).await
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn running(total: u64) -> FunctionCounts {
    FunctionCounts { in_flight: 1, idle_ms: 3_600_000, ..counts("hello", total) }
}

#[tokio::test]
async fn a_restart_in_the_middle_of_traffic_never_looks_idle() {
    let mut process = Process::start(free_address(), free_address()).await;
    let (grpc, counts_addr) = (process.grpc, process.counts);
    let first = Interceptor::connect(counts_addr, "i-1", 7, vec![running(1)]).await;
    let mut keda = Keda::connect(grpc).await;
    keda.until_active("hello", true).await;

    process.child.kill().unwrap();
    process.exit().await;
    drop(first);
    let _restarted = Process::start(grpc, counts_addr).await;
    let mut keda = Keda::connect(grpc).await;
    // Out of ignorance there is no answer; then the snapshot comes, and the answer is right.
    for _ in 0..20 {
        let status = keda.is_active("hello").await.unwrap_err();
        assert_eq!(status.code(), tonic::Code::Unavailable);
    }
    let _second = Interceptor::connect(counts_addr, "i-1", 7, vec![running(40)]).await;
    let answered = async {
        loop {
            match keda.is_active("hello").await {
                Ok(active) => return active,
                Err(status) => assert_eq!(status.code(), tonic::Code::Unavailable),
            }
        }
    };
    assert!(patiently("answer", answered).await, "the first answer is already right");
}

#[tokio::test]
async fn a_signal_ends_streams_with_ok_and_the_process_with_zero() {
    let mut process = Process::start(free_address(), free_address()).await;
    let interceptor = Interceptor::connect(process.counts, "i-1", 7, vec![]).await;
    let mut keda = Keda::connect(process.grpc).await;
    let mut stream = keda.stream("hello").await;
    process.signal("-TERM");
    assert!(patiently("end", stream.message()).await.unwrap().is_none());
    interceptor.end().await.unwrap();
    assert_eq!(process.exit().await.code(), Some(0));
}

#[test]
fn a_wrong_flag_is_one_line_and_exit_64() {
    refused(&["--expected-interceptors", "0"]);
    refused(&[
        "--log-level=error",
        "--counts-tls-cert=no-such.crt",
        "--counts-tls-key=no-such.key",
    ]);
}

fn refused(args: &[&str]) {
    let output =
        Command::new(env!("CARGO_BIN_EXE_kipper-scaler-adapter")).args(args).output().unwrap();
    assert_eq!(output.status.code(), Some(64));
    assert_eq!(String::from_utf8(output.stderr).unwrap().trim().lines().count(), 1);
}
