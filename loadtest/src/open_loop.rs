//! `POST`s with unique ids, due at a constant rate whether or not earlier ones were answered.
//!
//! Unlike the benchmarks' load generator it keeps the fate of every single request, and goes on
//! when one fails.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use kipper_measure::client::Client;
use tokio::{
    task::JoinSet,
    time::{Instant, sleep_until, timeout},
};

use crate::requests::post;

/// Without an answer by then, a request hangs.
const HUNG_AFTER: Duration = Duration::from_secs(10);

/// What to send.
#[derive(Clone, Debug)]
pub(crate) struct Load {
    pub(crate) proxy: SocketAddr,
    pub(crate) host: String,
    /// Ids are this and a number.
    pub(crate) prefix: &'static str,
    pub(crate) connections: usize,
    pub(crate) duration: Duration,
    /// Requests per second; `None` sends the next request with the answer to the one before.
    pub(crate) rate: Option<f64>,
}

/// One request and what came of it.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    pub(crate) id: String,
    /// When it was to be sent.
    pub(crate) due: Instant,
    /// When it was sent.
    pub(crate) sent: Instant,
    /// From when it was due.
    pub(crate) took: Duration,
    pub(crate) fate: Fate,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Answered,
    /// An answer other than 200, or a connection that ended: the client knows.
    Failed(String),
    Hung,
}

/// Runs the load to its end.
pub(crate) async fn run(load: &Load) -> Vec<Sent> {
    let next = Arc::new(AtomicU64::new(0));
    let started = Instant::now();
    let mut connections = JoinSet::new();
    for _ in 0..load.connections {
        connections.spawn(connection(load.clone(), Arc::clone(&next), started));
    }
    connections.join_all().await.into_iter().flatten().collect()
}

async fn connection(load: Load, next: Arc<AtomicU64>, started: Instant) -> Vec<Sent> {
    let mut all = Vec::new();
    let mut client = None;
    loop {
        let number = next.fetch_add(1, Relaxed);
        #[allow(clippy::cast_precision_loss)] // exact far beyond any run
        let due = load.rate.map(|rate| started + Duration::from_secs_f64(number as f64 / rate));
        if due.unwrap_or_else(Instant::now) >= started + load.duration {
            return all;
        }
        if let Some(due) = due {
            sleep_until(due).await;
        }
        let sent = Instant::now();
        let id = format!("{}-{number}", load.prefix);
        let fate = timeout(HUNG_AFTER, ask(&load, &mut client, &id)).await;
        let fate = fate.unwrap_or(Fate::Hung);
        if fate != Fate::Answered {
            client = None;
        }
        let due = due.unwrap_or(sent);
        all.push(Sent { id, due, sent, took: due.elapsed(), fate });
    }
}

async fn ask(load: &Load, client: &mut Option<Client>, id: &str) -> Fate {
    let asked = async {
        if client.is_none() {
            *client = Some(Client::connect(load.proxy).await?);
        }
        let Some(connection) = client else { return Err(std::io::ErrorKind::NotConnected.into()) };
        connection.ask(&post(&load.host, id)).await
    };
    match asked.await {
        Ok(answer) if answer.status == 200 => {
            if answer.close {
                *client = None;
            }
            Fate::Answered
        }
        Ok(answer) => {
            let body = String::from_utf8_lossy(&answer.body).into_owned();
            Fate::Failed(format!("{} {body}", answer.status))
        }
        Err(error) => Fate::Failed(error.to_string()),
    }
}
