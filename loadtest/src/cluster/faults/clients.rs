//! Single requests whose answers matter one by one.

use std::{net::SocketAddr, time::Duration};

use kipper_measure::client::{Answer, Client};
use tokio::{
    task::JoinSet,
    time::{Instant, timeout},
};

use crate::requests::{get, post};

/// Connections opened at a time, well below the accept queue of an interceptor.
const OPENED_AT_A_TIME: usize = 64;

/// Asks once on a connection of its own; what was answered, and after how long.
pub(super) async fn ask(
    proxy: SocketAddr,
    host: &str,
    patience: Duration,
) -> (Result<Answer, String>, Duration) {
    let begun = Instant::now();
    let asked =
        timeout(patience, async { Client::connect(proxy).await?.ask(&get(host, "/")).await });
    let answer = match asked.await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("no answer".to_owned()),
    };
    (answer, begun.elapsed())
}

/// Whether it was answered by the function; prints it otherwise.
pub(super) fn is_answered(what: &str, answer: &Result<Answer, String>) -> bool {
    match answer {
        Ok(answer) if answer.status == 200 => true,
        Ok(answer) => {
            let body = String::from_utf8_lossy(&answer.body);
            println!("   {what}: {} {body}", answer.status);
            false
        }
        Err(error) => {
            println!("   {what}: {error}");
            false
        }
    }
}

/// Opens connections and sends one `POST` on each; no answer is read.
pub(super) async fn send_many(
    proxy: SocketAddr,
    host: &str,
    count: usize,
) -> Result<Vec<Client>, anyhow::Error> {
    let mut sent = Vec::with_capacity(count);
    let mut opening = JoinSet::new();
    for number in 0..count {
        let request = post(host, &format!("held-{number}"));
        opening.spawn(async move {
            let mut client = Client::connect(proxy).await?;
            client.send(&request).await?;
            Ok::<_, std::io::Error>(client)
        });
        if opening.len() >= OPENED_AT_A_TIME
            && let Some(client) = opening.join_next().await
        {
            sent.push(client??);
        }
    }
    while let Some(client) = opening.join_next().await {
        sent.push(client??);
    }
    Ok(sent)
}

/// Reads every answer; how many are missing or not 200.
pub(super) async fn lost(sent: Vec<Client>, patience: Duration) -> usize {
    let mut reading = JoinSet::new();
    for mut client in sent {
        reading.spawn(async move { timeout(patience, client.answer()).await });
    }
    let mut lost = 0;
    for answer in reading.join_all().await {
        let answer = match answer {
            Ok(answer) => answer.map_err(|error| error.to_string()),
            Err(_) => Err("no answer".to_owned()),
        };
        lost += usize::from(!is_answered("held", &answer));
    }
    lost
}
