//! The loop: one task that owns all state, starts every call and takes in every answer.
//!
//! source → dispatcher → target → completer → source. Nothing here waits inside a step, and no call
//! to the source is dropped before it ends. The stages decide; this file carries their decisions
//! out and keeps the one list of what is held.

use std::{
    collections::HashMap,
    future::pending,
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use futures_util::{FutureExt as _, StreamExt as _, future::BoxFuture, stream::FuturesUnordered};
use tokio::{
    sync::{mpsc, oneshot},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use crate::{
    completer::{Completed, Completer, Work},
    dispatcher::{Dispatcher, Held, Limits, Verdict},
    drain::DrainRequest,
    identity::Identity,
    metrics::Metrics,
    rescuer::{Rescuer, Task},
    retry::{Ending, exponential},
    source::{Claimed, Digest, Event, Key, Mark, Source, SourceError, Unusable, Wanted},
    target::{Delivery, Outcome, Target},
};

/// First pause after a claim that failed; doubles with each further one.
const CLAIM_BACKOFF_BASE: Duration = Duration::from_millis(100);
/// Longest pause between two claims that fail.
const CLAIM_BACKOFF_CAP: Duration = Duration::from_secs(30);
/// After a drain nobody followed up with a signal, a function that answers all the while is taken
/// to stay.
const RESUME_AFTER: Duration = Duration::from_secs(30);
/// How often a drained poller looks whether the function went away.
const RESUME_POLL: Duration = Duration::from_millis(200);

/// What is configured.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Handlers that run at once.
    pub concurrency: usize,
    /// Events held at most, in whatever state.
    pub max_held: usize,
    /// Bytes of held bodies at most; one event more may exceed it.
    pub max_held_bytes: usize,
    /// Attempts before an event is dead.
    pub max_attempts: u32,
    /// Pause after a claim that brought nothing.
    pub poll_interval: Duration,
    /// After a signal: how long handlers and marks may take before the process ends without them.
    pub drain_deadline: Duration,
}

/// What the loop is doing as a whole.
#[derive(Debug)]
enum Mode {
    Running,
    /// Finishing what runs, for whoever asked.
    Draining(Vec<oneshot::Sender<()>>),
    /// Nothing is held. Runs again when the function has been away and answers, see [`RESUME_AFTER`].
    Drained,
}

type Claim<S> = <S as Source>::Claim;
type Peeked = Vec<(Key, Digest)>;

/// A call that is under way; at most one of each kind.
struct Calls<C> {
    #[expect(clippy::type_complexity, reason = "said once, here")]
    claim: Option<BoxFuture<'static, (usize, Vec<Key>, Result<(Peeked, Claimed<C>), SourceError>)>>,
    #[expect(clippy::type_complexity, reason = "said once, here")]
    complete: Option<BoxFuture<'static, (Work<C>, Result<Vec<Mark>, SourceError>)>>,
    #[expect(clippy::type_complexity, reason = "said once, here")]
    release: Option<BoxFuture<'static, (Vec<Arc<Event<C>>>, Result<(), SourceError>)>>,
    upkeep: Option<BoxFuture<'static, (Task, Result<(), SourceError>)>>,
    /// Ends when the function answers; nothing is claimed or delivered before.
    gate: Option<BoxFuture<'static, ()>>,
    deliveries: FuturesUnordered<BoxFuture<'static, (Held<C>, Outcome, Duration)>>,
}

/// One trigger of one function. See the module.
pub struct Poller<S: Source> {
    source: Arc<S>,
    target: Arc<Target>,
    identity: Identity,
    settings: Settings,
    metrics: Metrics,
    dispatcher: Dispatcher<Claim<S>>,
    completer: Completer<Claim<S>>,
    rescuer: Rescuer,
    calls: Calls<Claim<S>>,
    /// Everything claimed and not yet released, in whatever state.
    held: HashMap<Key, Arc<Event<Claim<S>>>>,
    held_bytes: usize,
    /// Not needed any more, still claimed.
    to_release: Vec<Arc<Event<Claim<S>>>>,
    mode: Mode,
    /// Set by the signal: when to end at the latest.
    deadline: Option<Instant>,
    claim_due: Instant,
    claim_failures: u32,
}

impl<S: Source> Poller<S> {
    /// A poller that has claimed nothing yet. The source is connected.
    pub fn new(
        source: Arc<S>,
        target: Arc<Target>,
        identity: Identity,
        settings: Settings,
        metrics: Metrics,
    ) -> Self {
        let now = Instant::now();
        let limits = Limits {
            concurrency: settings.concurrency,
            max_held: settings.max_held,
            max_attempts: settings.max_attempts,
            dead_letters: source.has_dead_letters(),
        };
        let gate = Arc::clone(&target);
        let calls = Calls {
            claim: None,
            complete: None,
            release: None,
            upkeep: None,
            gate: Some(async move { gate.wait_until_answering().await }.boxed()),
            deliveries: FuturesUnordered::new(),
        };
        Self {
            source,
            target,
            identity,
            settings,
            metrics,
            dispatcher: Dispatcher::new(limits, now),
            completer: Completer::default(),
            rescuer: Rescuer::new(now),
            calls,
            held: HashMap::new(),
            held_bytes: 0,
            to_release: Vec::new(),
            mode: Mode::Running,
            deadline: None,
            claim_due: now,
            claim_failures: 0,
        }
    }

    /// Polls until `shutdown` and until everything held is marked or released.
    pub async fn run(
        mut self,
        shutdown: CancellationToken,
        mut drains: mpsc::Receiver<DrainRequest>,
    ) {
        let mut shutdown = std::pin::pin!(shutdown.cancelled());
        loop {
            let now = Instant::now();
            self.start(now);
            if self.is_drained() {
                self.drained();
                if self.deadline.is_some() {
                    return;
                }
            }
            let due = self.due(now);
            tokio::select! {
                Some(ended) = self.calls.deliveries.next() => {
                    self.ended(ended);
                    while let Some(Some(ended)) = self.calls.deliveries.next().now_or_never() {
                        self.ended(ended);
                    }
                }
                answer = answer(&mut self.calls.claim) => self.claimed(answer),
                answer = answer(&mut self.calls.complete) => self.completed(answer),
                answer = answer(&mut self.calls.release) => self.released(answer),
                answer = answer(&mut self.calls.upkeep) => self.kept_up(answer),
                () = answer(&mut self.calls.gate) => self.answering(),
                Some(request) = drains.recv() => self.drain(Some(request.done)),
                () = &mut shutdown, if self.deadline.is_none() => {
                    self.deadline = Some(Instant::now() + self.settings.drain_deadline);
                    self.drain(None);
                }
                () = tokio::time::sleep_until(due) => {}
            }
            if self.deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                let (held, unmarked) = (self.held.len(), self.completer.unmarked());
                tracing::error!(held, unmarked, "ended with events neither marked nor released");
                return;
            }
        }
    }

    /// Starts whatever may be started now.
    fn start(&mut self, now: Instant) {
        self.start_upkeep(now);
        if self.calls.gate.is_none() {
            while let Some(held) = self.dispatcher.next(now) {
                self.start_delivery(held);
            }
        }
        self.start_completion(now);
        self.start_release();
        self.start_claim(now);
        self.metrics.held.set(self.held.len());
        self.metrics.unmarked.set(self.completer.unmarked());
        self.metrics.suppressed.set(self.completer.suppressed().len());
    }

    fn start_upkeep(&mut self, now: Instant) {
        if self.calls.upkeep.is_some() {
            return;
        }
        let Some(task) = self.rescuer.task(now) else { return };
        let source = Arc::clone(&self.source);
        let held: Vec<_> = self.held.values().cloned().collect();
        self.calls.upkeep = Some(
            async move {
                let result = match task {
                    Task::Extend => source.extend(&held).await,
                    Task::Recover => source.recover(&held).await,
                };
                (task, result)
            }
            .boxed(),
        );
    }

    fn start_delivery(&mut self, held: Held<Claim<S>>) {
        let delivery = self.delivery(&held);
        let target = Arc::clone(&self.target);
        self.calls.deliveries.push(
            async move {
                let begin = Instant::now();
                let outcome = target.deliver(&delivery).await;
                (held, outcome, begin.elapsed())
            }
            .boxed(),
        );
    }

    fn delivery(&self, held: &Held<Claim<S>>) -> Delivery {
        Delivery {
            id: self.identity.id(&held.event.key),
            source: self.identity.source.clone(),
            kind: self.identity.kind.clone(),
            time: self.identity.time(SystemTime::now()),
            attempt: held.attempts + 1,
            body: Bytes::clone(&held.event.body),
        }
    }

    fn start_completion(&mut self, now: Instant) {
        if self.calls.complete.is_some() || !self.rescuer.marks() {
            return;
        }
        let Some(work) = self.completer.next(now) else { return };
        let source = Arc::clone(&self.source);
        self.calls.complete = Some(
            async move {
                let events = work.events();
                let answer = match work.dead() {
                    None => source.complete(&events, work.retried()).await,
                    Some((reason, attempts)) => {
                        source.fail(&events[0], reason, attempts).await.map(|mark| vec![mark])
                    }
                };
                (work, answer)
            }
            .boxed(),
        );
    }

    fn start_release(&mut self) {
        let idle = self.calls.release.is_none() && self.rescuer.claims();
        if !idle || self.to_release.is_empty() {
            return;
        }
        let events = std::mem::take(&mut self.to_release);
        let source = Arc::clone(&self.source);
        self.calls.release = Some(
            async move {
                let result = source.release(&events).await;
                (events, result)
            }
            .boxed(),
        );
    }

    fn start_claim(&mut self, now: Instant) {
        let idle = self.calls.claim.is_none() && self.calls.gate.is_none();
        let may = matches!(self.mode, Mode::Running) && self.rescuer.claims();
        if !idle || !may || now < self.claim_due {
            return;
        }
        let bytes = self.settings.max_held_bytes.saturating_sub(self.held_bytes);
        let events = self.dispatcher.wanted(self.held.len(), now);
        if events == 0 || bytes == 0 {
            return;
        }
        if self.completer.is_full() {
            tracing::warn!("too many handled events stay as they were; nothing more is claimed");
            self.claim_due = now + CLAIM_BACKOFF_CAP;
            return;
        }
        let suppressed: Vec<Key> = self.completer.suppressed().cloned().collect();
        let mut except: Vec<Key> = self.held.keys().cloned().collect();
        except.extend(self.dispatcher.except(now).cloned());
        let (source, seconds) = (Arc::clone(&self.source), self.metrics.claim_seconds.clone());
        self.calls.claim = Some(
            async move {
                let _timer = seconds.start_timer();
                let mut peeked = Vec::new();
                if !suppressed.is_empty() {
                    match source.peek(&suppressed).await {
                        Ok(asking) => peeked = asking,
                        Err(error) => return (events, suppressed, Err(error)),
                    }
                    // One that changed or went is claimed by the next claim, not by this one.
                    except.extend(suppressed.iter().cloned());
                }
                let wanted = Wanted { events, bytes, except: &except };
                let claimed = source.claim(wanted).await.map(|claimed| (peeked, claimed));
                (events, suppressed, claimed)
            }
            .boxed(),
        );
    }

    /// Takes in what a claim brought.
    #[expect(clippy::type_complexity, reason = "the claim call's own type")]
    fn claimed(
        &mut self,
        (wanted, suppressed, answer): (
            usize,
            Vec<Key>,
            Result<(Peeked, Claimed<Claim<S>>), SourceError>,
        ),
    ) {
        let now = Instant::now();
        let (peeked, claimed) = match answer {
            Ok(answer) => answer,
            Err(error) => return self.claim_failed(&error, now),
        };
        self.claim_failures = 0;
        self.completer.peeked(&suppressed, peeked);
        for (key, why) in claimed.unusable {
            let Unusable::Duplicate = why;
            tracing::error!(
                %key,
                condition = "DuplicateKey",
                "a key names more than one event of the query; none of them is delivered"
            );
            self.dispatcher.leave_out(key, now);
        }
        let found = claimed.events.len();
        debug_assert!(found <= wanted);
        self.metrics.claimed.inc_by(found);
        let running = matches!(self.mode, Mode::Running);
        for event in claimed.events {
            self.held_bytes += event.body.len();
            let key = event.key.clone();
            if running {
                let event = self.dispatcher.accept(event);
                self.held.insert(key, event);
            } else {
                let event = Arc::new(event);
                self.held.insert(key, Arc::clone(&event));
                self.to_release.push(event);
            }
        }
        if found == 0 && !claimed.more {
            self.claim_due = now + self.settings.poll_interval;
        }
    }

    fn claim_failed(&mut self, error: &SourceError, now: Instant) {
        self.failed("claim", error, now);
        self.claim_due =
            now + exponential(CLAIM_BACKOFF_BASE, CLAIM_BACKOFF_CAP, self.claim_failures);
        self.claim_failures = self.claim_failures.saturating_add(1);
    }

    /// Takes in how a delivery ended.
    fn ended(&mut self, (held, outcome, took): (Held<Claim<S>>, Outcome, Duration)) {
        let now = Instant::now();
        self.metrics.delivered(&outcome, took);
        let (key, attempt) = (held.event.key.clone(), held.attempts + 1);
        let (ending, reason) = match &outcome {
            Outcome::Done => (Ending::Done, String::new()),
            Outcome::NotSent { detail, .. } => {
                tracing::warn!(%key, "the function does not answer: {detail}");
                let given_up = self.dispatcher.not_sent(held, now);
                self.give_back(given_up);
                let target = Arc::clone(&self.target);
                self.calls.gate.get_or_insert_with(|| {
                    async move { target.wait_until_answering().await }.boxed()
                });
                return;
            }
            Outcome::Retry { retry_after, .. } => {
                (Ending::Retryable(*retry_after), reason(&outcome))
            }
            Outcome::Permanent { .. } => (Ending::Permanent, reason(&outcome)),
        };
        let was_open = self.dispatcher.is_open();
        let verdict = self.dispatcher.ended(held, ending, now, fastrand::f64());
        if ending != Ending::Done {
            log_failure(&key, attempt, &reason, &verdict);
        }
        match verdict {
            Verdict::Mark(held) => self.completer.finished(held),
            Verdict::Bury(held) => {
                self.metrics.dead.inc();
                self.completer.dead(held, reason);
            }
            // A failure that nobody drains for: while draining nothing waits here.
            Verdict::Wait(_) if !matches!(self.mode, Mode::Running) => {
                let given_up = self.dispatcher.give_up(now);
                self.give_back(given_up);
            }
            Verdict::Wait(_) => {}
            Verdict::Release(given_up) => self.give_back(given_up),
        }
        let open = self.dispatcher.is_open();
        if open != was_open {
            tracing::warn!(
                open,
                "outage breaker: {}",
                if open { "the function is down" } else { "it is up again" }
            );
            self.metrics.breaker.set(usize::from(open));
        }
    }

    fn give_back(&mut self, given_up: Vec<Held<Claim<S>>>) {
        for held in given_up {
            self.source.note_attempts(&held.event, held.attempts);
            self.to_release.push(held.event);
        }
    }

    fn completed(&mut self, (work, answer): (Work<Claim<S>>, Result<Vec<Mark>, SourceError>)) {
        let now = Instant::now();
        if let Err(error) = &answer {
            self.failed("mark", error, now);
        }
        let Completed { released, failures } = self.completer.completed(work, answer, now);
        for (key, text) in failures {
            self.metrics.mark_failures.inc();
            tracing::error!(%key, "mark failed, to be tried again: {text}");
        }
        for (held, rows) in released {
            if rows == Some(0) {
                tracing::warn!(key = %held.event.key, "the mark changed no row");
            }
            self.to_release.push(held.event);
        }
    }

    fn released(&mut self, (events, result): (Vec<Arc<Event<Claim<S>>>>, Result<(), SourceError>)) {
        match result {
            // A lost session has released everything.
            Ok(()) | Err(SourceError::Lost(_)) => self.forget(&events),
            Err(_) => self.to_release.extend(events),
        }
        if let Err(error) = result {
            self.failed("release", &error, Instant::now());
        }
    }

    fn forget(&mut self, events: &[Arc<Event<Claim<S>>>]) {
        for event in events {
            if self.held.remove(&event.key).is_some() {
                self.held_bytes -= event.body.len();
            }
        }
    }

    fn kept_up(&mut self, (task, result): (Task, Result<(), SourceError>)) {
        let now = Instant::now();
        if let Err(error) = &result {
            self.failed("upkeep", error, now);
        } else if task == Task::Recover {
            self.metrics.reconnects.inc();
            tracing::info!("connected to the source again");
        }
        self.rescuer.ended(task, result.is_ok(), now);
    }

    /// Takes in an error of the source. With the claims everything that only waits is gone too.
    fn failed(&mut self, call: &'static str, error: &SourceError, now: Instant) {
        tracing::warn!(call, "{error}");
        if !self.rescuer.failed(error, now) {
            return;
        }
        let waiting = self.dispatcher.give_up(now).into_iter().map(|held| held.event);
        let gone: Vec<_> = waiting.chain(self.to_release.drain(..)).collect();
        self.forget(&gone);
    }

    /// The function answers.
    fn answering(&mut self) {
        if matches!(self.mode, Mode::Drained) && self.deadline.is_none() {
            tracing::info!("the function answers, no signal came: polling again");
            self.mode = Mode::Running;
        }
    }

    fn drain(&mut self, reply: Option<oneshot::Sender<()>>) {
        let given_up = self.dispatcher.give_up(Instant::now());
        self.give_back(given_up);
        match &mut self.mode {
            Mode::Draining(replies) => replies.extend(reply),
            Mode::Running => {
                tracing::info!(held = self.held.len(), "draining");
                self.mode = Mode::Draining(reply.into_iter().collect());
            }
            Mode::Drained => {
                self.mode = Mode::Draining(reply.into_iter().collect());
            }
        }
    }

    fn is_drained(&self) -> bool {
        matches!(self.mode, Mode::Draining(_)) && self.held.is_empty() && self.calls.claim.is_none()
    }

    fn drained(&mut self) {
        let Mode::Draining(replies) = std::mem::replace(&mut self.mode, Mode::Drained) else {
            return;
        };
        tracing::info!("drained");
        for reply in replies {
            // Whoever asked may have gone away; the drain stands.
            let _ = reply.send(());
        }
        let target = Arc::clone(&self.target);
        self.calls.gate = Some(
            async move {
                let give_up = Instant::now() + RESUME_AFTER;
                while Instant::now() < give_up && target.answers().await {
                    tokio::time::sleep(RESUME_POLL).await;
                }
                target.wait_until_answering().await;
            }
            .boxed(),
        );
    }

    /// When to look again if nothing happens.
    fn due(&self, now: Instant) -> Instant {
        let mut due = self.rescuer.due();
        if self.calls.upkeep.is_some() {
            due = now + Duration::from_secs(3600);
        }
        let claim = (self.claim_due > now).then_some(self.claim_due);
        let stages = [self.dispatcher.due(), self.completer.due(), claim, self.deadline];
        for other in stages.into_iter().flatten() {
            // What was due before now waits for a call to end, not for time.
            if other > now {
                due = due.min(other);
            }
        }
        due
    }
}

/// The answer of a call that is under way; never, while there is none.
async fn answer<T>(call: &mut Option<BoxFuture<'static, T>>) -> T {
    let Some(running) = call else { return pending().await };
    let answer = running.await;
    *call = None;
    answer
}

/// Why a delivery failed, for the log and the dead letter.
fn reason(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Done => String::new(),
        Outcome::NotSent { reason, detail } => format!("{}: {detail}", reason.label()),
        Outcome::Retry { reason, status, detail, .. } => match status {
            Some(status) => format!("{}: {detail}", status.as_u16()),
            None => format!("{}: {detail}", reason.label()),
        },
        Outcome::Permanent { status, detail, .. } => format!("{}: {detail}", status.as_u16()),
    }
}

fn log_failure<C>(key: &Key, attempt: u32, reason: &str, verdict: &Verdict<C>) {
    match verdict {
        Verdict::Wait(pause) => {
            tracing::warn!(%key, attempt, pause_ms = pause.as_millis(), "delivery failed: {reason}");
        }
        Verdict::Bury(_) => tracing::error!(%key, attempt, "event is dead: {reason}"),
        Verdict::Mark(_) | Verdict::Release(_) => {
            tracing::warn!(%key, attempt, "delivery failed, event released: {reason}");
        }
    }
}
