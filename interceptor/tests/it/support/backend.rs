//! Pods: listeners that follow a script for each connection.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
};

use parking_lot::Mutex;
use tokio::{
    net::{TcpListener, TcpSocket},
    sync::watch,
    task::{JoinHandle, JoinSet},
};

use super::{Message, Wire, until, within};

/// Backlog of a pod's listener, as Node and most servers have it at the least.
const BACKLOG: u32 = 128;

/// A response with a body and its length.
pub(crate) fn ok(body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{body}")
}

/// An address at which nobody listens yet: connections are refused.
pub(crate) struct Reserved {
    socket: TcpSocket,
    pub(crate) address: SocketAddr,
}

impl Reserved {
    pub(crate) fn new() -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
        let address = socket.local_addr().unwrap();
        Self { socket, address }
    }

    fn listen(self) -> TcpListener {
        self.socket.listen(BACKLOG).unwrap()
    }
}

/// A pod; it ends with the test.
pub(crate) struct Backend {
    pub(crate) address: SocketAddr,
    accepted: Arc<AtomicUsize>,
    accepting: JoinHandle<()>,
}

impl Backend {
    /// Runs `script` for every connection; it is given the connection and its number from 0 on.
    pub(crate) fn start<F>(script: impl Fn(Wire, usize) -> F + Send + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        Self::start_at(Reserved::new(), script)
    }

    /// The same at an address reserved before.
    pub(crate) fn start_at<F>(
        reserved: Reserved,
        script: impl Fn(Wire, usize) -> F + Send + 'static,
    ) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let address = reserved.address;
        let listener = reserved.listen();
        let accepted = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&accepted);
        let accepting = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                stream.set_nodelay(true).unwrap();
                let number = counter.fetch_add(1, SeqCst);
                connections.spawn(script(Wire::new(stream), number));
                while connections.try_join_next().is_some() {}
            }
        });
        Self { address, accepted, accepting }
    }

    /// Answers every request with `respond`.
    pub(crate) fn answering<T: AsRef<[u8]> + Send>(
        respond: impl Fn(&Message) -> T + Clone + Send + Sync + 'static,
    ) -> Self {
        Self::start(move |mut wire, _| {
            let respond = respond.clone();
            async move {
                while let Some(request) = wire.request().await {
                    let answer = respond(&request).as_ref().to_vec();
                    if wire.try_send(answer).await.is_err() {
                        return;
                    }
                }
            }
        })
    }

    /// Connections accepted so far.
    pub(crate) fn accepted(&self) -> usize {
        self.accepted.load(SeqCst)
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// What keeps answers back until the test opens it.
#[derive(Clone)]
pub(crate) struct Gate(watch::Sender<bool>);

impl Gate {
    pub(crate) fn closed() -> Self {
        Self(watch::Sender::new(false))
    }

    pub(crate) fn open(&self) {
        self.0.send_replace(true);
    }

    pub(crate) async fn pass(&self) {
        let mut opened = self.0.subscribe();
        within("the gate opens", opened.wait_for(|open| *open)).await.unwrap();
    }
}

/// A pod that notes the target of every request it executes, and how many it had at a time.
#[derive(Clone, Default)]
pub(crate) struct Recorder {
    targets: Arc<Mutex<Vec<String>>>,
    running: Arc<AtomicUsize>,
    peak: Arc<AtomicUsize>,
}

impl Recorder {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// A pod that answers with the target, once `gate` is open.
    pub(crate) fn start(&self, gate: &Gate) -> Backend {
        self.start_at(Reserved::new(), gate)
    }

    /// The same at an address reserved before.
    pub(crate) fn start_at(&self, reserved: Reserved, gate: &Gate) -> Backend {
        let (recorder, gate) = (self.clone(), gate.clone());
        Backend::start_at(reserved, move |mut wire, _| {
            let (recorder, gate) = (recorder.clone(), gate.clone());
            async move {
                while let Some(request) = wire.request().await {
                    recorder.enter(request.target());
                    gate.pass().await;
                    recorder.running.fetch_sub(1, SeqCst);
                    if wire.try_send(ok(request.target())).await.is_err() {
                        return;
                    }
                }
            }
        })
    }

    /// A pod that answers at once.
    pub(crate) fn start_open(&self) -> Backend {
        let gate = Gate::closed();
        gate.open();
        self.start(&gate)
    }

    pub(crate) fn note(&self, target: &str) {
        self.targets.lock().push(target.to_owned());
    }

    fn enter(&self, target: &str) {
        self.note(target);
        let now = self.running.fetch_add(1, SeqCst) + 1;
        self.peak.fetch_max(now, SeqCst);
    }

    /// Targets in the order of their arrival.
    pub(crate) fn targets(&self) -> Vec<String> {
        self.targets.lock().clone()
    }

    pub(crate) fn running(&self) -> usize {
        self.running.load(SeqCst)
    }

    pub(crate) fn peak(&self) -> usize {
        self.peak.load(SeqCst)
    }

    /// Waits until `n` requests arrived.
    pub(crate) async fn wait(&self, n: usize) {
        until("requests arrive at the pod", || self.targets.lock().len() >= n).await;
    }
}
