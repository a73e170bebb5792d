//! A store that sends the heads of its answers and then nothing, as one does whose disk hangs, or
//! whose clock is at the end of time.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use kipper_bucket::Endpoint;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
    task::JoinSet,
};

use super::bucket::Bucket;
use crate::{function::Function, poller::Poller, wait::until};

/// What becomes of answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answers {
    Well,
    /// Their bodies are held back.
    Stalled,
    /// Their dates are from the end of time.
    Late,
}

/// Stands before a server. Dropping it cuts all connections.
struct Front {
    url: String,
    answers: watch::Sender<Answers>,
    /// Answers that were not well.
    ill: Arc<AtomicUsize>,
    _tasks: JoinSet<()>,
}

impl Front {
    async fn before(endpoint: &Endpoint) -> Self {
        let target: SocketAddr = endpoint.url.strip_prefix("http://").unwrap().parse().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (sender, told) = watch::channel(Answers::Well);
        let ill = Arc::new(AtomicUsize::new(0));
        let (mut tasks, count) = (JoinSet::new(), Arc::clone(&ill));
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (client, _) = listener.accept().await.unwrap();
                let server = TcpStream::connect(target).await.unwrap();
                let ((from_client, to_client), (from_server, to_server)) =
                    (client.into_split(), server.into_split());
                let (told, count) = (told.clone(), Arc::clone(&count));
                connections.spawn(requests(from_client, to_server));
                connections.spawn(answers(from_server, to_client, told, count));
            }
        });
        Self { url, answers: sender, ill, _tasks: tasks }
    }

    /// Lets so many answers be like this.
    async fn spoil(&self, answers: Answers, count: usize) {
        let before = self.ill.load(Ordering::Relaxed);
        self.answers.send_replace(answers);
        until("spoiled answers", async || self.ill.load(Ordering::Relaxed) >= before + count).await;
    }

    fn heal(&self) {
        self.answers.send_replace(Answers::Well);
    }
}

async fn requests(mut from: OwnedReadHalf, mut to: OwnedWriteHalf) {
    // Ends with either side.
    let _ = tokio::io::copy(&mut from, &mut to).await;
}

async fn answers(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut told: watch::Receiver<Answers>,
    ill: Arc<AtomicUsize>,
) {
    const LATE: &[u8] = b"Fri, 31 Dec 9999 23:59:59 GMT";
    let find = |answer: &[u8], text: &[u8]| {
        let at = answer.windows(text.len()).position(|bytes| bytes == text)?;
        Some(at + text.len())
    };
    let mut buffer = vec![0; 64 << 10];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        let answer = &mut buffer[..length];
        let now = *told.borrow_and_update();
        if now == Answers::Late
            && let Some(at) = find(answer, b"Date: ")
            && let Some(date) = answer.get_mut(at..at + LATE.len())
        {
            date.copy_from_slice(LATE);
            ill.fetch_add(1, Ordering::Relaxed);
        }
        if now == Answers::Stalled
            && let Some(end) = find(answer, b"\r\n\r\n").filter(|end| *end < length)
        {
            // What is held back never comes: this connection is of no use any more.
            let _ = to.write_all(&answer[..end]).await;
            ill.fetch_add(1, Ordering::Relaxed);
            return std::future::pending().await;
        }
        if to.write_all(answer).await.is_err() {
            return;
        }
    }
}

fn behind(front: &Front, bucket: &Bucket, function: &Function) -> Vec<String> {
    let mut flags = bucket.flags(&function.url());
    flags.retain(|flag| !flag.starts_with("--source-url="));
    flags.push(format!("--source-url={}", front.url));
    flags
}

async fn events_come_again_after(answers: Answers) {
    let (bucket, function) = (Bucket::new().await, Function::start().await);
    let front = Front::before(&bucket.endpoint).await;
    let poller = Poller::start(&behind(&front, &bucket, &function));
    bucket.fill(0, 3).await;
    until("handled", async || bucket.left().await == Some(0)).await;
    front.spoil(answers, 3).await;
    bucket.fill(3, 3).await;
    front.heal();
    until("handled", async || bucket.left().await == Some(0)).await;
    poller.stop().await;
    assert_eq!(function.by_id().len(), 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn events_come_again_once_the_store_does() {
    events_come_again_after(Answers::Stalled).await;
}

/// The SDK's signing panics when it reckons with such a date.
#[tokio::test(flavor = "multi_thread")]
async fn events_come_again_once_the_stores_clock_is_right() {
    events_come_again_after(Answers::Late).await;
}

/// The pod's end does not wait for a store that says nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_drain_gives_up_on_a_store_that_stalls() {
    let (bucket, function) = (Bucket::new().await, Function::start().await);
    let front = Front::before(&bucket.endpoint).await;
    let poller = Poller::start(&behind(&front, &bucket, &function));
    bucket.fill(0, 3).await;
    until("handled", async || bucket.left().await == Some(0)).await;
    front.spoil(Answers::Stalled, 1).await;
    // Fails where the poller has not ended a minute later; deliveries may take five.
    poller.stop().await;
}
