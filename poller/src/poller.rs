//! The loop: one task that owns all state, starts every call and takes in every answer.
//!
//! source → dispatcher → target → completer → source. Nothing here waits inside a step, and no call
//! to the source is dropped before it ends. The stages decide; this file carries their decisions
//! out and keeps the one list of what is held.

mod attempt;
mod calls;
mod draining;
mod failure;
mod keepalive;
mod settings;

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use futures_util::{FutureExt as _, StreamExt as _};
use kipper_process::backoff::Backoff;
use kipper_trigger::one_line;
use tokio::{
    sync::{Notify, mpsc, oneshot},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

pub use self::settings::Settings;
use self::{
    calls::{Calls, ClaimEnded, CompleteEnded, DeliveryEnded, ReleaseEnded, ended},
    failure::{log_failure, reason},
};
use crate::{
    completer::{Completed, Completer},
    dispatcher::{Dispatcher, Held, Limits, Verdict},
    drain::DrainRequest,
    identity::Identity,
    metrics::Metrics,
    reach::Reach,
    rescuer::Rescuer,
    retry::Ending,
    source::{Event, Key, Source, SourceError, Unusable, Wanted},
    target::{Outcome, Target},
};

/// Longest pause between two claims that fail.
const MAX_CLAIM_PAUSE: Duration = Duration::from_secs(30);
/// Pauses between claims that fail.
const CLAIM_BACKOFF: Backoff = Backoff::new(Duration::from_millis(100), MAX_CLAIM_PAUSE);
/// Pause after claims that could not be given up.
const RELEASE_PAUSE: Duration = Duration::from_secs(1);

/// What the loop is doing as a whole.
#[derive(Debug)]
enum Mode {
    Running,
    /// Finishing what runs, for whoever asked.
    Draining(Vec<oneshot::Sender<()>>),
    /// Nothing is held. Runs again when the function has been away and answers, see
    /// `draining`.
    Drained,
}

type Claim<S> = <S as Source>::Claim;

/// One trigger of one function. See the module.
pub struct Poller<S: Source> {
    source: Arc<S>,
    target: Arc<Target>,
    identity: Identity,
    settings: Settings,
    metrics: Metrics,
    reach: Reach,
    /// Notified when a claim has brought as much as was asked for: there may be more than this pod can take.
    overload: Arc<Notify>,
    dispatcher: Dispatcher<Claim<S>>,
    completer: Completer<Claim<S>>,
    rescuer: Rescuer,
    calls: Calls<Claim<S>>,
    /// Everything claimed and not yet released, in whatever state.
    held: HashMap<Key, Arc<Event<Claim<S>>>>,
    held_bytes: usize,
    /// Held events that another pod has claimed since this one's claims were lost. What runs here ends
    /// here; nothing more is done for them.
    lost_claims: HashSet<Key>,
    /// Not needed any more, still claimed.
    to_release: Vec<Arc<Event<Claim<S>>>>,
    mode: Mode,
    /// Set by the signal: when to end at the latest.
    deadline: Option<Instant>,
    /// When a handler or a call to the source has ended last.
    progress: Instant,
    release_due: Instant,
    claim_due: Instant,
    claim_backoff: Backoff,
}

impl<S: Source> Poller<S> {
    /// A poller that has claimed nothing yet. The source is connected.
    pub(crate) fn new(
        source: Arc<S>,
        target: Arc<Target>,
        identity: Identity,
        settings: Settings,
        metrics: Metrics,
        reach: Reach,
        overload: Arc<Notify>,
    ) -> Self {
        let now = Instant::now();
        let limits = Limits {
            concurrency: settings.concurrency,
            max_held: settings.max_held,
            max_attempts: settings.max_attempts,
            dead_letters: source.has_dead_letters(),
        };
        let gate = Arc::clone(&target);
        let calls = Calls::new(async move { gate.wait_until_answering().await }.boxed());
        Self {
            source,
            target,
            identity,
            settings,
            metrics,
            reach,
            overload,
            dispatcher: Dispatcher::new(limits, now),
            completer: Completer::default(),
            rescuer: Rescuer::new(now),
            calls,
            held: HashMap::new(),
            held_bytes: 0,
            lost_claims: HashSet::new(),
            to_release: Vec::new(),
            mode: Mode::Running,
            deadline: None,
            progress: now,
            release_due: now,
            claim_due: now,
            claim_backoff: CLAIM_BACKOFF,
        }
    }

    /// Polls until `shutdown` and until everything held is marked or released.
    pub async fn run(
        mut self,
        shutdown: CancellationToken,
        drains: &mut mpsc::Receiver<DrainRequest>,
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
                Some(delivery) = self.calls.deliveries.next() => {
                    self.progress = Instant::now();
                    self.delivered(delivery);
                    while let Some(Some(more)) = self.calls.deliveries.next().now_or_never() {
                        self.delivered(more);
                    }
                }
                Some(reread) = self.calls.rereads.next() => {
                    self.progressed(reread.result.is_ok());
                    self.reread(reread);
                }
                claim = ended(&mut self.calls.claim) => {
                    self.progressed(claim.result.is_ok());
                    self.claimed(claim);
                }
                complete = ended(&mut self.calls.complete) => {
                    self.progressed(complete.result.is_ok());
                    self.completed(complete);
                }
                release = ended(&mut self.calls.release) => {
                    self.progressed(release.result.is_ok());
                    self.released(release);
                }
                keepalive = ended(&mut self.calls.keepalive) => self.kept_alive(keepalive),
                () = ended(&mut self.calls.gate) => self.answering(),
                Some(request) = drains.recv() => self.drain(Some(request.done)),
                () = &mut shutdown, if self.deadline.is_none() => {
                    self.deadline = Some(Instant::now() + self.settings.drain_deadline);
                    self.progress = Instant::now();
                    self.drain(None);
                }
                () = tokio::time::sleep_until(due) => {}
            }
            if self.end().is_some_and(|end| Instant::now() >= end) {
                let (held, unmarked) = (self.held.len(), self.completer.unmarked());
                tracing::error!(held, unmarked, "ended with events neither marked nor released");
                return;
            }
        }
    }

    /// Starts whatever may be started now.
    fn start(&mut self, now: Instant) {
        self.start_keepalive(now);
        // What failed meanwhile may be another pod's by now.
        if self.calls.gate.is_none() && self.rescuer.claims() {
            while let Some(held) = self.dispatcher.next(now) {
                self.attempt(held);
            }
        }
        self.start_completion(now);
        self.start_release(now);
        self.start_claim(now);
        self.metrics.held.set(self.held.len());
        self.metrics.held_bytes.set(self.held_bytes);
        self.metrics.unmarked.set(self.completer.unmarked());
        self.metrics.failing.set(self.dispatcher.failing());
        self.metrics.suppressed.set(self.completer.suppressed().len());
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
                let result = match work.dead() {
                    None => source.ack(&events, work.retried()).await,
                    Some((reason, attempts)) => {
                        let mark = source.fail(&events[0], reason, attempts, work.retried()).await;
                        mark.map(|mark| vec![mark])
                    }
                };
                CompleteEnded { work, result }
            }
            .boxed(),
        );
    }

    fn start_release(&mut self, now: Instant) {
        let idle = self.calls.release.is_none() && self.rescuer.claims();
        if !idle || now < self.release_due || self.to_release.is_empty() {
            return;
        }
        let events = std::mem::take(&mut self.to_release);
        let (others, events): (Vec<_>, Vec<_>) =
            events.into_iter().partition(|event| self.lost_claims.contains(&event.key));
        self.forget(&others);
        if events.is_empty() {
            return;
        }
        let source = Arc::clone(&self.source);
        self.calls.release = Some(
            async move {
                let result = source.release(&events).await;
                ReleaseEnded { events, result }
            }
            .boxed(),
        );
    }

    fn start_claim(&mut self, now: Instant) {
        let may = self.may_hold() && self.rescuer.claims() && self.calls.claim.is_none();
        if !may || now < self.claim_due {
            return;
        }
        let bytes = self.settings.max_held_bytes.saturating_sub(self.held_bytes);
        let events = self.dispatcher.wanted(self.held.len(), now);
        if events == 0 || bytes == 0 {
            return;
        }
        if self.completer.is_full() {
            tracing::warn!("too many handled events still match; claiming paused");
            self.claim_due = now + MAX_CLAIM_PAUSE;
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
                        Err(error) => {
                            return ClaimEnded { wanted: events, suppressed, result: Err(error) };
                        }
                    }
                    // One that changed or went is claimed by the next claim, not by this one.
                    except.extend(suppressed.iter().cloned());
                }
                let wanted = Wanted { events, bytes, except: &except };
                let result = source.claim(wanted).await.map(|claimed| (peeked, claimed));
                ClaimEnded { wanted: events, suppressed, result }
            }
            .boxed(),
        );
    }

    /// Takes in what a claim brought.
    fn claimed(&mut self, ended: ClaimEnded<Claim<S>>) {
        let now = Instant::now();
        let ClaimEnded { wanted, suppressed, result } = ended;
        let (peeked, claimed) = match result {
            Ok(answer) => answer,
            Err(error) => return self.claim_failed(&error, now),
        };
        self.claim_backoff.reset();
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
        if found == wanted || claimed.more {
            self.overload.notify_one();
        }
        // More than probes, asked for before the function was taken to be down, is too much now.
        let probes = wanted <= self.settings.concurrency;
        let wanted_now = self.may_hold() && (probes || !self.dispatcher.is_open());
        for event in claimed.events {
            self.held_bytes += event.body.len();
            let key = event.key.clone();
            if wanted_now {
                let event = self.dispatcher.accept(event);
                self.held.insert(key, event);
            } else {
                let event = Arc::new(event);
                self.held.insert(key, Arc::clone(&event));
                self.to_release.push(event);
            }
        }
        let again = self.dispatcher.claimed(found > 0);
        if found == 0 && !claimed.more && !again {
            self.claim_due = now + self.settings.poll_interval;
        }
    }

    fn claim_failed(&mut self, error: &SourceError, now: Instant) {
        self.failed("claim", error, now);
        self.claim_due = now + self.claim_backoff.pause();
    }

    /// Takes in how a delivery ended.
    fn delivered(&mut self, ended: DeliveryEnded<Claim<S>>) {
        let DeliveryEnded { held, outcome, took } = ended;
        let now = Instant::now();
        self.metrics.delivered(&outcome, took);
        let (key, attempt) = (held.event.key.clone(), held.attempts + 1);
        let event = Arc::clone(&held.event);
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
        let owned = !self.lost_claims.contains(&key);
        let verdict = self.dispatcher.ended(held, ending, owned, now, fastrand::f64());
        if ending != Ending::Done {
            log_failure(&key, attempt, &reason, &verdict);
        }
        match verdict {
            Verdict::Mark(held) => self.completer.finished(held),
            Verdict::DeadLetter(held) => {
                self.metrics.dead.inc();
                self.completer.dead(held, reason);
            }
            Verdict::Wait(_) if !self.may_hold() => {
                let given_up = self.dispatcher.give_up(now);
                self.give_back(given_up);
            }
            Verdict::Wait(pause) => self.source.attempted(&event, attempt, pause),
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

    /// False while draining, and while the function does not answer: nothing may wait here then.
    fn may_hold(&self) -> bool {
        matches!(self.mode, Mode::Running) && self.calls.gate.is_none()
    }

    fn give_back(&mut self, given_up: Vec<Held<Claim<S>>>) {
        let now = Instant::now();
        for held in &given_up {
            if let Some((attempts, due)) = self.dispatcher.resting(&held.event.key) {
                let rest = due.saturating_duration_since(now);
                self.source.attempted(&held.event, attempts, rest);
            }
        }
        self.to_release.extend(given_up.into_iter().map(|held| held.event));
    }

    fn completed(&mut self, ended: CompleteEnded<Claim<S>>) {
        let now = Instant::now();
        let CompleteEnded { work, result } = ended;
        if let Err(error) = &result {
            self.failed("mark", error, now);
        }
        let Completed { released, failures } = self.completer.completed(work, result, now);
        for (key, text) in failures {
            self.metrics.mark_failures.inc();
            let text = one_line(&text);
            tracing::error!(%key, "mark failed, to be tried again: {text}");
        }
        for (held, rows) in released {
            if rows == Some(0) {
                tracing::warn!(key = %held.event.key, "the mark changed no row");
            }
            self.to_release.push(held.event);
        }
    }

    fn released(&mut self, ended: ReleaseEnded<Claim<S>>) {
        let ReleaseEnded { events, result } = ended;
        let Err(error) = result else { return self.forget(&events) };
        let now = Instant::now();
        if matches!(error, SourceError::Lost(_)) {
            // The session has released everything.
            self.forget(&events);
        } else {
            self.to_release.extend(events);
            self.release_due = now + RELEASE_PAUSE;
        }
        self.failed("release", &error, now);
    }

    fn forget(&mut self, events: &[Arc<Event<Claim<S>>>]) {
        for event in events {
            if self.held.remove(&event.key).is_some() {
                self.held_bytes -= event.body.len();
            }
            self.lost_claims.remove(&event.key);
        }
    }

    /// When to look again if nothing happens.
    fn due(&self, now: Instant) -> Instant {
        let mut due = self.rescuer.due();
        let waits = due <= now && self.calls.release.is_some();
        if self.calls.keepalive.is_some() || waits {
            due = now + Duration::from_secs(3600);
        }
        let (claim, release) = (Some(self.claim_due), Some(self.release_due));
        let stages = [self.dispatcher.due(), self.completer.due(), claim, release, self.end()];
        for other in stages.into_iter().flatten() {
            // What was due before now waits for a call to end, not for time.
            if other > now {
                due = due.min(other);
            }
        }
        due
    }
}
