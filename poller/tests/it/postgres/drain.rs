//! `/drain`, as the function's `preStop` hook asks for it.

use std::{net::SocketAddr, time::Duration};

use kipper_servers::free_port;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::database::Database;
use crate::{
    function::{Function, status},
    poller::Poller,
    table::Table as _,
    wait::until,
};

const TOKEN: &str = "a-token-of-sixteen-bytes";

/// The status of a request for a drain.
async fn ask(addr: SocketAddr, token: &str) -> String {
    let mut stream = TcpStream::connect(addr).await.unwrap();
    let request =
        format!("GET /drain HTTP/1.1\r\nhost: pod\r\nkipper-drain-token: {token}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer.split(' ').nth(1).unwrap().to_owned()
}

/// Without the token nothing happens. With it handlers finish, marks are committed, locks go, and
/// then it is answered. When the function was replaced and no signal came, polling goes on.
#[tokio::test(flavor = "multi_thread")]
async fn a_drain_finishes_what_runs_and_a_new_function_resumes() {
    let database = Database::new().await;
    let function = Function::with(|_| async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        status(200)
    })
    .await;
    database.fill(200).await;
    let drain: SocketAddr = ([127, 0, 0, 1], free_port().unwrap()).into();
    let mut flags = database.flags(&function.url());
    flags.retain(|flag| !flag.starts_with("--drain-listen"));
    flags.push(format!("--drain-listen={drain}"));
    flags.push(format!("--drain-token={TOKEN}"));
    let poller = Poller::start(&flags);
    until("at work", async || function.count() >= 8).await;

    assert_eq!(ask(drain, "another-token-of-length").await, "401");
    let seen = function.count();
    until("still at work", async || function.count() > seen).await;

    assert_eq!(ask(drain, TOKEN).await, "200");
    let delivered = function.count();
    assert!(delivered < 200);
    assert_eq!(database.count("done").await, i64::try_from(delivered).unwrap());
    assert_eq!(database.locks().await, 0);
    // Asked twice, it is drained already.
    assert_eq!(ask(drain, TOKEN).await, "200");
    assert_eq!(function.count(), delivered);

    let addr = function.addr();
    drop(function);
    until("the function is away", async || TcpStream::connect(addr).await.is_err()).await;
    // The poller sees that within a fifth of a second; if not, it resumes after half a minute.
    let function = Function::listen(addr, |_| async { status(200) }).await;
    until("all marked", async || database.count("done").await == 200).await;
    poller.stop().await;
    assert_eq!(function.count(), 200 - delivered);
}
