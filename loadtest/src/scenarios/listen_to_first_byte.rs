//! A pod begins to listen; its held request is answered although nobody calls the pod ready.
//!
//! The pod's address is known before it listens, as in a cluster; it listens 20 to 300 ms after
//! the request arrived. Measured from the return of `listen` to the first byte at the client.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::Duration,
};

use kipper_measure::{client::Client, samples::Samples};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpSocket},
    sync::Mutex,
    task::JoinSet,
    time::{Instant, timeout},
};

use crate::{
    control::{Endpoint, function, host},
    processes::Interceptor,
    requests::get,
    run::{PATIENCE, Run},
};

/// Cold starts at a time, each of its own function.
const PARALLEL: usize = 4;
const START_MS: std::ops::Range<u64> = 20..300;
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

pub(super) async fn run(run: &mut Run) -> Result<(), anyhow::Error> {
    let wakes: u32 = run.size(2_000, 200);
    let interceptor = Arc::new(Mutex::new(Interceptor::start(run, PARALLEL, &[]).await?));
    let left = Arc::new(AtomicU32::new(wakes));
    let mut lanes = JoinSet::new();
    for lane in 0..PARALLEL {
        let (interceptor, left) = (Arc::clone(&interceptor), Arc::clone(&left));
        lanes.spawn(async move {
            let mut took = Vec::new();
            while left.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1)).is_ok() {
                took.push(timeout(PATIENCE, cold_start(lane, &interceptor)).await);
            }
            took
        });
    }
    let (mut took, mut errors) = (Vec::new(), 0);
    for outcome in lanes.join_all().await.into_iter().flatten() {
        match outcome {
            Ok(Ok(duration)) => took.push(duration),
            Ok(Err(error)) => {
                println!("   {error:#}");
                errors += 1;
            }
            Err(_) => errors += 1,
        }
    }
    let took: Samples = took.into_iter().collect();
    println!("   {}", took.summary());
    let probes = interceptor.lock().await.metric("kipper_interceptor_probes_total").await?;
    run.outcome.figure("listen_to_first_byte_probes", probes / f64::from(wakes))?;
    run.outcome.condition("listen_to_first_byte_errors", errors)?;
    run.outcome.figure("listen_to_first_byte_p99", took.quantile(0.99))
}

/// One cold start, with the function back at zero afterwards.
async fn cold_start(
    lane: usize,
    interceptor: &Mutex<Interceptor>,
) -> Result<Duration, anyhow::Error> {
    let name = function(lane);
    let proxy = interceptor.lock().await.proxy;
    let mut client = Client::connect(proxy).await?;
    client.send(&get(&host(lane), "/")).await?;
    // Bound but not listening: the address exists and refuses.
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::from(([127, 0, 0, 1], 0)))?;
    let endpoint = Endpoint { address: socket.local_addr()?, ready: false };
    interceptor.lock().await.set_endpoints(&name, vec![endpoint]).await?;
    tokio::time::sleep(Duration::from_millis(fastrand::u64(START_MS))).await;
    let listener = socket.listen(128)?;
    let started = Instant::now();
    let pod = tokio::spawn(serve(listener));
    client.first_byte().await?;
    let took = started.elapsed();
    let answer = client.answer().await?;
    // As in a cluster: no request goes to a pod that is about to end.
    interceptor.lock().await.set_endpoints(&name, Vec::new()).await?;
    pod.abort();
    anyhow::ensure!(answer.status == 200, "answered {}", answer.status);
    Ok(took)
}

/// Answers whatever arrives, until it is aborted.
async fn serve(listener: TcpListener) -> std::io::Result<()> {
    let mut connections = JoinSet::new();
    loop {
        let (mut stream, _) = listener.accept().await?;
        connections.spawn(async move {
            let mut buffer = [0; 4096];
            while stream.read(&mut buffer).await.is_ok_and(|read| read > 0) {
                if stream.write_all(ANSWER).await.is_err() {
                    return;
                }
            }
        });
    }
}
