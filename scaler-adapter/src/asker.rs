//! Asks for replicas: looks at functions whose counts call for it, most waiting requests first.
//!
//! A function is in these hands at most once, so what is kept is bounded by the functions there are.
//! Whether it may ask at all is checked when it starts and every minute: without the right, or without
//! the admission policy that limits it, it asks for nothing and everything is left to the HPA.

mod budget;
mod replicas;

use std::{collections::HashMap, sync::Arc, time::Duration};

use kipper_kubernetes::ScaleError;
use parking_lot::Mutex;
use tokio::{
    task::JoinSet,
    time::{Instant, sleep, sleep_until, timeout},
};

pub use replicas::{Deployments, Replicas};

use budget::Budget;
use replicas::POLICY;

use crate::{
    burst::{Step, Verdict},
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
/// Before a function that is changing, that was scaled by somebody else, or for which there is nothing
/// left of the budget, is looked at again.
const SETTLING: Duration = Duration::from_secs(1);
const RACED: Duration = Duration::from_millis(50);
const SPENT: Duration = Duration::from_millis(100);
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
    is_allowed: bool,
    next_check: Instant,
}

/// What came of a look.
enum Outcome {
    /// Nothing more to do until its counts change.
    Done,
    /// It is to be thought about again.
    Again(Duration),
    /// It may not be asked for anything.
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
        let (is_allowed, next_check) = (false, Instant::now());
        Self { functions, warmup, replicas, budget, metrics, due, looks, is_allowed, next_check }
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
        match checked.unwrap_or_else(|_| Err("no answer".to_owned())) {
            Ok(()) => self.allow(None),
            Err(reason) => self.allow(Some(&reason)),
        }
        let interval = if self.is_allowed { CHECK_INTERVAL } else { RECHECK_INTERVAL };
        self.next_check = Instant::now() + interval;
    }

    fn allow(&mut self, refusal: Option<&str>) {
        match refusal {
            None if !self.is_allowed => tracing::info!("scaling ahead of the HPA"),
            Some(reason) if self.is_allowed || self.metrics.burst_allowed.get() != 0 => {
                tracing::warn!(reason, "not scaling ahead of the HPA");
            }
            _ => {}
        }
        self.is_allowed = refusal.is_none();
        self.metrics.burst_allowed.set(i64::from(self.is_allowed));
    }

    /// New functions to think about, at once.
    fn take(&mut self, found: Vec<FunctionKey>) {
        let now = self.functions.now();
        self.due.extend(found.into_iter().map(|key| (key, now)));
        self.think();
    }

    /// Thinks about what is due and begins to look at what calls for it.
    fn think(&mut self) {
        let now = self.functions.now();
        let is_due = |(key, at): (&FunctionKey, &Duration)| (*at <= now).then(|| key.clone());
        let due: Vec<FunctionKey> = self.due.iter().filter_map(is_due).collect();
        let can_ask = self.is_allowed && self.warmup.is_over();
        let mut looks = Vec::new();
        for key in due {
            match self.functions.step(&key, self.warmup.covered()) {
                Some((Step::Look, waiting)) if can_ask => looks.push((waiting, key)),
                Some((Step::Wait(time), _)) if can_ask => {
                    self.due.insert(key, now + time);
                }
                _ => self.release(&key),
            }
        }
        looks.sort_unstable_by_key(|(waiting, _)| std::cmp::Reverse(*waiting));
        for (_, key) in looks.into_iter().take(MAX_LOOKS - self.looks.len()) {
            self.due.remove(&key);
            self.look(key);
        }
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
            Outcome::Again(after) => {
                self.due.insert(key, self.functions.now() + after);
            }
            Outcome::Done => self.release(&key),
            Outcome::Forbidden(reason) => {
                self.allow(Some(&reason));
                self.next_check = Instant::now() + CHECK_INTERVAL;
                self.release(&key);
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
            // This function's own affair: it may want something else by now than KEDA was told.
            Err(ScaleError::Forbidden(reason)) if reason.contains(POLICY) => {
                tracing::warn!(function = %key.name, namespace = %key.namespace, reason, "not scaled");
                ("refused", Outcome::Again(REFUSED))
            }
            Err(ScaleError::Forbidden(reason)) => ("forbidden", Outcome::Forbidden(reason)),
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
        let Some(more) = more else { return Ok(("limited", Outcome::Again(SPENT))) };
        let to = from + more;
        self.functions.asks(key, to);
        let raised = timeout(CALL_TIMEOUT, self.replicas.raise(namespace, name, from, to)).await;
        self.functions.asked(key, matches!(raised, Ok(Ok(true))));
        match raised {
            Ok(Ok(true)) => {
                tracing::info!(function = %name, %namespace, from, to, "scaled ahead of the HPA");
                self.metrics.asked_replicas.inc_by(more.into());
                Ok(("asked", Outcome::Again(Duration::ZERO)))
            }
            Ok(Ok(false)) => Ok(("raced", Outcome::Again(RACED))),
            Ok(Err(error)) => Err(error),
            Err(_) => Ok(("failed", Outcome::Again(FAILED))),
        }
    }
}

#[cfg(test)]
mod tests;
