#![allow(clippy::unwrap_used)]
use std::sync::atomic::AtomicUsize;

use kipper_process::drain::{Drain, DrainTrigger};

use super::*;
use crate::{
    destination::Shared,
    inflight::Changes,
    limits::{Http2Limits, Limits},
    metrics::Metrics,
    queue::{Held, HoldLimits},
    router::Router,
};

/// More than tokio lets one task do before it has to let others run.
const MANY: usize = 300;

/// A data plane without routes: its connections wait for a first byte.
fn workers(count: usize) -> (Workers, DrainTrigger) {
    let metrics = Arc::new(Metrics::new(&prometheus::Registry::new()).unwrap());
    let shared = Arc::new(Shared {
        held: Arc::new(Held::new(HoldLimits::default())),
        changes: Changes::default(),
        metrics: Arc::clone(&metrics),
        workers: count,
        fleet: Default::default(),
    });
    let (trigger, drain) = Drain::new();
    let plane = Arc::new(Plane {
        router: Arc::new(Router::new(shared, false)),
        metrics,
        limits: Limits { header: Duration::from_secs(600), ..Limits::default() },
        h2: Http2Limits::default(),
        trusted_proxies: Vec::new(),
        connect_timeout: Duration::from_secs(1),
        wake_fallback: None,
        max_connections: usize::MAX,
        drain,
        open: AtomicUsize::new(0),
    });
    (Workers::start(&plane, count).unwrap(), trigger)
}

fn port(workers: &Workers) -> Port {
    Port::bind(SocketAddr::from(([127, 0, 0, 1], 0)), workers).unwrap()
}

fn counts(workers: &Workers) -> Vec<usize> {
    workers.list.iter().map(|w| w.connections.load(Relaxed)).collect()
}

#[test]
fn who_gets_a_connection() {
    let check = |counts: &[usize], own: usize, expected: usize| {
        assert_eq!(level(counts.iter().copied(), own), expected, "{counts:?} at {own}");
    };
    check(&[0], 0, 0);
    check(&[7], 0, 0);
    // Level: whoever accepted it.
    check(&[3, 3, 3], 2, 2);
    check(&[2, 3, 3], 0, 0);
    // Few: to the connection.
    check(&[1, 0], 0, 1);
    check(&[8, 7], 0, 1);
    check(&[4, 2, 3], 0, 1);
    check(&[4, 2, 3], 2, 1);
    // Many: about.
    check(&[9, 8], 0, 0);
    check(&[10, 8], 0, 1);
    check(&[1125, 1000], 0, 0);
    check(&[1126, 1000], 0, 1);
}

/// The kernel spreads them by a hash; here each worker gets its share all the same.
#[tokio::test]
async fn few_connections_are_level() {
    let (workers, _drain) = workers(4);
    let port = port(&workers);
    let address = port.address().unwrap();
    let accepting = tokio::spawn(accept(port, None, workers.list()));
    let mut clients = Vec::new();
    for n in 1..=16 {
        clients.push(TcpStream::connect(address).await.unwrap());
        while counts(&workers).iter().sum::<usize>() < n {
            tokio::task::yield_now().await;
        }
        let (least, most) = (n / 4, n.div_ceil(4));
        let level = counts(&workers).iter().all(|count| (least..=most).contains(count));
        assert!(level, "{:?}", counts(&workers));
    }
    accepting.abort();
}

/// A connection whose handshake is finished is served, whether the reactor has seen it or not.
#[tokio::test]
async fn a_closing_port_is_emptied() {
    let (workers, _drain) = workers(2);
    let port = port(&workers);
    let address = port.address().unwrap();
    let connect = |_| std::net::TcpStream::connect(address).unwrap();
    let clients: Vec<_> = (0..MANY).map(connect).collect();
    for (index, listener) in port.listeners.into_iter().enumerate() {
        Acceptor { index, workers: workers.list(), tls: None }.empty(listener);
    }
    assert_eq!(counts(&workers).iter().sum::<usize>(), clients.len());
}

#[tokio::test]
async fn the_port_closes_with_the_drain() {
    let (workers, drain) = workers(2);
    let port = port(&workers);
    let address = port.address().unwrap();
    let accepting = tokio::spawn(accept(port, None, workers.list()));
    drop(TcpStream::connect(address).await.unwrap());
    drain.start(Duration::ZERO, Duration::from_secs(600));
    accepting.await.unwrap();
    let refused = TcpStream::connect(address).await.unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
    assert_eq!(drain.finished().await, 0);
}

/// The workers share the port with each other, and with no other process, not even one like this.
#[tokio::test]
async fn a_port_is_bound_once() {
    let (workers, _drain) = workers(2);
    let taken = port(&workers).address().unwrap();
    // It is free again.
    let port = Port::bind(taken, &workers).unwrap();
    let Err(refused) = Port::bind(taken, &workers) else { panic!("bound twice") };
    assert_eq!(refused.kind(), io::ErrorKind::AddrInUse);
    drop(port);
}
