//! `POST`s over pooled connections whose server closes them after 5 s of silence, every 4.9 to
//! 5.1 s: the proxy must never write into a connection that is being closed.
//!
//! Each client has its own function on its own port of one real Node server, so that its interval
//! is exactly how long its pooled connection was idle.

use std::{
    net::SocketAddr,
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::Context as _;
use kipper_measure::{child::ChildProcess, client::Client};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    task::JoinSet,
    time::{Instant, sleep_until, timeout},
};

use crate::{
    control::{function, host},
    processes::Interceptor,
    requests::post,
    run::{PATIENCE, Run},
};

const CLIENTS: usize = 50;
const SHORTEST: Duration = Duration::from_millis(4_900);
const SPREAD: Duration = Duration::from_millis(200);
/// Node's defaults, with keep-alive connections closed after 5 s.
const SERVER: &str = r"
const http = require('http');
const answer = (request, response) => {
  request.resume().on('end', () => response.end('ok'));
};
const servers = Array.from({ length: Number(process.argv[2]) }, () => http.createServer(answer));
let left = servers.length;
for (const server of servers) {
  server.keepAliveTimeout = 5000;
  server.listen(0, '127.0.0.1', () => {
    left -= 1;
    if (left === 0) console.log(JSON.stringify(servers.map((one) => one.address().port)));
  });
}
";

pub(super) async fn run(run: &mut Run) -> Result<(), anyhow::Error> {
    let rounds = run.size(12, 3);
    let (_node, ports) = start_node(run).await?;
    let mut interceptor = Interceptor::start(run, CLIENTS, &[]).await?;
    for (index, port) in ports.iter().enumerate() {
        let address = SocketAddr::from(([127, 0, 0, 1], *port));
        interceptor.set_ready(&function(index), &[address]).await?;
    }
    let mut clients = JoinSet::new();
    for index in 0..CLIENTS {
        let step = SPREAD / u32::try_from(CLIENTS - 1)?;
        let interval = SHORTEST + step * u32::try_from(index)?;
        clients.spawn(client(interceptor.proxy, index, interval, rounds));
    }
    let (mut asked, mut bad_gateway, mut errors) = (0, 0, 0);
    for status in clients.join_all().await.into_iter().flatten() {
        asked += 1;
        match status {
            Some(200) => {}
            Some(502) => bad_gateway += 1,
            other => {
                println!("   answered {other:?}");
                errors += 1;
            }
        }
    }
    let connects = interceptor.metric("kipper_interceptor_upstream_connects_total").await?;
    let replays = interceptor.metric("kipper_interceptor_replays_total").await?;
    println!("   {asked} requests over {connects} connections, {replays} replays");
    run.outcome.condition("keep_alive_race_502", bad_gateway)?;
    run.outcome.condition("keep_alive_race_errors", errors)
}

/// The status of every request; `None` where there was no answer.
async fn client(
    proxy: SocketAddr,
    index: usize,
    interval: Duration,
    rounds: usize,
) -> Vec<Option<u16>> {
    let mut statuses = Vec::with_capacity(rounds);
    let mut client = None;
    let mut due = Instant::now();
    for round in 0..rounds {
        sleep_until(due).await;
        let request = post(&host(index), &format!("{index}-{round}"));
        let asked = timeout(PATIENCE, ask(proxy, &mut client, &request)).await;
        let status = asked.ok().and_then(Result::ok);
        if status.is_none() {
            client = None;
        }
        statuses.push(status);
        due = Instant::now() + interval;
    }
    statuses
}

async fn ask(
    proxy: SocketAddr,
    client: &mut Option<Client>,
    request: &[u8],
) -> std::io::Result<u16> {
    let mut connection = match client.take() {
        Some(connection) => connection,
        None => Client::connect(proxy).await?,
    };
    let answer = connection.ask(request).await?;
    if !answer.close {
        *client = Some(connection);
    }
    Ok(answer.status)
}

async fn start_node(run: &mut Run) -> Result<(ChildProcess, Vec<u16>), anyhow::Error> {
    let script = run.dir().join("server.js");
    std::fs::write(&script, SERVER)?;
    let mut command = Command::new("node");
    command.arg(&script).arg(CLIENTS.to_string()).stdout(Stdio::piped());
    let name = run.unique("node");
    let mut child = ChildProcess::spawn(&name, command, run.dir())?;
    let stdout = child.take_stdout().context("a process without stdout")?;
    let mut line = String::new();
    BufReader::new(tokio::process::ChildStdout::from_std(stdout)?).read_line(&mut line).await?;
    let ports = serde_json::from_str(&line)
        .with_context(|| format!("node does not listen{}", child.log_tail()))?;
    Ok((child, ports))
}
