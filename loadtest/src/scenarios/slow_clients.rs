//! Clients that send heads, bodies or nothing slowly, and clients that do not read: all are closed
//! on the proxy's timers, and nobody else notices.

use std::{net::SocketAddr, time::Duration};

use kipper_measure::client::Client;
use tokio::{
    io::AsyncReadExt as _,
    net::TcpSocket,
    task::JoinSet,
    time::{Instant, interval, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::{
    control::{function, host},
    processes::{Function, Interceptor},
    requests::get,
    run::{PATIENCE, POLL, Run},
    serve::function::LARGE,
};

/// The proxy's timers, short.
const TIMERS: &[&str] = &["--header-timeout", "1s", "--idle-timeout", "2s", "--body-timeout", "1s"];
const CONNECTIONS: &str = "kipper_interceptor_connections";
/// Between two bytes of a slow client: far below the lowest rate the proxy accepts.
const DRIP: Duration = Duration::from_millis(100);
/// When a slow client is still connected then, no timer closes it.
const CLOSED_WITHIN: Duration = Duration::from_secs(15);
const NORMAL_CLIENTS: u32 = 4;
/// A receive buffer that the answer does not fit into.
const SMALL_BUFFER: u32 = 4096;

/// How a client is slow.
#[derive(Clone, Copy, Debug)]
enum Slow {
    Silent,
    Header,
    Body,
    Read,
}

pub(super) async fn run(run: &mut Run) -> Result<(), anyhow::Error> {
    let each = run.size(500, 100);
    let mut interceptor = Interceptor::start(run, 2, TIMERS).await?;
    let backend = Function::start(run, &[]).await?;
    for index in [0, 1] {
        interceptor.set_ready(&function(index), &[backend.addr]).await?;
    }
    let stop = CancellationToken::new();
    let mut normal = JoinSet::new();
    for _ in 0..NORMAL_CLIENTS {
        normal.spawn(normal_client(interceptor.proxy, stop.clone()));
    }
    let mut not_closed = 0;
    for slow in [Slow::Silent, Slow::Header, Slow::Body, Slow::Read] {
        let left = attack(&mut interceptor, slow, each).await?;
        println!("   {each} clients with {slow:?}: {left} not closed");
        not_closed += left;
    }
    stop.cancel();
    let (mut asked, mut errors) = (0, 0);
    for (more, failed) in normal.join_all().await {
        asked += more;
        errors += failed;
    }
    println!("   {asked} requests of normal clients");
    run.outcome.condition("slow_clients_not_closed", not_closed)?;
    run.outcome.condition("slow_clients_normal_errors", errors)
}

/// Opens slow clients of one kind; returns how many are still served when all should be closed.
async fn attack(
    interceptor: &mut Interceptor,
    slow: Slow,
    count: usize,
) -> Result<usize, anyhow::Error> {
    let proxy = interceptor.proxy;
    let mut clients = JoinSet::new();
    for _ in 0..count {
        clients.spawn(async move { timeout(CLOSED_WITHIN, slow_client(proxy, slow)).await });
    }
    if matches!(slow, Slow::Read) {
        // Such a client does not see the end of what it does not read, so the proxy is asked.
        let name = function(1);
        interceptor.until(&name, |counts| counts.total >= count as u64).await?;
        let end = Instant::now() + CLOSED_WITHIN;
        while interceptor.counts(&name).await?.open() > 0 && Instant::now() < end {
            sleep(POLL).await;
        }
        return Ok(interceptor.counts(&name).await?.open());
    }
    let closed = clients.join_all().await;
    for outcome in closed.iter().flatten() {
        if let Err(error) = outcome {
            println!("   {slow:?}: {error}");
        }
    }
    let left = closed.iter().filter(|outcome| !matches!(outcome, Ok(Ok(())))).count();
    let end = Instant::now() + PATIENCE;
    while interceptor.metric(CONNECTIONS).await? > f64::from(NORMAL_CLIENTS) {
        anyhow::ensure!(Instant::now() < end, "{slow:?} clients still count as connections");
        sleep(POLL).await;
    }
    Ok(left)
}

/// Returns when the proxy has closed the connection.
async fn slow_client(proxy: SocketAddr, slow: Slow) -> std::io::Result<()> {
    let socket = TcpSocket::new_v4()?;
    if matches!(slow, Slow::Read) {
        socket.set_recv_buffer_size(SMALL_BUFFER)?;
    }
    let stream = socket.connect(proxy).await?;
    let (mut read, write) = stream.into_split();
    let (first, drip) = match slow {
        Slow::Silent => (String::new(), ""),
        Slow::Header => (format!("GET / HTTP/1.1\r\nhost: {}\r\nx-slow: ", host(0)), "a"),
        Slow::Body => {
            (format!("POST / HTTP/1.1\r\nhost: {}\r\ncontent-length: 100000\r\n\r\n", host(0)), "a")
        }
        Slow::Read => (format!("GET {LARGE} HTTP/1.1\r\nhost: {}\r\n\r\n", host(1)), ""),
    };
    let reading = async {
        let mut bytes = [0; 8];
        // Reads what comes, a little at a time where reading is what is slow.
        while read.read(&mut bytes).await.is_ok_and(|read| read > 0) {
            if matches!(slow, Slow::Read) {
                sleep(DRIP).await;
            }
        }
    };
    let writing = async {
        let _ = write.writable().await;
        let _ = write.try_write(first.as_bytes());
        let mut ticks = interval(DRIP);
        loop {
            ticks.tick().await;
            // A failure is for the reader to see.
            let _ = write.try_write(drip.as_bytes());
        }
    };
    tokio::select! {
        () = reading => Ok(()),
        never = writing => never,
    }
}

/// Asks all the time until it is stopped: how often, and how often in vain.
async fn normal_client(proxy: SocketAddr, stop: CancellationToken) -> (usize, usize) {
    let (mut asked, mut errors) = (0, 0);
    let mut client = None;
    let request = get(&host(0), "/");
    while !stop.is_cancelled() {
        asked += 1;
        let ask = async {
            let mut connection = match client.take() {
                Some(connection) => connection,
                None => Client::connect(proxy).await?,
            };
            let answer = connection.ask(&request).await?;
            Ok::<_, std::io::Error>((connection, answer))
        };
        match timeout(PATIENCE, ask).await {
            Ok(Ok((connection, answer))) if answer.status == 200 => {
                client = Some(connection).filter(|_| !answer.close);
            }
            other => {
                println!("   normal client: {other:?}");
                errors += 1;
            }
        }
        sleep(POLL).await;
    }
    (asked, errors)
}
