//! `POST`s with unique ids, due when they are due whether or not earlier ones were answered.
//!
//! Unlike the benchmarks' load generator it keeps the fate of every single request, and goes on
//! when one fails.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
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
    pub(crate) pace: Pace,
}

/// When requests are due.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Pace {
    /// With the answer to the one before.
    Closed,
    /// So many per second, evenly.
    Steady(f64),
    /// So many per second, each whenever it likes: a Poisson process.
    Poisson(f64),
}

/// The requests of a run in the order in which they are due.
struct Arrivals {
    pace: Pace,
    number: u64,
    /// Since the start, in seconds.
    due: f64,
}

impl Arrivals {
    /// Number of the next request, and when it is due if the pace says so.
    fn next(&mut self) -> (u64, Option<Duration>) {
        let number = self.number;
        self.number += 1;
        #[allow(clippy::cast_precision_loss)] // exact far beyond any run
        let due = match self.pace {
            Pace::Closed => return (number, None),
            Pace::Steady(rate) => number as f64 / rate,
            Pace::Poisson(rate) => {
                self.due -= (1.0 - fastrand::f64()).ln() / rate;
                self.due
            }
        };
        (number, Some(Duration::from_secs_f64(due)))
    }
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
    let next = Arc::new(Mutex::new(Arrivals { pace: load.pace, number: 0, due: 0.0 }));
    let started = Instant::now();
    let mut connections = JoinSet::new();
    for _ in 0..load.connections {
        connections.spawn(connection(load.clone(), Arc::clone(&next), started));
    }
    connections.join_all().await.into_iter().flatten().collect()
}

async fn connection(load: Load, next: Arc<Mutex<Arrivals>>, started: Instant) -> Vec<Sent> {
    let mut all = Vec::new();
    let mut client = None;
    loop {
        let (number, due) = next.lock().unwrap_or_else(PoisonError::into_inner).next();
        let due = due.map(|due| started + due);
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
