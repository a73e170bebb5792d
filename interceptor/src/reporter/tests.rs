#![allow(clippy::unwrap_used)]

use std::{collections::BTreeMap, path::PathBuf};

use kipper_counts::{
    CountsReport, FunctionCounts, Welcome,
    counts_server::{Counts as CountsService, CountsServer},
};
use kipper_trigger::shard::Shard;
use parking_lot::Mutex;
use prometheus::Registry;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::{Notify, watch},
    task::JoinHandle,
};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::DropGuard;
use tonic::{
    Request, Response, Status, Streaming,
    transport::{Server, server::TcpIncoming},
};

use super::*;

/// No test waits longer for anything; far beyond what a loaded machine needs.
const PATIENCE: Duration = Duration::from_secs(30);

async fn patiently<T>(what: &str, future: impl Future<Output = T>) -> T {
    let result = tokio::time::timeout(PATIENCE, future).await;
    result.unwrap_or_else(|_| panic!("no {what} within {PATIENCE:?}"))
}

/// The data plane's counters, changed by hand.
#[derive(Default)]
struct Feed {
    functions: Mutex<BTreeMap<FunctionId, Counts>>,
    listed: Mutex<BTreeMap<FunctionId, ()>>,
    changed: Notify,
    urgent: Notify,
}

impl Feed {
    fn change(&self, name: &str, change: impl FnOnce(&mut Counts)) {
        let id = FunctionId::new("shop-prod", name);
        let mut functions = self.functions.lock();
        let counts = functions.entry(id.clone()).or_insert_with(|| Counts {
            id: id.clone(),
            total: 0,
            base: 0,
            in_flight: 0,
            held: 0,
            waiting: 0,
            idle: Duration::ZERO,
        });
        let waited = counts.waiting;
        change(counts);
        self.listed.lock().insert(id, ());
        self.changed.notify_one();
        if waited == 0 && counts.waiting > 0 {
            self.urgent.notify_one();
        }
    }

    fn request(&self, name: &str) {
        self.change(name, |counts| {
            (counts.total, counts.idle) = (counts.total + 1, Duration::ZERO)
        });
    }

    /// Time passes; that is no change.
    fn idle(&self, name: &str, idle: Duration) {
        let id = FunctionId::new("shop-prod", name);
        self.functions.lock().get_mut(&id).unwrap().idle = idle;
    }
}

impl CountsFeed for Feed {
    async fn changed(&self) {
        self.changed.notified().await;
    }

    async fn urgent(&self) {
        self.urgent.notified().await;
    }

    fn take_changed(&self) -> Vec<Counts> {
        let mut functions = self.functions.lock();
        let listed = std::mem::take(&mut *self.listed.lock());
        let taken = |id| {
            let counts = functions.get_mut(id).unwrap();
            Counts { base: std::mem::replace(&mut counts.base, counts.total), ..counts.clone() }
        };
        listed.keys().map(taken).collect()
    }

    fn snapshot(&self) -> Vec<Counts> {
        let recent = Duration::from_secs(3600);
        let functions = self.functions.lock();
        functions.values().filter(|counts| counts.idle < recent).cloned().collect()
    }
}

/// One adapter: hands on every report it gets.
#[derive(Clone)]
struct Adapter {
    welcome: Welcome,
    reports: mpsc::Sender<Event>,
    stop: CancellationToken,
}

/// What an adapter sees.
#[derive(Debug)]
enum Event {
    Report(CountsReport),
    /// The interceptor closed its side.
    Closed,
}

#[tonic::async_trait]
impl CountsService for Adapter {
    type ReportStream = ReceiverStream<Result<Welcome, Status>>;

    async fn report(
        &self,
        request: Request<Streaming<CountsReport>>,
    ) -> Result<Response<Self::ReportStream>, Status> {
        let (tx, rx) = mpsc::channel(1);
        tx.try_send(Ok(self.welcome)).unwrap();
        let adapter = self.clone();
        tokio::spawn(async move {
            let _ends_the_stream = tx;
            let mut inbound = request.into_inner();
            loop {
                let message = tokio::select! {
                    () = adapter.stop.cancelled() => return,
                    message = inbound.message() => message,
                };
                let event = match message {
                    Ok(Some(report)) => Event::Report(report),
                    Ok(None) => Event::Closed,
                    Err(_) => return,
                };
                let is_closed = matches!(event, Event::Closed);
                if adapter.reports.send(event).await.is_err() || is_closed {
                    return;
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(rx)))
    }
}

/// A running adapter; stopped when dropped.
struct Running {
    addr: SocketAddr,
    events: mpsc::Receiver<Event>,
    stop: CancellationToken,
    server: JoinHandle<()>,
}

impl Running {
    async fn start(epoch: u64) -> Self {
        Self::start_at("127.0.0.1:0".parse().unwrap(), epoch).await
    }

    async fn start_at(addr: SocketAddr, epoch: u64) -> Self {
        // As one of an earlier release, which knows neither numbers nor shards.
        Self::serve(addr, Welcome { epoch, ..Welcome::default() }).await
    }

    async fn serve(addr: SocketAddr, welcome: Welcome) -> Self {
        let listener = TcpListener::bind(addr).await.unwrap();
        let addr = listener.local_addr().unwrap();
        let (reports, events) = mpsc::channel(1000);
        let stop = CancellationToken::new();
        let adapter = Adapter { welcome, reports, stop: stop.clone() };
        let stopped = stop.clone().cancelled_owned();
        let server = tokio::spawn(async move {
            let incoming = TcpIncoming::from(listener);
            let service = CountsServer::new(adapter);
            let served = Server::builder().serve_with_incoming_shutdown(service, incoming, stopped);
            served.await.unwrap();
        });
        Self { addr, events, stop, server }
    }

    async fn report(&mut self) -> CountsReport {
        match patiently("report", self.events.recv()).await {
            Some(Event::Report(report)) => report,
            other => panic!("expected a report, got {other:?}"),
        }
    }

    /// The next report's counts of one function: total and base.
    async fn reported(&mut self, name: &str) -> (u64, u64) {
        let report = self.report().await;
        assert!(!report.snapshot);
        let counts = find(&report, name);
        (counts.total, counts.base)
    }

    async fn stop(self) {
        self.stop.cancel();
        patiently("end of the adapter", self.server).await.unwrap();
    }
}

fn find<'a>(report: &'a CountsReport, name: &str) -> &'a FunctionCounts {
    let found = report.functions.iter().find(|counts| counts.name == name);
    found.unwrap_or_else(|| panic!("no {name} in {report:?}"))
}

/// A running reporter; shut down when dropped.
struct Reporting {
    feed: Arc<Feed>,
    metrics: ReporterMetrics,
    shutdown: CancellationToken,
    task: JoinHandle<Result<(), ReporterError>>,
    _guard: DropGuard,
}

fn start(feed: &Arc<Feed>, adapters: &[SocketAddr], counts_interval: Duration) -> Reporting {
    let config = ReporterConfig {
        adapters: adapters.iter().map(ToString::to_string).collect(),
        name: Some("i-1".to_owned()),
        counts_interval,
        ..ReporterConfig::default()
    };
    let metrics = ReporterMetrics::register(&Registry::new()).unwrap();
    let shutdown = CancellationToken::new();
    let reporter = run(config, Arc::clone(feed), metrics.clone(), shutdown.clone());
    Reporting {
        feed: Arc::clone(feed),
        metrics,
        task: tokio::spawn(reporter),
        _guard: shutdown.clone().drop_guard(),
        shutdown,
    }
}

/// Of an adapter that knows functions by number.
fn numbered(epoch: u64) -> Welcome {
    Welcome { epoch, numbers: true, ..Welcome::default() }
}

const SHORT: Duration = Duration::from_millis(20);
/// So long that a report within a test cannot be one that waited for it.
const NEVER: Duration = Duration::from_secs(3600);

#[tokio::test]
async fn a_snapshot_then_what_changed() {
    let mut adapter = Running::start(1).await;
    let feed = Arc::new(Feed::default());
    feed.change("hello", |counts| (counts.total, counts.in_flight) = (7, 2));
    let reporter = start(&feed, &[adapter.addr], SHORT);

    let snapshot = adapter.report().await;
    assert!(snapshot.snapshot);
    assert_eq!(snapshot.interceptor, "i-1");
    assert_ne!(snapshot.epoch, 0);
    let hello = find(&snapshot, "hello");
    assert_eq!((hello.total, hello.in_flight), (7, 2));

    // What the snapshot said may be repeated; then comes what is new, and each base is what was
    // said before.
    feed.request("other");
    let mut report = adapter.report().await;
    while !report.functions.iter().any(|counts| counts.name == "other") {
        assert_eq!(find(&report, "hello").total, 7);
        report = adapter.report().await;
    }
    assert_eq!((find(&report, "other").total, find(&report, "other").base), (1, 0));
    feed.request("other");
    assert_eq!(adapter.reported("other").await, (2, 1));
    assert_eq!(reporter.metrics.streams.get(), 1);

    // Nothing changes, nothing is sent.
    let sent = reporter.metrics.reports.get();
    let silence = tokio::time::timeout(Duration::from_millis(500), adapter.events.recv()).await;
    assert!(silence.is_err());
    assert_eq!(reporter.metrics.reports.get(), sent);
}

#[tokio::test]
async fn a_wake_overtakes_the_interval() {
    let mut adapter = Running::start(1).await;
    let feed = Arc::new(Feed::default());
    let _reporter = start(&feed, &[adapter.addr], NEVER);
    assert!(adapter.report().await.snapshot);
    feed.request("hello");
    assert_eq!(
        adapter.reported("hello").await,
        (1, 0),
        "the first change after a silence goes at once"
    );
    // These wait for the interval, and merge meanwhile...
    for _ in 0..5 {
        feed.request("hello");
        tokio::task::yield_now().await;
    }
    // ...and go along with a wake.
    feed.change("cold", |counts| (counts.total, counts.held, counts.waiting) = (1, 1, 1));
    let report = adapter.report().await;
    assert_eq!(find(&report, "cold").waiting, 1);
    assert_eq!((find(&report, "hello").total, find(&report, "hello").base), (6, 1));
}

#[tokio::test]
async fn a_restarted_adapter_gets_a_new_snapshot() {
    let mut adapter = Running::start(1).await;
    let addr = adapter.addr;
    let feed = Arc::new(Feed::default());
    let reporter = start(&feed, &[addr], SHORT);
    let epoch = adapter.report().await.epoch;
    feed.request("hello");
    assert_eq!(adapter.reported("hello").await, (1, 0));
    feed.request("old");
    assert_eq!(adapter.reported("old").await, (1, 0));
    adapter.stop().await;
    feed.request("hello");
    feed.request("hello");
    feed.idle("old", NEVER * 2);

    let mut adapter = Running::start_at(addr, 2).await;
    let snapshot = adapter.report().await;
    assert!(snapshot.snapshot);
    assert_eq!(snapshot.epoch, epoch, "the same process, the same totals");
    assert_eq!(snapshot.functions.len(), 1, "what was idle for an hour is not listed");
    assert_eq!(find(&snapshot, "hello").total, 3);
    feed.request("old");
    let mut report = adapter.report().await;
    while !report.functions.iter().any(|counts| counts.name == "old") {
        report = adapter.report().await;
    }
    assert_eq!((find(&report, "old").total, find(&report, "old").base), (2, 1));
    assert!(reporter.metrics.reconnects.get() >= 1);
}

#[tokio::test]
async fn a_name_goes_once_per_stream() {
    let anywhere = "127.0.0.1:0".parse().unwrap();
    let mut adapter = Running::serve(anywhere, numbered(1)).await;
    let addr = adapter.addr;
    let feed = Arc::new(Feed::default());
    feed.change("hello", |counts| counts.total = 7);
    let _reporter = start(&feed, &[addr], SHORT);
    let snapshot = adapter.report().await;
    let number = find(&snapshot, "hello").number;
    assert_ne!(number, 0);
    feed.request("other");
    let mut report = adapter.report().await;
    while !report.functions.iter().any(|counts| counts.name == "other") {
        report = adapter.report().await;
    }
    let other = find(&report, "other");
    assert_eq!((other.total, other.base), (1, 0));
    assert!(![0, number].contains(&other.number));
    feed.request("hello");
    let report = adapter.report().await;
    let [hello] = &report.functions[..] else { panic!("{report:?}") };
    assert_eq!((hello.number, hello.total), (number, 8));
    assert_eq!((hello.name.as_str(), hello.namespace.as_str()), ("", ""));
    adapter.stop().await;

    let mut adapter = Running::serve(addr, numbered(2)).await;
    let snapshot = adapter.report().await;
    assert!(snapshot.snapshot);
    assert_eq!(find(&snapshot, "hello").number, number);
    adapter.stop().await;

    // And one of the release before is told names always.
    let mut adapter = Running::start_at(addr, 3).await;
    assert_eq!(find(&adapter.report().await, "hello").number, 0);
    feed.request("hello");
    assert_eq!(adapter.reported("hello").await, (9, 8));
}

#[tokio::test]
async fn an_adapter_is_told_of_the_functions_of_its_shard() {
    let mut adapters = Vec::new();
    for shard in 0..2 {
        let anywhere = "127.0.0.1:0".parse().unwrap();
        let welcome = Welcome { shard, shards: 2, ..numbered(u64::from(shard) + 1) };
        adapters.push(Running::serve(anywhere, welcome).await);
    }
    let feed = Arc::new(Feed::default());
    let names: Vec<_> = (0..20).map(|number| format!("f{number}")).collect();
    for name in &names {
        feed.change(name, |counts| counts.total = 1);
    }
    let addrs: Vec<_> = adapters.iter().map(|adapter| adapter.addr).collect();
    let reporter = start(&feed, &addrs, SHORT);
    let mut shares: Vec<Vec<(String, u32)>> = Vec::new();
    for (index, adapter) in adapters.iter_mut().enumerate() {
        let shard = Shard::new(index.try_into().unwrap(), 2).unwrap();
        let own = |name: &&String| shard.has("shop-prod", name);
        let snapshot = adapter.report().await;
        let mut listed: Vec<_> = snapshot.functions.iter().map(|counts| &counts.name).collect();
        let mut owned: Vec<_> = names.iter().filter(own).collect();
        listed.sort_unstable();
        owned.sort_unstable();
        assert_eq!(listed, owned);
        let numbered = snapshot.functions.iter().map(|it| (it.name.clone(), it.number));
        shares.push(numbered.collect());
    }
    // And so are changes.
    for (own, others) in [(0, 1), (1, 0)] {
        feed.request(&shares[others][0].0);
        feed.request(&shares[own][0].0);
        loop {
            let report = adapters[own].report().await;
            let is_own = |number| shares[own].iter().any(|(_, own)| *own == number);
            assert!(report.functions.iter().all(|counts| is_own(counts.number)), "{report:?}");
            let wanted = shares[own][0].1;
            if report.functions.iter().any(|it| it.number == wanted && it.total > own as u64 + 1) {
                break;
            }
        }
    }
    assert_eq!(reporter.metrics.streams.get(), 2);
}

#[tokio::test]
async fn a_hung_adapter_does_not_hold_up_another() {
    // Accepts connections (the kernel does) and never says a word.
    let hung = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut adapter = Running::start(1).await;
    let feed = Arc::new(Feed::default());
    let reporter = start(&feed, &[hung.local_addr().unwrap(), adapter.addr], SHORT);
    assert!(adapter.report().await.snapshot);
    let mut reported = 0;
    for total in 1..=20 {
        feed.request("hello");
        while reported < total {
            reported = adapter.reported("hello").await.0;
        }
    }
    assert_eq!(reporter.metrics.streams.get(), 1);
}

/// Forwards bytes to an adapter until told to freeze; then it keeps connections open and silent.
async fn freezable(adapter: SocketAddr, frozen: watch::Receiver<bool>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut downstream, _)) = listener.accept().await {
            let mut frozen = frozen.clone();
            if *frozen.borrow_and_update() {
                drop(downstream);
                continue;
            }
            tokio::spawn(async move {
                let mut upstream = TcpStream::connect(adapter).await.unwrap();
                tokio::select! {
                    _ = tokio::io::copy_bidirectional(&mut downstream, &mut upstream) => return,
                    _ = frozen.wait_for(|frozen| *frozen) => {}
                }
                // The adapter's side is gone; the interceptor's is held, unread.
                upstream.shutdown().await.unwrap();
                drop(upstream);
                std::future::pending::<()>().await;
                let _ = downstream.read_u8().await;
            });
        }
    });
    addr
}

#[tokio::test]
async fn an_adapter_that_hangs_in_a_stream_is_given_up_and_tried_again() {
    let mut adapter = Running::start(1).await;
    let (freeze, frozen) = watch::channel(false);
    let addr = freezable(adapter.addr, frozen).await;
    let feed = Arc::new(Feed::default());
    let reporter = start(&feed, &[addr], SHORT);
    assert!(adapter.report().await.snapshot);
    freeze.send_replace(true);
    feed.request("hello");
    let noticed = async {
        while reporter.metrics.streams.get() > 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    patiently("notice", noticed).await;
    freeze.send_replace(false);
    loop {
        match patiently("event", adapter.events.recv()).await {
            Some(Event::Report(report)) if report.snapshot => {
                assert_eq!(find(&report, "hello").total, 1);
                break;
            }
            _ => {}
        }
    }
}

#[tokio::test]
async fn two_addresses_of_one_adapter_get_one_stream() {
    let mut adapter = Running::start_at("0.0.0.0:0".parse().unwrap(), 1).await;
    let port = adapter.addr.port();
    let addrs = [([127, 0, 0, 1], port).into(), ([127, 0, 0, 2], port).into()];
    let feed = Arc::new(Feed::default());
    let reporter = start(&feed, &addrs, SHORT);
    assert!(adapter.report().await.snapshot);
    let refused = async {
        while reporter.metrics.reconnects.get() < 1 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    patiently("refusal of the second", refused).await;
    assert_eq!(reporter.metrics.streams.get(), 1);
    let silence = tokio::time::timeout(SHORT, async {
        while !matches!(adapter.events.recv().await, Some(Event::Report(_))) {}
    });
    assert!(silence.await.is_err(), "no second snapshot");
}

#[tokio::test]
async fn the_last_changes_are_told_before_the_end() {
    let mut adapter = Running::start(1).await;
    let feed = Arc::new(Feed::default());
    let mut reporter = start(&feed, &[adapter.addr], NEVER);
    assert!(adapter.report().await.snapshot);
    feed.request("hello");
    assert_eq!(adapter.reported("hello").await, (1, 0));
    // This one would wait for the interval.
    reporter.feed.request("hello");
    reporter.shutdown.cancel();
    assert_eq!(adapter.reported("hello").await, (2, 1));
    assert!(matches!(patiently("close", adapter.events.recv()).await, Some(Event::Closed)));
    patiently("end", &mut reporter.task).await.unwrap().unwrap();
}

#[tokio::test]
async fn what_cannot_work_is_said_at_once() {
    let feed = Arc::new(Feed::default());
    let metrics = ReporterMetrics::register(&Registry::new()).unwrap();
    let try_run =
        |config| run(config, Arc::clone(&feed), metrics.clone(), CancellationToken::new());
    let adapters = vec!["adapter".to_owned()];
    let error =
        try_run(ReporterConfig { adapters, ..ReporterConfig::default() }).await.unwrap_err();
    assert!(error.to_string().contains("\"adapter\""), "{error}");
    let adapter_ca = Some(PathBuf::from("no-such-ca.pem"));
    let error =
        try_run(ReporterConfig { adapter_ca, ..ReporterConfig::default() }).await.unwrap_err();
    assert!(error.to_string().contains("no-such-ca.pem"), "{error}");
}
