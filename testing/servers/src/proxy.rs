//! A TCP forwarder on loopback whose connections can be cut, stalled and refused.
//!
//! One thread accepts and each connection has one thread per direction. Bytes are forwarded as they
//! come; nothing here looks into them. While stalled a connection holds what it has read, so the
//! senders fill their sockets and no byte is lost.

use std::{
    io::{self, Read as _, Write as _},
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use crate::{ServerError, ports};

/// Connections at a time; one more is closed at once.
const MAX_CONNECTIONS: usize = 1024;
/// How long the target may take to accept.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Before the next accept when this process has no file descriptor left for one.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// What is forwarded at a time, per direction of a connection.
const BUFFER_BYTES: usize = 16 * 1024;

/// A forwarder from a port of its own to another on 127.0.0.1. Dropping it cuts all connections.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    target: SocketAddr,
    state: Mutex<State>,
    /// Told of every change that a waiting direction looks at.
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    stalled: Stalled,
    refuses: bool,
    ends: bool,
    connections: Vec<Weak<Connection>>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stalled {
    #[default]
    Nothing,
    Answers,
    Everything,
}

/// Both sockets close with the last of the two directions.
#[derive(Debug)]
struct Connection {
    client: TcpStream,
    server: TcpStream,
    is_cut: AtomicBool,
}

#[derive(Clone, Copy)]
enum Direction {
    Requests,
    Answers,
}

impl Proxy {
    /// Forwards to `target_port` on 127.0.0.1, where nobody need listen yet.
    ///
    /// # Errors
    /// When no port can be bound or no thread started.
    pub fn start(target_port: u16) -> Result<Self, ServerError> {
        let (port, listener) = ports::listen()?;
        let shared = Arc::new(Shared {
            target: (Ipv4Addr::LOCALHOST, target_port).into(),
            state: Mutex::default(),
            changed: Condvar::new(),
        });
        let accepting = Arc::clone(&shared);
        let acceptor = thread::Builder::new()
            .name("proxy".to_owned())
            .spawn(move || accept(&listener, &accepting))
            .map_err(ServerError::io("start a thread"))?;
        Ok(Self { port, shared, acceptor: Some(acceptor) })
    }

    /// The port on 127.0.0.1 that clients connect to.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// 127.0.0.1 with [`Self::port`].
    pub fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// How many connections are open.
    pub fn connections(&self) -> usize {
        let state = self.shared.lock();
        state.connections.iter().filter(|connection| connection.strong_count() > 0).count()
    }

    /// Closes all connections on both sides, the stalled ones too; what they held is lost. New ones
    /// are accepted. Returns how many there were.
    pub fn cut(&self) -> usize {
        let connections = std::mem::take(&mut self.shared.lock().connections);
        let open = connections.iter().filter_map(Weak::upgrade);
        let cut = open.map(|connection| connection.cut()).count();
        self.shared.change(|_| {});
        cut
    }

    /// Holds back all bytes and ends of both directions, of new connections too.
    pub fn stall(&self) {
        self.shared.change(|state| state.stalled = Stalled::Everything);
    }

    /// Holds back what the server says: requests take effect, and nobody learns of it.
    pub fn stall_answers(&self) {
        self.shared.change(|state| state.stalled = Stalled::Answers);
    }

    /// Closes every new connection as soon as it is made. Those that are open stay.
    pub fn refuse(&self) {
        self.shared.change(|state| state.refuses = true);
    }

    /// Ends [`Self::stall`], [`Self::stall_answers`] and [`Self::refuse`].
    pub fn resume(&self) {
        self.shared.change(|state| {
            state.stalled = Stalled::Nothing;
            state.refuses = false;
        });
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.change(|state| state.ends = true);
        // Wakes the acceptor, which then sees that this is the end.
        let woken = TcpStream::connect(self.address());
        if let (Ok(_), Some(acceptor)) = (woken, self.acceptor.take()) {
            let _ = acceptor.join();
        }
        self.cut();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.lock());
        self.changed.notify_all();
    }

    /// Returns when `direction` may go on, or the connection is cut.
    fn pass(&self, connection: &Connection, direction: Direction) {
        let mut state = self.lock();
        while !connection.is_cut.load(Ordering::Acquire) && state.stalled.holds(direction) {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Whether the connection may stay: it is known to [`Proxy::cut`] from here on.
    fn admit(&self, connection: &Arc<Connection>) -> bool {
        let mut state = self.lock();
        state.connections.retain(|known| known.strong_count() > 0);
        if state.ends || state.connections.len() >= MAX_CONNECTIONS {
            return false;
        }
        state.connections.push(Arc::downgrade(connection));
        true
    }
}

impl Stalled {
    fn holds(self, direction: Direction) -> bool {
        match direction {
            Direction::Requests => self == Self::Everything,
            Direction::Answers => self != Self::Nothing,
        }
    }
}

impl Connection {
    /// Wakes whoever reads or writes. A direction that is held back looks at this under the lock, so
    /// [`Shared::change`] has to follow.
    fn cut(&self) {
        self.is_cut.store(true, Ordering::Release);
        // A socket that is closed already needs no second end.
        let _ = self.client.shutdown(Shutdown::Both);
        let _ = self.server.shutdown(Shutdown::Both);
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    loop {
        let accepted = listener.accept();
        let state = shared.lock();
        if state.ends {
            return;
        }
        let refuses = state.refuses;
        drop(state);
        match accepted {
            Ok(_) if refuses => {}
            // On loopback a connect that takes long is a full queue; others may wait for it as well.
            // When nobody listens there, the client sees the end of its connection.
            Ok((client, _)) => drop(connect(client, shared)),
            Err(_) => thread::sleep(ACCEPT_PAUSE),
        }
    }
}

/// Connects a client to the target and starts both directions.
fn connect(client: TcpStream, shared: &Arc<Shared>) -> io::Result<()> {
    let server = TcpStream::connect_timeout(&shared.target, CONNECT_TIMEOUT)?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let connection = Arc::new(Connection { client, server, is_cut: AtomicBool::new(false) });
    if !shared.admit(&connection) {
        return Ok(());
    }
    for direction in [Direction::Requests, Direction::Answers] {
        let (shared, forwarded) = (Arc::clone(shared), Arc::clone(&connection));
        let forwarding = move || {
            // An error of one side is the end of the other.
            if forward(&shared, &forwarded, direction).is_err() {
                forwarded.cut();
                shared.change(|_| {});
            }
        };
        let thread = thread::Builder::new().name("proxied".to_owned());
        thread.spawn(forwarding).inspect_err(|_| connection.cut())?;
    }
    Ok(())
}

fn forward(shared: &Shared, connection: &Connection, direction: Direction) -> io::Result<()> {
    let (mut from, mut to) = match direction {
        Direction::Requests => (&connection.client, &connection.server),
        Direction::Answers => (&connection.server, &connection.client),
    };
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let length = from.read(&mut buffer)?;
        shared.pass(connection, direction);
        if length == 0 {
            return to.shutdown(Shutdown::Write);
        }
        to.write_all(&buffer[..length])?;
    }
}
