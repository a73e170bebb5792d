#![allow(clippy::unwrap_used)]

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
};

use futures_util::future::{BoxFuture, FutureExt as _, ready};
use kipper_kubernetes::Scale;
use kipper_trigger::scaler::Target;
use prometheus::Registry;
use tokio::time::{advance, sleep};
use tokio_util::task::AbortOnDropHandle;

use super::*;
use crate::{
    aggregate::{Cell, Origin, Report},
    burst::Settings,
    clock::Clock,
    functions::Subscription,
    warmup::Expected,
};

const SECOND: Duration = Duration::from_secs(1);

/// A cluster that does as it is asked, when it may be.
#[derive(Default)]
struct Pods {
    scales: Mutex<BTreeMap<String, Scale>>,
    /// Who was raised to what, in order.
    raised: Mutex<Vec<(String, u32)>>,
    has_policy: AtomicBool,
    forbids: AtomicBool,
    refusal: Mutex<&'static str>,
    /// Somebody else scales between a look and an ask.
    races: AtomicBool,
}

impl Pods {
    fn has(&self, name: &str, replicas: u32) {
        let scale = Scale { wanted: replicas, pods: replicas };
        self.scales.lock().insert(name.to_owned(), scale);
    }

    fn raised(&self) -> Vec<(String, u32)> {
        std::mem::take(&mut self.raised.lock())
    }
}

impl Replicas for Pods {
    fn read(&self, _: &str, name: &str) -> BoxFuture<'static, Result<Scale, ScaleError>> {
        ready(self.scales.lock().get(name).copied().ok_or(ScaleError::NotFound)).boxed()
    }

    fn raise(
        &self,
        _: &str,
        name: &str,
        from: u32,
        to: u32,
    ) -> BoxFuture<'static, Result<bool, ScaleError>> {
        if self.forbids.load(Relaxed) {
            let reason = self.refusal.lock().to_owned();
            return ready(Err(ScaleError::Forbidden(reason))).boxed();
        }
        if self.races.swap(false, Relaxed) {
            self.has(name, from + 1);
        }
        let is_same = self.scales.lock().get(name).is_some_and(|scale| scale.wanted == from);
        if is_same {
            self.has(name, to);
            self.raised.lock().push((name.to_owned(), to));
        }
        ready(Ok(is_same)).boxed()
    }

    fn check(&self) -> BoxFuture<'static, Result<(), String>> {
        let is_there = self.has_policy.load(Relaxed);
        ready(is_there.then_some(()).ok_or_else(|| "no policy".to_owned())).boxed()
    }
}

const TARGET: Target = Target::Requests { rate: 1000.0, concurrency: 10 };

/// An asker at work, on paused time.
struct Fixture {
    functions: Arc<Functions>,
    pods: Arc<Pods>,
    metrics: Metrics,
    streams: Vec<Subscription>,
    /// What the interceptor said last of each.
    cells: Mutex<BTreeMap<String, Cell>>,
    _asker: AbortOnDropHandle<()>,
}

impl Fixture {
    async fn start(has_policy: bool) -> Self {
        let metrics = Metrics::register(&Registry::new()).unwrap();
        let clock = Clock::start();
        let functions = Functions::new(1000, clock, metrics.clone());
        functions.set_asker();
        let warmup = Arc::new(Warmup::new(&Expected::default(), SECOND, clock));
        warmup.snapshot(1);
        let pods = Arc::new(Pods::default());
        pods.has_policy.store(has_policy, Relaxed);
        let (told, replicas) = (Arc::clone(&functions), Arc::clone(&pods) as Arc<dyn Replicas>);
        let asker = Asker::new(told, warmup, replicas, metrics.clone());
        let asker = AbortOnDropHandle::new(tokio::spawn(asker.run()));
        // Its first check.
        sleep(Duration::from_millis(1)).await;
        let (streams, cells) = (Vec::new(), Mutex::default());
        Self { functions, pods, metrics, streams, cells, _asker: asker }
    }

    /// A function that takes ten requests at a time, and has so many replicas.
    fn function(&mut self, name: &str, replicas: u32) {
        let settings = Settings::new(10, TARGET);
        let key = FunctionKey::new("shop-prod", name);
        let stream = self.functions.subscribe(key, Some(settings), |_, _| {}).unwrap();
        self.streams.push(stream);
        self.pods.has(name, replicas);
    }

    fn holds(&self, name: &str, held: u32) {
        let origin = Origin { stream: 1, ..Origin::default() };
        let report = Report { total: held.into(), held, base: Some(0), ..Report::default() };
        let function = self.functions.get(FunctionKey::new("shop-prod", name)).unwrap();
        let mut cells = self.cells.lock();
        let cell = cells.entry(name.to_owned()).or_default();
        function.apply(cell, origin, &report, self.functions.now());
    }

    fn looks(&self, outcome: &str) -> u64 {
        self.metrics.asks.with_label_values(&[outcome]).get()
    }
}

fn asked(name: &str, replicas: u32) -> (String, u32) {
    (name.to_owned(), replicas)
}

#[tokio::test(start_paused = true)]
async fn a_full_function_is_given_replicas_and_looked_at_once_more() {
    let mut fixture = Fixture::start(true).await;
    fixture.function("full", 1);
    fixture.holds("full", 30);
    sleep(Duration::from_millis(600)).await;
    assert_eq!(fixture.pods.raised(), [asked("full", 5)]);
    // What KEDA wrote over it is found without another word from the function.
    fixture.pods.has("full", 1);
    sleep(SECOND).await;
    assert_eq!(fixture.pods.raised(), [asked("full", 5)]);
    sleep(SECOND).await;
    assert_eq!(fixture.looks("enough"), 1);
    sleep(10 * SECOND).await;
    assert_eq!((fixture.looks("asked"), fixture.looks("enough")), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn without_the_policy_nothing_is_asked_for() {
    let mut fixture = Fixture::start(false).await;
    fixture.function("full", 1);
    fixture.holds("full", 30);
    sleep(59 * SECOND).await;
    assert_eq!((fixture.pods.raised(), fixture.metrics.burst_allowed.get()), (vec![], 0));
    fixture.pods.has_policy.store(true, Relaxed);
    sleep(6 * SECOND).await;
    assert_eq!(fixture.metrics.burst_allowed.get(), 1);
    fixture.holds("full", 31);
    sleep(SECOND).await;
    assert_eq!(fixture.pods.raised(), [asked("full", 5)]);
}

#[tokio::test(start_paused = true)]
async fn what_is_forbidden_is_not_tried_again_before_the_next_check() {
    let mut fixture = Fixture::start(true).await;
    fixture.function("full", 1);
    fixture.pods.forbids.store(true, Relaxed);
    *fixture.pods.refusal.lock() = "User cannot patch resource";
    fixture.holds("full", 30);
    sleep(SECOND).await;
    for held in 31..50 {
        fixture.holds("full", held);
        sleep(SECOND).await;
    }
    assert_eq!((fixture.looks("forbidden"), fixture.metrics.burst_allowed.get()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn what_the_policy_refuses_to_one_function_is_given_to_others() {
    let mut fixture = Fixture::start(true).await;
    fixture.function("lowered", 1);
    fixture.pods.forbids.store(true, Relaxed);
    *fixture.pods.refusal.lock() =
        "ValidatingAdmissionPolicy 'kipper-scaler-adapter-scale' denied request";
    fixture.holds("lowered", 30);
    sleep(SECOND).await;
    fixture.pods.forbids.store(false, Relaxed);
    fixture.function("full", 1);
    fixture.holds("full", 30);
    sleep(SECOND).await;
    assert_eq!(fixture.pods.raised(), [asked("full", 5)]);
    assert_eq!((fixture.looks("refused"), fixture.metrics.burst_allowed.get()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn without_keda_s_stream_nothing_is_asked_for_and_what_was_is_still_told() {
    let mut fixture = Fixture::start(true).await;
    fixture.function("paused", 1);
    fixture.holds("paused", 30);
    sleep(SECOND).await;
    assert_eq!(fixture.pods.raised(), [asked("paused", 5)]);
    fixture.streams.clear();
    for held in 31..40 {
        fixture.holds("paused", held + 20);
        sleep(SECOND).await;
    }
    assert_eq!(fixture.pods.raised(), []);
    let key = FunctionKey::new("shop-prod", "paused");
    assert!(fixture.functions.held_value(&key, TARGET) > 4.9 * 1000.0);
}

#[tokio::test(start_paused = true)]
async fn zero_is_left_to_keda_and_a_race_is_run_again() {
    let mut fixture = Fixture::start(true).await;
    fixture.function("asleep", 0);
    fixture.holds("asleep", 30);
    sleep(2 * SECOND).await;
    assert_eq!(fixture.pods.raised(), []);
    fixture.pods.races.store(true, Relaxed);
    fixture.pods.has("asleep", 1);
    sleep(2 * SECOND).await;
    assert_eq!(fixture.pods.raised(), [asked("asleep", 5)]);
    assert_eq!(fixture.looks("raced"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_herd_is_served_fairly_and_within_bounds() {
    let mut fixture = Fixture::start(true).await;
    for number in 0..200 {
        fixture.function(&format!("f{number}"), 1);
    }
    for number in 0..200 {
        // Each needs nine more; the later ones have more waiting.
        fixture.holds(&format!("f{number}"), 100 + number);
    }
    let mut order = Vec::new();
    for second in 1..=25_u32 {
        sleep(SECOND).await;
        let raised = fixture.pods.raised();
        assert!(second > 1 || raised.len() <= 40, "{} in the first second", raised.len());
        order.extend(raised.into_iter().map(|(name, _)| name));
        let scales = fixture.pods.scales.lock();
        let pods: u32 = scales.values().map(|scale| scale.wanted).sum();
        assert!(pods <= 200 + 100 * (second + 1), "{pods} pods after {second} s");
    }
    // One that got nine of ten in its turn asks for no tenth: that is less than a quarter more.
    let least = fixture.pods.scales.lock().values().map(|scale| scale.wanted).min();
    assert!(least >= Some(9), "{least:?}");
    let last_of_the_first: Vec<_> = order.iter().take(11).map(String::as_str).collect();
    assert!(last_of_the_first.contains(&"f199"), "most waiting first: {last_of_the_first:?}");
}

#[tokio::test(start_paused = true)]
async fn nothing_is_asked_before_everybody_has_reported() {
    let metrics = Metrics::register(&Registry::new()).unwrap();
    let clock = Clock::start();
    let functions = Functions::new(1000, clock, metrics.clone());
    functions.set_asker();
    let expected = "2".parse().unwrap();
    let warmup = Arc::new(Warmup::new(&expected, 10 * SECOND, clock));
    let pods = Arc::new(Pods::default());
    pods.has_policy.store(true, Relaxed);
    let replicas = Arc::clone(&pods) as Arc<dyn Replicas>;
    let asker = Asker::new(Arc::clone(&functions), warmup, replicas, metrics.clone());
    let asker = AbortOnDropHandle::new(tokio::spawn(asker.run()));
    let (streams, cells) = (Vec::new(), Mutex::default());
    let mut fixture = Fixture { functions, pods, metrics, streams, cells, _asker: asker };
    fixture.function("full", 1);
    fixture.holds("full", 30);
    advance(9 * SECOND).await;
    sleep(SECOND / 2).await;
    assert_eq!(fixture.pods.raised(), []);
    sleep(SECOND).await;
    fixture.holds("full", 31);
    sleep(SECOND).await;
    assert_eq!(fixture.pods.raised(), [asked("full", 5)]);
}
