//! Wake to ready: while a function holds requests, its pods are asked directly whether they can
//! answer, instead of waiting for the kubelet and the API server to say so.
//!
//! One release task per function, on the worker of its first held request, alive while anything
//! is held. It probes every endpoint that is not usable exactly as the readiness probe would,
//! leaves a probe's connection in that worker's pool for the first request, opens the ramp-up
//! window with time, and takes the second wake path when nothing moves.

use std::{
    future::poll_fn,
    pin::pin,
    sync::{Arc, atomic::Ordering::SeqCst},
    time::{Duration, Instant},
};

use tokio::task::JoinSet;

use crate::{
    clock,
    destination::Destination,
    limits::PodLimits,
    message::{body::BodySink, head::parse_response, section::HeadLimits},
    source::{Probe, Wake},
    upstream::{endpoint::Endpoint, http1::Connection},
    worker::Worker,
};

/// Shortest interval between two probes of an endpoint.
const MIN_INTERVAL: Duration = Duration::from_millis(1);
/// Longest interval during a usual cold start.
const MAX_INTERVAL: Duration = Duration::from_millis(20);
/// The interval is this part of the time waited so far: probing adds about a percent to a wake.
const INTERVAL_SHARE: u32 = 100;
/// Interval once a cold start has taken [`LONG_WAKE`].
const SLOW_INTERVAL: Duration = Duration::from_millis(100);
/// A cold start longer than this is probed less often.
const LONG_WAKE: Duration = Duration::from_secs(10);
/// An address that is not reachable yet swallows packets; the next attempt sends a fresh one.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(50);
/// An HTTP probe may take as long as the kubelet's default.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);
/// Endpoints probed at the same time.
const MAX_PROBED: usize = 4;
/// Longest probe response head.
const MAX_HEAD: HeadLimits = HeadLimits { bytes: 16 << 10, fields: 100 };
/// Between two fallback wakes of one function.
const FALLBACK_INTERVAL: Duration = Duration::from_secs(5);

/// Makes sure that a release task runs for a function that holds something.
pub(crate) fn ensure_release(function: &Arc<Destination>, worker: &Arc<Worker>) {
    if function.held() > 0 && !function.releasing.swap(true, SeqCst) {
        let (function, worker) = (Arc::clone(function), Arc::clone(worker));
        // Not on the connection tracker: it ends by itself when nothing is held.
        tokio::spawn(release(function, worker));
    }
}

async fn release(function: Arc<Destination>, worker: Arc<Worker>) {
    let started = Instant::now();
    let mut fallback_at = worker.context.wake_fallback.as_ref().map(|(_, after)| started + *after);
    let mut changed = started;
    let mut probes = JoinSet::new();
    while function.held() > 0 {
        function.tell_leavers();
        probe_all(&function, &worker, &mut probes);
        function.dispatch();
        if let Some(at) = fallback_at
            && Instant::now() >= at
            && function.waiting() > 0
        {
            // An address is a pod that somebody scaled for: there is nothing to lift off zero.
            if !function.endpoints().all.iter().any(|endpoint| endpoint.load.stays()) {
                fallback(&function, &worker);
            }
            fallback_at = Some(Instant::now() + FALLBACK_INTERVAL);
        }
        let interval = match changed.elapsed() {
            waited if waited > LONG_WAKE => SLOW_INTERVAL,
            waited => (waited / INTERVAL_SHARE).clamp(MIN_INTERVAL, MAX_INTERVAL),
        };
        let mut pause = pin!(tokio::time::sleep(interval));
        loop {
            tokio::select! {
                () = &mut pause => break,
                () = function.endpoints_changed.notified() => {
                    changed = Instant::now();
                    break;
                }
                // A probe that ended is only cleared away; the next one waits for its interval.
                Some(_) = probes.join_next() => {}
            }
        }
    }
    function.tell_leavers();
    function.releasing.store(false, SeqCst);
    function.end_wake();
    // A request may have been held between the last look and the flag.
    ensure_release(&function, &worker);
}

/// Probes each endpoint that wants it and is not being probed.
fn probe_all(function: &Arc<Destination>, worker: &Arc<Worker>, probes: &mut JoinSet<()>) {
    let now = clock::now();
    for endpoint in
        function.endpoints().all.iter().filter(|e| !e.sibling && e.load.wants_probe(now))
    {
        if probes.len() >= MAX_PROBED {
            return;
        }
        if let Some(guard) = endpoint.start_probe() {
            let (function, worker) = (Arc::clone(function), Arc::clone(worker));
            probes.spawn(async move {
                probe(&function, &worker, guard.endpoint()).await;
            });
        }
    }
}

/// Asks one endpoint; on success it is usable, and the connection is there for the first request.
async fn probe(function: &Arc<Destination>, worker: &Arc<Worker>, endpoint: &Arc<Endpoint>) {
    worker.context.metrics.probes.inc();
    let limits = PodLimits { connect: CONNECT_TIMEOUT, ..worker.context.pods };
    let Ok(mut connection) = Connection::open(endpoint.address, limits).await else {
        return;
    };
    let path = match &function.route().spec.probe {
        Probe::Tcp => None,
        Probe::Http(path) => Some(path.clone()),
    };
    if let Some(path) = path {
        let host = endpoint.address;
        let request = format!(
            "GET {path} HTTP/1.1\r\nhost: {host}\r\nuser-agent: kipper-probe\r\naccept: */*\r\n\r\n"
        );
        connection.out.tail().extend_from_slice(request.as_bytes());
        let asked = tokio::time::timeout(ANSWER_TIMEOUT, ask(function, &mut connection)).await;
        match asked {
            Ok(Some(true)) => worker.pool.put(endpoint, connection),
            Ok(Some(false)) => {}
            Ok(None) | Err(_) => return,
        }
    } else {
        worker.pool.put(endpoint, connection);
    }
    let now = clock::now();
    endpoint.load.mark_probed(now);
    function.note_usable(now);
    function.dispatch();
}

/// Sends the probe and reads its answer. `None` = not ready; else whether the connection can be
/// used again.
async fn ask(function: &Destination, connection: &mut Connection) -> Option<bool> {
    poll_fn(|cx| connection.poll_write(cx)).await.ok()?;
    loop {
        let read = poll_fn(|cx| {
            let (io, input) = (&mut connection.io, &mut connection.input);
            io.poll_read_more(cx, input, MAX_HEAD.bytes)
        });
        if read.await.ok()? == 0 {
            return None;
        }
        if let Some(answer) = take_answer(function, connection) {
            return answer;
        }
    }
}

/// The probe's answer, once it is there: `Some(None)` = not ready, else whether the connection can
/// be used again. Only an answer that came with its whole body leaves it clean.
fn take_answer(function: &Destination, connection: &mut Connection) -> Option<Option<bool>> {
    let input = connection.input.as_slice();
    let (head, length) = match parse_response(input, MAX_HEAD, false) {
        Ok(parsed) => parsed?,
        Err(error) => {
            function.refused(error.rule());
            return Some(None);
        }
    };
    if !(200..400).contains(&head.status) {
        return Some(None);
    }
    let (mut body, keep, timeout) = head.into_framing();
    let Ok(used) = body.decode(&input[length..], &mut Discard) else { return Some(None) };
    connection.input.consume(length + used);
    connection.keep_alive_timeout(timeout);
    Some(Some(keep && body.is_done()))
}

/// Takes a body nobody needs.
struct Discard;

impl BodySink for Discard {
    fn data(&mut self, _: &[u8]) {}
    fn end(&mut self, _: &[u8]) {}
}

/// Scales the function without KEDA, in the background.
fn fallback(function: &Arc<Destination>, worker: &Arc<Worker>) {
    let Some((wake, _)) = &worker.context.wake_fallback else { return };
    let waking = wake.wake(function.id.clone(), 1);
    let (id, metrics) = (function.id.clone(), Arc::clone(&worker.context.metrics));
    tokio::spawn(async move {
        let outcome = match waking.await {
            Ok(Wake::Scaled) => "scaled",
            Ok(Wake::Awake) => "awake",
            Err(error) => {
                tracing::warn!(function = %id, %error, "fallback wake failed");
                "failed"
            }
        };
        metrics.wake_fallbacks.with_label_values(&[outcome]).inc();
    });
}
