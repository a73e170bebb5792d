//! One table of HTTP behaviour: what a client does, what the pods do, and how it ends for both
//! and in the counters, over HTTP/1.1 and HTTP/2, each plain and over TLS.
//!
//! A row says what a protocol cannot do; what only one protocol has is tested elsewhere. After
//! every row nothing is held, in flight or connected any more, every accepted request was
//! answered or counted as one whose client left, and no error was counted that the row does not
//! name. `KIPPER_TABLE=<part of a name>` runs a part of it.

mod answers;
mod deadlines;
mod early;
mod faults;
mod hangups;
mod headers;
mod http1;
mod http2;
mod paced;
mod pattern;
mod pod;
mod refusals;
mod retries;
mod row;
mod run;
mod shape;
mod slow;
mod traces;
mod transport;

use std::{collections::BTreeSet, sync::Arc};

use row::Row;
use tokio::{sync::Semaphore, task::JoinSet};
use transport::Transport;

use crate::tls::Secure;

/// Rows of the table, counted here as well, so that none is lost unnoticed.
const ROWS: usize = 227;
/// Of those, rows that say why there is no such thing over HTTP/1.1, and over HTTP/2.
const NOT_IN_HTTP1: usize = 22;
const NOT_IN_HTTP2: usize = 6;
/// Rows that run at a time.
const AT_A_TIME: usize = 8;

fn rows() -> Vec<Row> {
    let parts = [
        deadlines::rows(),
        retries::rows(),
        faults::rows(),
        refusals::rows(),
        headers::rows(),
        slow::rows(),
        early::rows(),
        hangups::rows(),
        answers::rows(),
        paced::rows(),
        traces::rows(),
    ];
    parts.into_iter().flatten().collect()
}

async fn table(transport: Transport, not_in: usize) {
    let part = std::env::var("KIPPER_TABLE").unwrap_or_default();
    let (rows, secure) = (rows(), Arc::new(Secure::new()));
    let names: BTreeSet<_> = rows.iter().map(|row| row.name.clone()).collect();
    assert_eq!(names.len(), rows.len(), "two rows have one name");
    assert_eq!(rows.len(), ROWS, "rows were added or lost");
    let (mut running, mut left_out) = (JoinSet::new(), 0);
    let turn = Arc::new(Semaphore::new(AT_A_TIME));
    for row in rows.into_iter().filter(|row| row.name.contains(&part)) {
        if let Some((_, why)) = row.unless.filter(|(p, _)| *p == transport.protocol()) {
            println!("not over {transport:?}: {}: {why}", row.name);
            left_out += 1;
            continue;
        }
        let (turn, secure) = (Arc::clone(&turn), Arc::clone(&secure));
        running.spawn(async move {
            let _turn = turn.acquire().await.unwrap();
            let name = row.name.clone();
            let ended = tokio::spawn(run::run(row, transport, secure)).await;
            (name, ended)
        });
    }
    let (mut held, mut failed) = (0, Vec::new());
    while let Some(ended) = running.join_next().await {
        match ended.unwrap() {
            (_, Ok(())) => held += 1,
            (name, Err(e)) => {
                let panic = e.into_panic();
                let text = panic.downcast_ref::<String>().cloned();
                let text = text.or(panic.downcast_ref::<&str>().map(|s| (*s).to_owned()));
                failed.push(format!("{name}: {}", text.unwrap_or_default()));
            }
        }
    }
    println!("table over {transport:?}: {held} rows hold, {left_out} are not in the protocol");
    assert!(failed.is_empty(), "{} over {transport:?}:\n{}", failed.len(), failed.join("\n"));
    assert!(!part.is_empty() || (held, left_out) == (ROWS - not_in, not_in));
}

#[tokio::test(flavor = "multi_thread")]
async fn over_http1() {
    table(Transport::Http1, NOT_IN_HTTP1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn over_h2c() {
    table(Transport::H2c, NOT_IN_HTTP2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn over_tls_and_http1() {
    table(Transport::TlsHttp1, NOT_IN_HTTP1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn over_tls_and_h2() {
    table(Transport::TlsH2, NOT_IN_HTTP2).await;
}
