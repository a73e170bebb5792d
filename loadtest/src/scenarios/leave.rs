//! Clients that leave while they are held: they stop counting, and nothing of them is delivered.
//!
//! Half of them end with FIN and half with RST; some have sent more of a body than is read ahead,
//! which must not hide that they left.

use std::time::Duration;

use kipper_measure::client::Client;
use socket2::SockRef;
use tokio::time::Instant;

use super::release_10k::hold;
use crate::{
    control::{function, host},
    processes::{Function, Interceptor},
    requests::post,
    run::Run,
};

/// Clients with a body that is not read to its end.
const LARGE: usize = 200;
/// More than the 64 KiB that are read ahead of a held request, and little enough that the rest fits
/// the receive buffer: what ends the connection can then reach the socket behind it.
const LARGE_BODY_BYTES: usize = 96 << 10;

pub(super) async fn run(run: &mut Run) -> Result<(), anyhow::Error> {
    let clients = run.size(4_000, 1_000);
    let (name, host) = (function(0), host(0));
    let mut interceptor = Interceptor::start(run, 1, &[]).await?;
    let backend = Function::start(run, &[]).await?;
    let mut held = hold(interceptor.proxy, clients - LARGE, |id| post(&host, &id)).await?;
    for index in 0..LARGE {
        held.push(half_sent(interceptor.proxy, &host, index).await?);
    }
    interceptor.until(&name, |counts| counts.held == clients).await?;

    let started = Instant::now();
    for (index, client) in held.into_iter().enumerate() {
        if index % 2 == 0 {
            // Closing then sends RST instead of FIN.
            SockRef::from(&client.stream).set_linger(Some(Duration::ZERO))?;
        }
    }
    let zero = interceptor.until(&name, |counts| counts.open() == 0).await;
    let left_over = interceptor.counts(&name).await?.open();
    run.outcome.condition("leave_left_over", left_over)?;
    let took = zero.map_or(f64::INFINITY, |at| at.duration_since(started).as_secs_f64());
    run.outcome.figure("leave_to_zero", took)?;

    // Whatever was still queued would be delivered before this request.
    interceptor.set_ready(&name, &[backend.addr]).await?;
    let answer = Client::connect(interceptor.proxy).await?.ask(&post(&host, "last")).await?;
    anyhow::ensure!(answer.status == 200, "the function answers {}", answer.status);
    let deliveries = backend.executed()?.iter().filter(|id| *id != "last").count();
    run.outcome.condition("leave_deliveries", deliveries)
}

/// A client that has filled the socket buffers with a body whose end never comes.
async fn half_sent(
    proxy: std::net::SocketAddr,
    host: &str,
    index: usize,
) -> Result<Client, anyhow::Error> {
    let mut client = Client::connect(proxy).await?;
    let head = format!(
        "POST / HTTP/1.1\r\nhost: {host}\r\nx-loadtest-id: large-{index}\r\n\
         content-length: {}\r\n\r\n",
        2 * LARGE_BODY_BYTES
    );
    client.send(head.as_bytes()).await?;
    let body = vec![b'x'; LARGE_BODY_BYTES];
    let mut sent = 0;
    while sent < body.len() {
        client.stream.writable().await?;
        match client.stream.try_write(&body[sent..]) {
            Ok(written) => sent += written,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(client)
}
