//! Asks for replicas: looks at functions whose counts call for it, most waiting requests first.
//!
//! A function is in these hands at most once, so what is kept is bounded by the functions there are.
//! Whether it may ask at all is checked when it starts, every minute, and when somebody refuses: without
//! the right, or without the admission policy that limits it, it asks for nothing and everything is left
//! to the HPA.

mod budget;
mod replicas;

use std::{collections::HashMap, sync::Arc, time::Duration};

use kipper_kubernetes::ScaleError;
use parking_lot::Mutex;
use tokio::{
    task::JoinSet,
    time::{Instant, error::Elapsed, sleep, sleep_until, timeout},
};

pub use replicas::{Deployments, Replicas};

use budget::Budget;
use replicas::Refuser;

use crate::{
    burst::{Answer, Step, Verdict},
    functions::{FunctionKey, Functions},
    metrics::Metrics,
    warmup::Warmup,
};

/// Functions looked at at a time.
const MAX_LOOKS: usize = 8;
/// For one read or write.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);
/// How often it is checked whether replicas may be asked for, and while they may not: a policy is not in
/// force at once.
const CHECK_INTERVAL: Duration = Duration::from_secs(60);
const RECHECK_INTERVAL: Duration = Duration::from_secs(5);
/// KEDA's write from zero to one comes within this.
const WAKING: Duration = Duration::from_millis(150);
/// Before a function that is changing, or that was scaled by somebody else, is looked at again.
const SETTLING: Duration = Duration::from_secs(1);
const RACED: Duration = Duration::from_millis(50);
/// While some functions wait for a look, looks are given out this often, to those with most waiting.
const ROUND: Duration = Duration::from_millis(50);
/// Before one is thought about again while nobody may ask.
const CLOSED: Duration = Duration::from_secs(1);
/// After a failure, and while pods or replicas are refused.
const FAILED: Duration = Duration::from_secs(2);
const REFUSED: Duration = Duration::from_secs(30);

/// The task that asks.
pub(crate) struct Asker {
    functions: Arc<Functions>,
    warmup: Arc<Warmup>,
    replicas: Arc<dyn Replicas>,
    budget: Arc<Mutex<Budget>>,
    metrics: Metrics,
    /// Functions to think about again, and when.
    due: HashMap<FunctionKey, Duration>,
    looks: JoinSet<(FunctionKey, Outcome)>,
    /// When looks are given out again.
    next_round: Duration,
    /// Why nothing may be asked for, if nothing may.
    refusal: Option<String>,
    checked: Instant,
    next_check: Instant,
}

/// What came of a look.
enum Outcome {
    /// Nothing more to do until its counts change.
    Done,
    /// It is to be thought about again.
    Again(Duration),
    /// Somebody refuses it, perhaps to others as well: that is to be checked.
    Refused,
    /// Nothing may be asked for.
    Forbidden(String),
}

impl Asker {
    pub(crate) fn new(
        functions: Arc<Functions>,
        warmup: Arc<Warmup>,
        replicas: Arc<dyn Replicas>,
        metrics: Metrics,
    ) -> Self {
        let budget = Arc::new(Mutex::new(Budget::new(functions.now())));
        let (due, looks) = (HashMap::new(), JoinSet::new());
        let refusal = Some("not checked yet".to_owned());
        let (checked, next_check) = (Instant::now(), Instant::now());
        Self {
            functions,
            warmup,
            replicas,
            budget,
            metrics,
            due,
            looks,
            next_round: Duration::ZERO,
            refusal,
            checked,
            next_check,
        }
    }

    /// Never ends by itself.
    pub(crate) async fn run(mut self) {
        loop {
            let now = self.functions.now();
            let next = self.due.values().min().map(|due| due.saturating_sub(now));
            let is_free = self.looks.len() < MAX_LOOKS;
            tokio::select! {
                () = sleep_until(self.next_check) => self.check().await,
                found = self.functions.bursting() => self.take(found),
                Some(looked) = self.looks.join_next() => match looked {
                    Ok((key, outcome)) => self.looked(key, outcome),
                    // A bug, logged as such where panics are; its function is not asked for again
                    // before its stream is opened anew.
                    Err(_) => self.metrics.asks.with_label_values(&["failed"]).inc(),
                },
                () = sleep(next.unwrap_or_default()), if next.is_some() && is_free => self.think(),
            }
        }
    }

    async fn check(&mut self) {
        let checked = timeout(CALL_TIMEOUT, self.replicas.check()).await;
        self.allow(checked.unwrap_or_else(|_| Err("no answer".to_owned())).err());
        let interval = if self.refusal.is_none() { CHECK_INTERVAL } else { RECHECK_INTERVAL };
        self.checked = Instant::now();
        self.next_check = self.checked + interval;
    }

    /// Takes in whether anything may be asked for, and why not.
    fn allow(&mut self, refusal: Option<String>) {
        if self.note(refusal) {
            match &self.refusal {
                None => tracing::info!("scaling ahead of the HPA"),
                Some(reason) => tracing::warn!(%reason, "not scaling ahead of the HPA"),
            }
        }
    }

    /// Whether that is news.
    fn note(&mut self, refusal: Option<String>) -> bool {
        self.metrics.burst_allowed.set(i64::from(refusal.is_none()));
        std::mem::replace(&mut self.refusal, refusal) != self.refusal
    }

    /// New functions to think about, at once.
    fn take(&mut self, found: Vec<FunctionKey>) {
        let now = self.functions.now();
        self.due.extend(found.into_iter().map(|key| (key, now)));
        self.think();
    }

    /// Thinks about what is due and begins to look at what calls for it. What has to wait is thought about
    /// again, because its counts may not change meanwhile.
    fn think(&mut self) {
        let now = self.functions.now();
        let is_due = |(key, at): (&FunctionKey, &Duration)| (*at <= now).then(|| key.clone());
        let due: Vec<FunctionKey> = self.due.iter().filter_map(is_due).collect();
        let can_ask = self.refusal.is_none() && self.warmup.is_over();
        let mut looks = Vec::new();
        for key in due {
            match self.functions.step(&key, self.warmup.covered()) {
                None | Some((Step::Rest, _)) => self.release(&key),
                Some(_) if !can_ask => self.put_off(key, CLOSED),
                Some((Step::Wait(time), _)) => self.put_off(key, time),
                Some((Step::Look, waiting)) => looks.push((waiting, key)),
            }
        }
        looks.sort_unstable_by_key(|(waiting, _)| std::cmp::Reverse(*waiting));
        let free = self.free_looks(now);
        if looks.len() > free && now >= self.next_round {
            self.next_round = now + ROUND;
        }
        for (place, (_, key)) in looks.into_iter().enumerate() {
            if place < free {
                self.due.remove(&key);
                self.look(key);
            } else {
                self.due.insert(key, self.next_round);
            }
        }
    }

    /// Looks that can be begun. Whoever comes while some wait for theirs waits with them: else those with
    /// little waiting, who come at the right moment, had theirs first.
    fn free_looks(&self, now: Duration) -> usize {
        if now < self.next_round {
            return 0;
        }
        let most = MAX_LOOKS.min(self.budget.lock().looks(now));
        most.saturating_sub(self.looks.len())
    }

    fn put_off(&mut self, key: FunctionKey, pause: Duration) {
        self.due.insert(key, self.functions.now() + pause);
    }

    fn look(&mut self, key: FunctionKey) {
        self.functions.looks(&key);
        let look = Look {
            functions: Arc::clone(&self.functions),
            warmup: Arc::clone(&self.warmup),
            replicas: Arc::clone(&self.replicas),
            budget: Arc::clone(&self.budget),
            metrics: self.metrics.clone(),
        };
        self.looks.spawn(async move {
            let outcome = look.run(&key).await;
            (key, outcome)
        });
    }

    fn looked(&mut self, key: FunctionKey, outcome: Outcome) {
        match outcome {
            Outcome::Again(after) => self.put_off(key, after),
            Outcome::Done => self.release(&key),
            Outcome::Refused => {
                // At once, but not for each of many that are refused.
                self.next_check = self.next_check.min(self.checked + RECHECK_INTERVAL);
                self.put_off(key, REFUSED);
            }
            Outcome::Forbidden(reason) => {
                self.allow(Some(reason));
                self.next_check = Instant::now() + CHECK_INTERVAL;
                self.put_off(key, CLOSED);
            }
        }
    }

    /// The next update of the function decides anew.
    fn release(&mut self, key: &FunctionKey) {
        self.due.remove(key);
        self.functions.release(key);
    }
}

/// One look at one function.
struct Look {
    functions: Arc<Functions>,
    warmup: Arc<Warmup>,
    replicas: Arc<dyn Replicas>,
    budget: Arc<Mutex<Budget>>,
    metrics: Metrics,
}

impl Look {
    async fn run(&self, key: &FunctionKey) -> Outcome {
        let (outcome, then) = match self.ask(key).await {
            Ok(ended) => ended,
            Err(ScaleError::NotFound) => ("gone", Outcome::Done),
            Err(ScaleError::Forbidden(reason)) => match Refuser::of(&reason) {
                Refuser::Role => ("forbidden", Outcome::Forbidden(reason)),
                refuser => {
                    tracing::warn!(function = %key.name, namespace = %key.namespace, reason, "not scaled");
                    let is_own = refuser == Refuser::OwnPolicy;
                    ("refused", if is_own { Outcome::Again(REFUSED) } else { Outcome::Refused })
                }
            },
            Err(ScaleError::Api(error)) => {
                tracing::warn!(function = %key.name, namespace = %key.namespace, %error, "not scaled");
                ("failed", Outcome::Again(FAILED))
            }
        };
        self.metrics.asks.with_label_values(&[outcome]).inc();
        then
    }

    /// What happened, as the metric has it, and what is to follow.
    async fn ask(&self, key: &FunctionKey) -> Result<(&'static str, Outcome), ScaleError> {
        let FunctionKey { namespace, name } = key;
        let read = timeout(CALL_TIMEOUT, self.replicas.read(namespace, name)).await;
        let Ok(scale) = read else { return Ok(("failed", Outcome::Again(FAILED))) };
        let scale = scale?;
        let replicas = match self.functions.saw(key, scale, self.warmup.covered()) {
            None => return Ok(("gone", Outcome::Done)),
            // Thought about once more: what waits may not have waited long enough yet.
            Some(Verdict::Enough) => return Ok(("enough", Outcome::Again(Duration::ZERO))),
            Some(Verdict::Asleep) => return Ok(("asleep", Outcome::Again(WAKING))),
            Some(Verdict::Changing) => return Ok(("changing", Outcome::Again(SETTLING))),
            Some(Verdict::Stuck) => return Ok(("stuck", Outcome::Again(REFUSED))),
            Some(Verdict::Ask(replicas)) => replicas,
        };
        let from = scale.wanted;
        let more = self.budget.lock().take(replicas.saturating_sub(from), self.functions.now());
        let Some(more) = more else { return Ok(("limited", Outcome::Again(ROUND))) };
        let to = from + more;
        self.functions.asks(key, to);
        let raised = timeout(CALL_TIMEOUT, self.replicas.raise(namespace, name, from, to)).await;
        let answer = answer(&raised);
        self.functions.asked(key, answer);
        if matches!(answer, Answer::Raced | Answer::Refused) {
            self.budget.lock().give_back(more);
        }
        match (answer, raised) {
            (Answer::Given, _) => {
                tracing::info!(function = %name, %namespace, from, to, "scaled ahead of the HPA");
                self.metrics.asked_replicas.inc_by(more.into());
                Ok(("asked", Outcome::Again(Duration::ZERO)))
            }
            (Answer::Raced, _) => Ok(("raced", Outcome::Again(RACED))),
            (_, Ok(Err(error))) => Err(error),
            _ => Ok(("failed", Outcome::Again(FAILED))),
        }
    }
}

/// What came of a write. What ended without a word of the API server may have been written.
fn answer(raised: &Result<Result<bool, ScaleError>, Elapsed>) -> Answer {
    match raised {
        Ok(Ok(true)) => Answer::Given,
        Ok(Ok(false)) => Answer::Raced,
        Ok(Err(ScaleError::NotFound | ScaleError::Forbidden(_))) => Answer::Refused,
        Ok(Err(ScaleError::Api(kube::Error::Api(status)))) => match status.code {
            409 => Answer::Raced,
            // It gave up on what may still be done.
            500.. => Answer::Unknown,
            _ => Answer::Refused,
        },
        Ok(Err(ScaleError::Api(_))) | Err(_) => Answer::Unknown,
    }
}

#[cfg(test)]
mod tests;
