#![allow(clippy::unwrap_used)]
use std::sync::atomic::AtomicUsize;

use kipper_process::drain::{Drain, DrainTrigger};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;
use crate::{
    config::ProxyConfig,
    destination::DestinationContext,
    limits::{Http2Limits, Limits},
    router::Router,
    wire::budget::Budget,
};

/// More than tokio lets one task do before it has to let others run.
const MANY: usize = 300;
/// Only a hang reaches it.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(30);

/// A data plane without routes: its connections wait for a first byte.
fn workers(count: usize) -> (Workers, DrainTrigger) {
    let context = DestinationContext::for_test(count);
    let metrics = Arc::clone(&context.metrics);
    let (trigger, drain) = Drain::new();
    let context = Arc::new(WorkerContext {
        router: Arc::new(Router::new(context, false)),
        metrics: Arc::clone(&metrics),
        observers: None,
        limits: Limits { header: Duration::from_secs(600), ..Limits::default() },
        h2: Http2Limits::default(),
        trusted_proxies: Vec::new(),
        pods: ProxyConfig::default().pods(),
        buffers: Budget::new(metrics.buffered.clone(), 1 << 20),
        wake_fallback: None,
        max_connections: usize::MAX,
        drain,
        open: AtomicUsize::new(0),
    });
    (Workers::start(&context, count).unwrap(), trigger)
}

fn port(workers: &Workers) -> Port {
    Port::bind(SocketAddr::from(([127, 0, 0, 1], 0)), workers).unwrap()
}

/// Accepted connections inherit what their listener has: it costs them no system call.
#[tokio::test]
async fn accepted_connections_notice_silence() {
    let (workers, _trigger) = workers(1);
    let listener = port(&workers).listeners.remove(0).into_std().unwrap();
    let _client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    listener.set_nonblocking(false).unwrap();
    let (tcp, _) = listener.accept().unwrap();
    let socket = socket2::SockRef::from(&tcp);
    let limits = Limits::default();
    assert!(socket.keepalive().unwrap() && socket.tcp_nodelay().unwrap());
    assert_eq!(socket.tcp_keepalive_time().unwrap(), limits.keep_alive);
    assert_eq!(socket.tcp_keepalive_interval().unwrap(), limits.keep_alive / 3);
    assert_eq!(socket.tcp_user_timeout().unwrap(), Some(limits.user_timeout));
}

fn counts(workers: &Workers) -> Vec<usize> {
    workers.list.iter().map(|w| w.connections.load(Relaxed)).collect()
}

#[test]
fn who_gets_a_connection_that_stays() {
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

/// Sixteen clients come one after the other, and each says all of it with an answer in between. The
/// kernel spreads them by a hash, and each of four workers has its share all the same, before the next
/// one comes.
async fn are_level(tls: Option<Arc<ServerConfig>>, said: &[&[u8]]) {
    let (workers, _drain) = workers(4);
    let port = port(&workers);
    let address = port.address().unwrap();
    let accepting = tokio::spawn(accept(port, tls, workers.list()));
    let mut clients = Vec::new();
    for n in 1..=16_usize {
        let mut client = TcpStream::connect(address).await.unwrap();
        for part in said {
            client.write_all(part).await.unwrap();
            assert!(client.read(&mut [0; 4096]).await.unwrap() > 0);
        }
        clients.push(client);
        // A connection counts where it was accepted until it is handed over.
        let level = async {
            let (least, most) = (n / 4, n.div_ceil(4));
            while counts(&workers).iter().any(|count| !(least..=most).contains(count)) {
                tokio::task::yield_now().await;
            }
        };
        let level = tokio::time::timeout(PATIENCE, level).await;
        assert!(level.is_ok(), "{n} connections: {:?}", counts(&workers));
    }
    accepting.abort();
}

#[tokio::test]
async fn few_http1_connections_are_level_by_their_second_requests() {
    let request = b"GET / HTTP/1.1\r\nhost: nowhere\r\n\r\n".as_slice();
    are_level(None, &[request, request]).await;
}

#[tokio::test]
async fn few_http2_connections_are_level_by_their_prefaces() {
    // Answered with the server's settings; the rest of it is an empty frame of settings.
    let mut said = PREFACE.to_vec();
    said.extend([0, 0, 0, 4, 0, 0, 0, 0, 0]);
    are_level(None, &[&said]).await;
}

#[tokio::test]
async fn few_tls_connections_are_level_before_their_handshakes() {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider);
    let config = config.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
    let certificates = Arc::new(rustls::server::ResolvesServerCertUsingSni::new());
    are_level(Some(Arc::new(config.with_cert_resolver(certificates))), &[]).await;
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

/// What a connection's task costs while it waits: held requests are many.
#[test]
fn the_task_stays_small() {
    fn size<A, B, C, D, F>(_: fn(A, B, C, D) -> F) -> usize {
        size_of::<F>()
    }
    fn size_of_method<S, F>(_: fn(S) -> F) -> usize {
        size_of::<F>()
    }
    let sizes = [size(start), size_of_method(Stays::serve)];
    assert!(sizes.iter().all(|size| *size <= 2048), "{sizes:?} bytes");
}
