//! The clients that make the interceptor keep most, each kind up to its bound: what its process needs
//! then, and how another tenant's function is served meanwhile.
//!
//! Limits of open files allow fewer connections than the chart's cap, so what a connection costs is
//! measured with fewer and counted for all of them. No kind is counted together with another: they
//! share the cap. What has a budget of its own, is: bodies of held requests, and bytes in transit.

#![allow(clippy::cast_precision_loss)] // of bytes and connections

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use bytes::Bytes;
use kipper_measure::samples::Samples;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpSocket, TcpStream},
    task::JoinSet,
    time::{Instant, sleep},
};

use crate::{
    control::{function, host},
    open_loop::{self, Fate, Load, Pace},
    processes::{Function, Interceptor},
    requests::{get, websocket},
    run::{POLL, Run},
};

/// `--max-connections`, by default.
const CAP: f64 = 40_000.0;
/// Functions that have to fill their queues until the queues of all are full.
const FULL_QUEUES: f64 = 4.0;
/// The proxy's timers, so long that every hostile client is there while it is measured.
const TIMERS: &[&str] = &["--header-timeout", "120s", "--body-timeout", "120s"];
const BUFFERED: &str = "kipper_interceptor_buffered_bytes";
const BUDGET: f64 = 33_554_432.0;
/// Clients with heads of 31,000 bytes that use it up.
const FILLING: usize = 1_100;
/// Of the other tenant, per second.
const RATE: f64 = 50.0;
/// What stood still for this long has come to its bound.
const STILL: Duration = Duration::from_secs(1);
/// Opened at a time, below the proxy's accept queue.
const OPENED_AT_A_TIME: usize = 256;
/// A receive buffer that holds little of what the proxy wants to send.
const SMALL_BUFFER: u32 = 4096;

/// The other tenant's function.
const OTHER: usize = 0;
/// The hostile tenant's: one with a pod, one without.
const HOSTILE: usize = 1;
const ASLEEP: usize = 2;
const LONG_HEAD: &str = "/head";
const LONG_BODY: &str = "/body";
/// Of an answer's head that does not end; the proxy takes 256 KiB.
const HEAD_BYTES: usize = 250_000;
/// More than the kernel and the proxy take of a side whose other side does not read, and not so much
/// that the kernel's memory for all sockets of this machine runs short.
const MORE: usize = 512 << 10;

/// How a client is hostile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// A head without an end, of the size that is always taken.
    Head,
    /// A field section of HTTP/2 without an end, and a frame that is not complete.
    FieldSection,
    /// A large answer that is not read.
    Reader,
    /// A tunnel whose client sends and does not read.
    Tunnel,
    /// An answer whose head does not end.
    Answer,
    /// A body for a function that does not start.
    Held,
}

impl Kind {
    const ALL: [Self; 6] =
        [Self::Head, Self::FieldSection, Self::Reader, Self::Tunnel, Self::Answer, Self::Held];

    /// How many clients come, of a size of the whole.
    fn count(self, size: usize) -> usize {
        match self {
            Self::Head => size,
            Self::FieldSection => size / 8,
            // Not many: the kernel keeps megabytes for each.
            Self::Reader | Self::Tunnel => 500,
            Self::Answer => size / 5,
            // All that are taken: 64 MiB, and 64 KiB each.
            Self::Held => 1_024,
        }
    }

    /// How many there can be.
    fn most(self, count: usize) -> f64 {
        match self {
            Self::FieldSection => CAP / 8.0,
            Self::Head | Self::Reader | Self::Tunnel | Self::Answer => CAP,
            Self::Held => count as f64 * FULL_QUEUES,
        }
    }

    /// What a client sends; it reads nothing.
    fn bytes(self) -> Bytes {
        match self {
            Self::Head => unfinished_head(8_000).into(),
            Self::FieldSection => unfinished_field_section().into(),
            Self::Reader => get(&host(HOSTILE), LONG_BODY).into(),
            Self::Tunnel => [websocket(&host(HOSTILE)), vec![b'x'; MORE]].concat().into(),
            Self::Answer => get(&host(HOSTILE), LONG_HEAD).into(),
            Self::Held => {
                let length = 128 << 10;
                let head = format!(
                    "POST / HTTP/1.1\r\nhost: {}\r\ncontent-length: {length}\r\n\r\n",
                    host(ASLEEP)
                );
                [head.into_bytes(), vec![b'x'; length]].concat().into()
            }
        }
    }
}

pub(super) async fn run(run: &mut Run) -> Result<(), anyhow::Error> {
    let size = run.size(10_000, 2_000);
    let backend = Function::start(run, &[]).await?;
    let hostile = Pod::start().await?;
    let (mut worst, mut held, mut empty) = (0.0_f64, 0.0, 0.0);
    let (mut took, mut failed) = (Vec::new(), 0);
    for kind in Kind::ALL {
        // Each on a process of its own: what an allocator keeps of one would hide the next.
        let mut interceptor = Interceptor::start(run, 3, TIMERS).await?;
        interceptor.set_ready(&function(OTHER), &[backend.addr]).await?;
        interceptor.set_ready(&function(HOSTILE), &[hostile.address]).await?;
        let alone = other(run, interceptor.proxy).await;
        let started = interceptor.resident_kib()?;
        let long = unfinished_head(31_000).into();
        let _filling = come(interceptor.proxy, &long, FILLING).await?;
        while interceptor.metric(BUFFERED).await? < BUDGET {
            sleep(POLL).await;
        }
        let before = interceptor.resident_kib()?;
        let count = kind.count(size);
        let clients = come(interceptor.proxy, &kind.bytes(), count).await?;
        let after = settled(&interceptor).await?;
        let beside = other(run, interceptor.proxy).await;
        let grown = (after - before.min(after)) as f64 * 1024.0;
        let most = grown / count as f64 * kind.most(count);
        println!(
            "   {kind:?}: {count} clients, {:.1} KiB each, {:.0} MB at the bound; \
             the other function: p99 {:.1} ms, {:.1} ms before",
            grown / count as f64 / 1024.0,
            most / 1e6,
            beside.took.quantile(0.99),
            alone.took.quantile(0.99),
        );
        match kind {
            Kind::Held => held = most,
            _ => worst = worst.max(most),
        }
        empty = f64::max(empty, before as f64 * 1024.0);
        println!("   {started} KiB at first, {before} KiB with the budget used, {after} KiB");
        failed += alone.failed + beside.failed;
        took.push(beside.took.quantile(0.99));
        drop(clients);
    }
    run.outcome.condition("worst_clients_other_failed", failed)?;
    run.outcome.figure("worst_clients_interceptor", (empty + worst + held) / 1e6)?;
    run.outcome.figure("worst_clients_other_p99", took.into_iter().fold(0.0, f64::max))
}

/// What came of the other tenant's requests.
struct Other {
    took: Samples,
    failed: usize,
}

async fn other(run: &Run, proxy: SocketAddr) -> Other {
    let load = Load {
        proxy,
        host: host(OTHER),
        prefix: "other",
        connections: 4,
        duration: run.size(Duration::from_secs(10), Duration::from_secs(2)),
        pace: Pace::Steady(RATE),
    };
    let sent = open_loop::run(&load).await;
    let failed = sent.iter().filter(|sent| sent.fate != Fate::Answered).count();
    Other { took: sent.iter().map(|sent| sent.took).collect(), failed }
}

/// As many clients that send `bytes`; they stay as long as they are kept.
async fn come(
    proxy: SocketAddr,
    bytes: &Bytes,
    count: usize,
) -> Result<JoinSet<()>, anyhow::Error> {
    let (mut opening, mut staying) = (JoinSet::new(), JoinSet::new());
    for _ in 0..count {
        if opening.len() >= OPENED_AT_A_TIME {
            keep(opening.join_next().await, &mut staying)?;
        }
        let bytes = bytes.clone();
        opening.spawn(async move {
            let socket = TcpSocket::new_v4()?;
            socket.set_recv_buffer_size(SMALL_BUFFER)?;
            io::Result::Ok((socket.connect(proxy).await?, bytes))
        });
    }
    while !opening.is_empty() {
        keep(opening.join_next().await, &mut staying)?;
    }
    Ok(staying)
}

type Opened = Result<io::Result<(TcpStream, Bytes)>, tokio::task::JoinError>;

fn keep(opened: Option<Opened>, staying: &mut JoinSet<()>) -> Result<(), anyhow::Error> {
    if let Some(opened) = opened {
        let (mut stream, bytes) = opened??;
        staying.spawn(async move {
            // It may be refused, which is for the proxy to count.
            let _ = stream.write_all(&bytes).await;
            std::future::pending::<()>().await;
        });
    }
    Ok(())
}

/// The size of the process once it grows no more.
async fn settled(interceptor: &Interceptor) -> Result<u64, anyhow::Error> {
    let (mut size, mut since) = (interceptor.resident_kib()?, Instant::now());
    while since.elapsed() < STILL {
        sleep(POLL).await;
        let now = interceptor.resident_kib()?;
        if now > size {
            (size, since) = (now, Instant::now());
        }
    }
    Ok(size)
}

fn unfinished_head(bytes: usize) -> Vec<u8> {
    let begun = format!("GET / HTTP/1.1\r\nhost: {}\r\nx-long: ", host(OTHER));
    format!("{begun:x<bytes$}").into()
}

/// A preface, settings, and HEADERS with a CONTINUATION that do not end (RFC 9113 section 6.10).
fn unfinished_field_section() -> Vec<u8> {
    const HEADERS: u8 = 1;
    const SETTINGS: u8 = 4;
    const CONTINUATION: u8 = 9;
    const FRAME: usize = 16_384;
    let frame = |kind: u8, stream: u8, length: usize, payload: &[u8]| {
        let length = u32::try_from(length).unwrap_or_default().to_be_bytes();
        let head = [length[1], length[2], length[3], kind, 0, 0, 0, 0, stream];
        [&head, payload].concat()
    };
    // A literal with a name of its own and a value of 31,000 bytes (RFC 7541 sections 5.1, 6.2.2).
    let mut section = vec![0, 1, b'x', 0x7f, 0x99, 0xf1, 0x01];
    section.resize(31_000, b'a');
    let (first, second) = section.split_at(FRAME);
    [
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
        frame(SETTINGS, 0, 0, &[]),
        frame(HEADERS, 1, FRAME, first),
        // One byte of it is missing.
        frame(CONTINUATION, 1, second.len() + 1, second),
    ]
    .concat()
}

/// A pod of the hostile tenant's.
struct Pod {
    address: SocketAddr,
    #[allow(dead_code, reason = "held for its drop")]
    serving: JoinSet<()>,
}

impl Pod {
    async fn start() -> Result<Self, anyhow::Error> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((mut stream, _)) = listener.accept().await {
                connections.spawn(async move {
                    let mut asked = [0; 4096];
                    let read = stream.read(&mut asked).await.unwrap_or_default();
                    // Whether it is taken is for the proxy to say.
                    let _ = stream.write_all(&answer(&asked[..read])).await;
                    std::future::pending::<()>().await;
                });
            }
        });
        Ok(Self { address, serving })
    }
}

/// A head without an end, or more bytes behind one than the kernel and the proxy take.
fn answer(asked: &[u8]) -> Vec<u8> {
    let asks = |path: &str| asked.starts_with(format!("GET {path} ").as_bytes());
    let head = if asks(LONG_HEAD) {
        "HTTP/1.1 200 OK\r\nx-long: ".to_owned()
    } else if asks(LONG_BODY) {
        format!("HTTP/1.1 200 OK\r\ncontent-length: {MORE}\r\n\r\n")
    } else {
        "HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n"
            .into()
    };
    let rest = if asks(LONG_HEAD) { HEAD_BYTES } else { MORE };
    [head.into_bytes(), vec![b'x'; rest]].concat()
}
