//! `POST`s every 4.9 to 5.1 s to Node servers with Node's own keep-alive of 5 s: the proxy must
//! never write into a connection that its server is closing.
//!
//! Each client has a function and a pod of its own, so its interval is exactly how long the pooled
//! connection was idle. Kipper's own Node runtime keeps connections for longer; the servers here
//! are an image's, as Node makes them.

use std::time::Duration;

use kipper_cluster::{Cluster, Namespace, functions};
use kipper_function::Function;
use kipper_measure::client::Client;
use tokio::{
    task::JoinSet,
    time::{Instant, sleep_until, timeout},
};

use super::{
    fleet::INTERCEPTOR,
    ledger::soon_stopped,
    traffic::{replicas, serve},
};
use crate::{
    requests::post,
    run::{PATIENCE, Run},
};

const SHORTEST: Duration = Duration::from_millis(4_900);
const SPREAD: Duration = Duration::from_millis(200);
/// An image with Node in it.
const IMAGE: &str = "docker.io/kipper/runtime-node:dev";
/// A server with Node's defaults, loaded before the image's own program, which then never starts.
/// As process 1 it has to end itself.
const SERVER: &str = "\
import http from 'node:http';
const answer = (request, response) => request.resume().on('end', () => response.end('ok'));
process.on('SIGTERM', () => process.exit());
http.createServer(answer).listen(process.env.PORT);
await new Promise(() => {});
";

pub(super) async fn run(run: &mut Run, cluster: &Cluster) -> Result<(), anyhow::Error> {
    let (count, rounds) = (run.size(20_u32, 10), run.size(12, 4));
    let namespace = cluster.namespace("keep_alive_node").await?;
    let servers = (0..count).map(|index| server(&format!("node-{index}")));
    let servers = servers.map(|server| serve_one(cluster, &namespace, server));
    let hosts = futures_util::future::try_join_all(servers).await?;

    let before = INTERCEPTOR.metric(cluster, "kipper_interceptor_replays_total").await?;
    let mut clients = JoinSet::new();
    for (index, host) in (0..).zip(hosts) {
        let interval = SHORTEST + SPREAD * index / (count - 1);
        clients.spawn(client(cluster.interceptor, host, interval, rounds));
    }
    let statuses: Vec<Option<u16>> = clients.join_all().await.into_iter().flatten().collect();
    let replays = INTERCEPTOR.metric(cluster, "kipper_interceptor_replays_total").await? - before;
    let of = |status: Option<u16>| statuses.iter().filter(|one| **one == status).count();
    let (answered, bad_gateway) = (of(Some(200)), of(Some(502)));
    println!(
        "   {} requests by {count} clients, {answered} answered, {replays} replays",
        statuses.len()
    );
    run.outcome.condition("keep_alive_node_502", bad_gateway)?;
    let other = statuses.len() - answered - bad_gateway;
    run.outcome.condition("keep_alive_node_errors", other)
}

async fn serve_one(
    cluster: &Cluster,
    namespace: &Namespace,
    server: Function,
) -> Result<String, anyhow::Error> {
    serve(cluster, namespace, &server, 1).await
}

fn server(name: &str) -> Function {
    let mut function = replicas(soon_stopped(functions::image(name)), 1);
    function.spec.image = Some(IMAGE.to_owned());
    let code: String = SERVER.bytes().map(|byte| format!("%{byte:02x}")).collect();
    let options = format!("--import=data:text/javascript,{code}");
    function.spec.env.insert("NODE_OPTIONS".to_owned(), options);
    function
}

/// The status of every request; nothing where there was no answer.
async fn client(
    proxy: std::net::SocketAddr,
    host: String,
    interval: Duration,
    rounds: usize,
) -> Vec<Option<u16>> {
    let mut statuses = Vec::with_capacity(rounds);
    let mut client = None;
    let mut due = Instant::now();
    for round in 0..rounds {
        sleep_until(due).await;
        let request = post(&host, &round.to_string());
        let asked = timeout(PATIENCE, async {
            let mut connection = match client.take() {
                Some(connection) => connection,
                None => Client::connect(proxy).await?,
            };
            let answer = connection.ask(&request).await?;
            if !answer.close {
                client = Some(connection);
            }
            Ok::<_, std::io::Error>(answer.status)
        });
        statuses.push(asked.await.ok().and_then(Result::ok));
        due = Instant::now() + interval;
    }
    statuses
}
