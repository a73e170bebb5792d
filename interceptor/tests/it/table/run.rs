//! Runs one row over one transport.

use std::{
    num::NonZeroUsize,
    sync::{Arc, atomic::Ordering::SeqCst},
    time::Duration,
};

use futures_util::future::BoxFuture;
use kipper_interceptor::{config::ProxyConfig, destination::Destination, source::EndpointState};

use super::{
    http1, http2,
    pod::{Book, Place, Pod},
    row::{Act, Do, End, Row, Settings},
    transport::{Dial, Protocol, Transport},
};
use crate::{
    support::{Backend, DEADLINE, Proxy, Reserved, function, not_ready, ready, until},
    tls::Secure,
};

/// Clocks that a row does not set run out after the test is over.
const LONG: Duration = Duration::from_secs(600);
/// Between two looks at the counters.
const LOOK_AGAIN: Duration = Duration::from_millis(2);

enum Clients {
    Http1(http1::Clients),
    Http2(http2::Clients),
}

impl Clients {
    async fn act(&mut self, n: usize, act: &Do) {
        match self {
            Self::Http1(clients) => clients.act(n, act).await,
            Self::Http2(clients) => clients.act(n, act).await,
        }
    }
}

/// A pod that was started, or is still to be.
struct Placed {
    pod: Pod,
    state: EndpointState,
    reserved: Option<Reserved>,
    backend: Option<Backend>,
}

struct Run {
    proxy: Proxy,
    f: Arc<Destination>,
    book: Arc<Book>,
    pods: Vec<Placed>,
    dial: Dial,
    clients: Clients,
    current: usize,
}

/// Panics where the row does not hold.
pub(super) async fn run(row: Row, transport: Transport, secure: Arc<Secure>) {
    let row = row.as_over(transport.protocol());
    let mut run = Run::start(&row, transport, &secure).await;
    run.acts(&row.acts).await;
    run.end(&row).await;
}

fn settings(row: &Row, transport: Transport, secure: &Secure) -> Settings {
    let mut config = if transport.tls() { secure.config() } else { ProxyConfig::default() };
    config.header_timeout = LONG;
    config.body_timeout = LONG;
    config.idle_timeout = LONG;
    config.connect_timeout = LONG;
    config.workers = NonZeroUsize::new(2);
    let mut spec = function("f");
    spec.timeouts.cold_start = LONG;
    spec.timeouts.response_header = LONG;
    let mut settings = Settings { config, spec, window: None };
    row.settings.iter().for_each(|change| change(&mut settings));
    settings
}

impl Run {
    async fn start(row: &Row, transport: Transport, secure: &Secure) -> Self {
        let settings = settings(row, transport, secure);
        let proxy = Proxy::with(settings.config).await;
        let book = Arc::new(Book::new());
        let pods: Vec<_> = row.pods.iter().map(|pod| place(pod, &book)).collect();
        let known = pods.iter().filter(|p| p.pod.place != Place::Later);
        let endpoints: Vec<_> = known.map(|p| p.state).collect();
        let f = proxy.add(settings.spec, &endpoints).await;
        let address = if transport.tls() { proxy.tls.unwrap() } else { proxy.address };
        let dial = Dial { transport, address, certificate: secure.certificate.clone() };
        let clients = match transport.protocol() {
            Protocol::Http1 => Clients::Http1(http1::Clients::new(dial.clone())),
            Protocol::Http2 => Clients::Http2(http2::Clients::new(dial.clone(), settings.window)),
        };
        Self { proxy, f, book, pods, dial, clients, current: 0 }
    }

    fn acts<'a>(&'a mut self, acts: &'a [Act]) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            for act in acts {
                match act {
                    Act::As(n) => self.current = *n,
                    Act::Each(clients, acts) => {
                        for n in 0..*clients {
                            self.current = n;
                            self.acts(acts).await;
                        }
                    }
                    Act::Do(act) => self.clients.act(self.current, act).await,
                    other => self.arrange(other).await,
                }
            }
        })
    }

    /// What no client does.
    async fn arrange(&mut self, act: &Act) {
        let (f, book) = (&self.f, &self.book);
        match act {
            Act::Held(n) => until(&format!("{n} are held"), || f.held() == *n).await,
            Act::Running(n) => {
                until(&format!("{n} are in flight"), || f.counters.in_flight() == *n).await;
            }
            Act::Arrived(n) => {
                until(&format!("{n} reach a pod"), || book.seen.lock().len() >= *n).await;
            }
            Act::PodsLeft(n) => {
                until(&format!("{n} end at the pods"), || book.left.load(SeqCst) >= *n).await;
            }
            Act::Stalled => book.stalled.pass().await,
            Act::Idle => self.proxy.idle().await,
            Act::Open => book.gate.open(),
            Act::Place => {
                let endpoints: Vec<_> = self.pods.iter().map(|p| p.state).collect();
                self.proxy.place(&f.id, &endpoints).await;
            }
            Act::Listen => {
                for placed in &mut self.pods {
                    if let Some(reserved) = placed.reserved.take() {
                        placed.backend = Some(placed.pod.start(reserved, book));
                    }
                }
            }
            Act::Remove => {
                self.proxy.feed.remove(f.id.clone()).unwrap();
                let router = Arc::clone(&self.proxy.router);
                until("it is not routed", move || router.route("f.test").is_none()).await;
            }
            Act::As(_) | Act::Each(..) | Act::Do(_) => unreachable!("{act:?}"),
        }
    }

    /// What is true at the end of every row, and of this one.
    async fn end(mut self, row: &Row) {
        self.clients = Clients::Http1(http1::Clients::new(self.dial.clone()));
        self.proxy.idle().await;
        let (f, proxy) = (&self.f, &self.proxy);
        until("nothing is held", || f.held() == 0 && f.counters.in_flight() == 0).await;
        until("no client is connected", || proxy.metric("connections", &[]) == 0.0).await;
        until("nothing is kept", || proxy.metric("buffered_bytes", &[]) == 0.0).await;
        let wanted = Counted::wanted(&row.end);
        let reached = async {
            while self.counted(&row.end) != wanted {
                tokio::time::sleep(LOOK_AGAIN).await;
            }
        };
        let _ = tokio::time::timeout(DEADLINE, reached).await;
        assert_eq!(self.counted(&row.end), wanted, "what is counted, and what should be");
        for (n, shape) in &row.end.got {
            let seen = self.book.seen.lock();
            shape.check(&seen[*n], self.dial.transport);
        }
    }

    fn counted(&self, end: &End) -> Counted {
        let metric = |name: &str, label: &[&str]| self.proxy.metric(name, label);
        let backends = self.pods.iter().flat_map(|p| &p.backend);
        let errors = end.errors.iter().map(|(reason, _)| *reason);
        Counted {
            accepted: self.f.counters.total(),
            answered: metric("requests_total", &[]),
            errors: errors.map(|reason| (reason, metric("errors_total", &[reason]))).collect(),
            all_errors: metric("errors_total", &[]),
            replays: metric("replays_total", &[]),
            rules: end.rules.iter().map(|r| (*r, metric("refused_answers_total", &[r]))).collect(),
            arrived: end.arrived.map(|_| self.book.seen.lock().len()),
            connections: end.connections.map(|_| backends.map(Backend::accepted).sum()),
        }
    }
}

/// What is counted at the end of a row, as far as the row says it.
#[derive(Debug, PartialEq)]
struct Counted {
    accepted: u64,
    answered: f64,
    errors: Vec<(&'static str, f64)>,
    all_errors: f64,
    replays: f64,
    rules: Vec<(&'static str, f64)>,
    arrived: Option<usize>,
    connections: Option<usize>,
}

impl Counted {
    fn wanted(end: &End) -> Self {
        Self {
            accepted: end.accepted,
            // Whatever was accepted was answered, or counted as 499.
            answered: end.accepted as f64,
            errors: end.errors.iter().map(|(reason, n)| (*reason, f64::from(*n))).collect(),
            all_errors: end.errors.iter().map(|(_, n)| f64::from(*n)).sum(),
            replays: f64::from(end.replays),
            rules: end.rules.iter().map(|rule| (*rule, 1.0)).collect(),
            arrived: end.arrived,
            connections: end.connections,
        }
    }
}

fn place(pod: &Pod, book: &Arc<Book>) -> Placed {
    let reserved = Reserved::new();
    let state = match pod.place {
        // Found by probing, as in a cold start.
        Place::Later => not_ready(reserved.address),
        Place::Ready | Place::Refusing => ready(reserved.address),
    };
    let mut placed = Placed { pod: pod.clone(), state, reserved: Some(reserved), backend: None };
    if pod.place != Place::Refusing {
        let reserved = placed.reserved.take();
        placed.backend = reserved.map(|reserved| pod.start(reserved, book));
    }
    placed
}
