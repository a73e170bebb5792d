//! How long an event waits for its handler, and a mark for its commit.
//!
//! The handler is a thread of this process that says when a request was complete and when its answer
//! was written. A commit is seen by a listener on the table's notifications, which PostgreSQL sends
//! after the commit; what a bare UPDATE needs until its notification is measured beside it.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::mpsc as std_mpsc,
    thread,
    time::{Duration, Instant},
};

use futures_util::{StreamExt as _, stream};
use kipper_measure::{
    figures::{Figure, Goal, median},
    http1,
};
use tokio::{runtime::Runtime, sync::mpsc};
use tokio_postgres::{AsyncMessage, NoTls};

use super::{
    bed::{Bed, figure},
    drain::Poller,
    postgres::Table,
};

/// Pause of the idle poller between two looks.
const POLL_INTERVAL: Duration = Duration::from_millis(200);
/// Longest wait for one event.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);
const BUFFER_BYTES: usize = 64 * 1024;
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";

/// One request: when it was complete, and when its answer was written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Handled {
    pub(super) seen: Instant,
    answered: Instant,
}

/// The figures of an idle poller on PostgreSQL.
pub(super) fn postgres(bed: &Bed, runtime: &Runtime) -> Result<Vec<Figure>, anyhow::Error> {
    let (addr, handled) = handler()?;
    runtime.block_on(async {
        let table = Table::start().await?;
        let notify = "CREATE FUNCTION tell() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
                      PERFORM pg_notify('marked', NEW.id::text); RETURN NEW; END $$; \
                      CREATE TRIGGER tell AFTER UPDATE ON orders FOR EACH ROW EXECUTE FUNCTION tell()";
        table.client.batch_execute(notify).await?;
        let mut committed = commits(&table.url).await?;
        let interval = humantime::format_duration(POLL_INTERVAL).to_string();
        let flags = table.flags(&["--poll-interval".to_owned(), interval]);
        let _poller = Poller::start(bed, &format!("http://{addr}/event"), &flags)?;

        let insert = "INSERT INTO orders (customer, note) VALUES ('x', repeat('n', 1000))";
        // The first one waits for the poller's start.
        table.client.execute(insert, &[]).await?;
        let _ = next(&handled)?;
        commit(&mut committed).await?;

        let (mut waits, mut marks, mut bare) = (Vec::new(), Vec::new(), Vec::new());
        for sample in 0..bed.size.samples {
            bed.budget.check()?;
            // Samples are spread evenly over the poller's interval.
            let offset = POLL_INTERVAL.mul_f64(sample as f64 / bed.size.samples as f64);
            tokio::time::sleep(POLL_INTERVAL + offset).await;
            let inserted = Instant::now();
            table.client.execute(insert, &[]).await?;
            let request = next(&handled)?;
            let marked = commit(&mut committed).await?;
            waits.push(millis(request.seen.saturating_duration_since(inserted)));
            marks.push(millis(marked.saturating_duration_since(request.answered)));

            let begin = Instant::now();
            let touch = "UPDATE orders SET customer = 'y' WHERE id = (SELECT max(id) FROM orders)";
            table.client.execute(touch, &[]).await?;
            bare.push(millis(commit(&mut committed).await?.saturating_duration_since(begin)));
        }
        let p50 = |samples: &[f64]| median(samples.iter().copied()).unwrap_or_default();
        let (marked, update) = (p50(&marks), p50(&bare));
        println!("answer to commit {marked:.2} ms, bare update {update:.2} ms");
        let bound = millis(POLL_INTERVAL) / 2.0 + 5.0;
        let mut figures = Vec::new();
        figures.extend(figure("events_postgres_insert_to_handler", &waits, "ms", Goal::AtMost(bound)));
        let added = [marked - update];
        figures.extend(figure("events_postgres_answer_to_commit", &added, "ms", Goal::AtMost(1.0)));
        Ok(figures)
    })
}

pub(super) fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// A listener on the table's notifications: the moment of each.
async fn commits(url: &str) -> Result<mpsc::Receiver<Instant>, anyhow::Error> {
    let (client, mut connection) = tokio_postgres::connect(url, NoTls).await?;
    let (tx, rx) = mpsc::channel(16);
    tokio::spawn(async move {
        let mut messages = stream::poll_fn(move |ctx| connection.poll_message(ctx));
        while let Some(Ok(message)) = messages.next().await {
            if matches!(message, AsyncMessage::Notification(_))
                && tx.send(Instant::now()).await.is_err()
            {
                return;
            }
        }
    });
    client.batch_execute("LISTEN marked").await?;
    // The session listens for as long as the run lasts.
    tokio::spawn(async move {
        let _client = client;
        std::future::pending::<()>().await;
    });
    Ok(rx)
}

async fn commit(committed: &mut mpsc::Receiver<Instant>) -> Result<Instant, anyhow::Error> {
    let next = tokio::time::timeout(PATIENCE, committed.recv()).await?;
    next.ok_or_else(|| anyhow::anyhow!("the listener has ended"))
}

/// The next request. Blocks: nothing of this process has to run meanwhile.
pub(super) fn next(handled: &std_mpsc::Receiver<Handled>) -> Result<Handled, anyhow::Error> {
    Ok(handled.recv_timeout(PATIENCE)?)
}

/// A handler on threads of their own, one per connection of the one poller.
pub(super) fn handler() -> Result<(SocketAddr, std_mpsc::Receiver<Handled>), anyhow::Error> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let addr = listener.local_addr()?;
    let (tx, rx) = std_mpsc::sync_channel(16);
    thread::Builder::new().name("handler".to_owned()).spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let tx = tx.clone();
            thread::spawn(move || answer(stream, &tx));
        }
    })?;
    Ok((addr, rx))
}

/// Answers every request of a connection with 200 until it ends.
fn answer(mut stream: TcpStream, handled: &std_mpsc::SyncSender<Handled>) -> Option<()> {
    stream.set_nodelay(true).ok()?;
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut filled = 0;
    loop {
        let read = stream.read(&mut buffer[filled..]).ok().filter(|read| *read > 0)?;
        filled += read;
        let Some(head) = http1::request_head(&buffer[..filled]).ok()? else { continue };
        if filled < head.head_bytes + head.body_bytes {
            continue;
        }
        filled = 0;
        let seen = Instant::now();
        stream.write_all(ANSWER).ok()?;
        // A probe of the function's health has no body, and is no event.
        if head.body_bytes > 0 {
            handled.send(Handled { seen, answered: Instant::now() }).ok()?;
        }
    }
}
