//! A client that leaves is dropped from the queue as soon as its FIN or RST arrives, whatever of
//! its request is still unread, and nothing of it is ever delivered.

use kipper_interceptor::reporter::CountsFeed as _;

use super::targets;
use crate::support::{Proxy, Recorder, Wire, ready, within};

/// More than the 64 KiB that are read ahead, and little enough for the rest to fit into the kernel's
/// receive buffer: a FIN behind more than that cannot leave the client's machine.
const UNREAD: usize = 100_000;

/// How a client goes.
#[derive(Clone, Copy, Debug)]
enum Leave {
    Fin,
    Reset,
}

/// Bodies of held requests, by what is sent of them.
fn requests() -> Vec<(&'static str, Vec<u8>)> {
    let head = |fields: &str| format!("POST /left HTTP/1.1\r\nHost: f.test\r\n{fields}\r\n\r\n");
    let whole = head("Content-Length: 5") + "hello";
    let part = head("Content-Length: 50") + "hello";
    let long = head("Content-Length: 1000000") + &"x".repeat(UNREAD);
    let chunks = head("Transfer-Encoding: chunked") + "5\r\nhello\r\n";
    let all_chunks = chunks.clone() + "0\r\n\r\n";
    let chunk = "1000\r\n".to_owned() + &"y".repeat(0x1000) + "\r\n";
    let long_chunks = head("Transfer-Encoding: chunked") + &chunk.repeat(UNREAD / 0x1000);
    vec![
        ("no body", b"GET /left HTTP/1.1\r\nHost: f.test\r\n\r\n".to_vec()),
        ("small body", whole.into_bytes()),
        ("unfinished small body", part.into_bytes()),
        ("more than is read ahead", long.into_bytes()),
        ("unfinished chunks", chunks.into_bytes()),
        ("chunks", all_chunks.into_bytes()),
        ("more chunks than are read ahead", long_chunks.into_bytes()),
    ]
}

async fn leave(client: Wire, how: Leave) {
    match how {
        Leave::Fin => drop(client),
        Leave::Reset => client.reset(),
    }
}

/// Waits until the scalers would be told that `f` holds `n` requests.
async fn reported(proxy: &Proxy, n: u32) {
    let told = async {
        while !proxy.router.take_changed().iter().any(|counts| counts.held == n) {
            proxy.router.changed().await;
        }
    };
    within("the count is reported", told).await;
}

/// A request that leaves the queue without an answer is news for the scalers as well: one they
/// still count would keep waking a function that nobody waits for.
#[tokio::test(flavor = "multi_thread")]
async fn who_left_is_reported() {
    let proxy = Proxy::one(&[]).await;
    let mut clients = Vec::new();
    for _ in 0..2 {
        let mut client = proxy.client().await;
        client.send("GET / HTTP/1.1\r\nHost: f.test\r\n\r\n").await;
        clients.push(client);
    }
    reported(&proxy, 2).await;
    for left in [1, 0] {
        leave(clients.pop().unwrap(), Leave::Reset).await;
        reported(&proxy, left).await;
    }
}

/// A half-closed client is gone too: nobody waits for a minute on a socket that may be dead.
#[tokio::test(flavor = "multi_thread")]
async fn held_clients_leave_by_half_closing() {
    let proxy = Proxy::one(&[]).await;
    for (what, request) in requests() {
        println!("{what}");
        let mut client = proxy.client().await;
        client.send(&request).await;
        proxy.held(1).await;
        client.finish().await;
        proxy.idle().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn four_hundred_held_posts_leave() {
    let proxy = Proxy::one(&[]).await;
    let requests = requests();
    let mut clients = Vec::new();
    for (n, (_, request)) in (0..400).zip(requests.iter().cycle()) {
        let mut client = proxy.client().await;
        client.send(request).await;
        clients.push((client, if n % 2 == 0 { Leave::Fin } else { Leave::Reset }));
    }
    proxy.held(400).await;
    for (client, how) in clients {
        leave(client, how).await;
    }
    proxy.idle().await;
    let recorder = Recorder::new();
    let pod = recorder.start_open();
    proxy.place(&proxy.f().id, &[ready(pod.address)]).await;
    for target in targets(20) {
        assert_eq!(proxy.client().await.get("f.test", &target).await.status(), 200);
    }
    assert_eq!(recorder.targets(), targets(20));
    assert_eq!(proxy.metric("errors_total", &["client_gone"]), 400.0);
}

/// Those that stay are served in order, whoever left between them.
#[tokio::test(flavor = "multi_thread")]
async fn leavers_do_not_disturb_the_order() {
    let proxy = Proxy::start().await;
    let mut spec = crate::support::function("f");
    spec.concurrency = 1;
    proxy.add(spec, &[]).await;
    let clients = super::hold_in_order(&proxy, &targets(40)).await;
    let mut staying = Vec::new();
    for (n, client) in clients.into_iter().enumerate() {
        match n % 4 {
            0 => drop(client),
            1 => client.reset(),
            _ => staying.push((n, client)),
        }
    }
    proxy.held(20).await;
    let recorder = Recorder::new();
    let pod = recorder.start_open();
    proxy.place(&proxy.f().id, &[ready(pod.address)]).await;
    let mut expected = Vec::new();
    for (n, client) in &mut staying {
        expected.push(format!("/{n}"));
        assert_eq!(client.answer().await.text(), format!("/{n}"));
    }
    assert_eq!(recorder.targets(), expected);
}
