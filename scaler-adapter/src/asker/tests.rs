#![allow(clippy::unwrap_used)]

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed},
};

use futures_util::future::{BoxFuture, FutureExt as _, pending, ready};
use kipper_kubernetes::Scale;
use kipper_trigger::scaler::Target;
use kube::core::Status;
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
    reads: AtomicU32,
    has_policy: AtomicBool,
    forbids: AtomicBool,
    refusal: Mutex<&'static str>,
    /// Somebody else scales between a look and an ask.
    races: AtomicBool,
    /// A write is done, and its answer is lost.
    loses: AtomicBool,
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
        self.reads.fetch_add(1, Relaxed);
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
        if self.loses.swap(false, Relaxed) {
            self.has(name, to);
            return ready(Err(lost())).boxed();
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

/// A connection that broke.
fn lost() -> ScaleError {
    ScaleError::Api(kube::Error::Service("broken".into()))
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
    // What was counted meanwhile is thought about without another word.
    sleep(SECOND).await;
    assert_eq!(fixture.pods.raised(), [asked("full", 5)]);
}

#[tokio::test(start_paused = true)]
async fn why_nothing_may_be_asked_for_is_said_from_the_start_and_whenever_it_changes() {
    let metrics = Metrics::register(&Registry::new()).unwrap();
    let clock = Clock::start();
    let functions = Functions::new(1000, clock, metrics.clone());
    let warmup = Arc::new(Warmup::new(&Expected::default(), SECOND, clock));
    let replicas: Arc<dyn Replicas> = Arc::new(Pods::default());
    let mut asker = Asker::new(functions, warmup, replicas, metrics.clone());
    for (refusal, is_news) in [
        (Some("no policy"), true),
        (Some("no policy"), false),
        (Some("no right"), true),
        (None, true),
        (None, false),
        (Some("no right"), true),
    ] {
        assert_eq!(asker.note(refusal.map(str::to_owned)), is_news, "{refusal:?}");
        assert_eq!(metrics.burst_allowed.get(), i64::from(refusal.is_none()));
    }
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

/// What is refused to one function is given to the next.
async fn refused_to_one(refusal: &'static str) -> Fixture {
    let mut fixture = Fixture::start(true).await;
    fixture.function("large", 1);
    fixture.pods.forbids.store(true, Relaxed);
    *fixture.pods.refusal.lock() = refusal;
    fixture.holds("large", 30);
    sleep(SECOND).await;
    fixture.pods.forbids.store(false, Relaxed);
    fixture.function("full", 1);
    fixture.holds("full", 30);
    sleep(SECOND).await;
    assert_eq!(fixture.pods.raised(), [asked("full", 5)]);
    assert_eq!((fixture.looks("refused"), fixture.metrics.burst_allowed.get()), (1, 1));
    fixture
}

#[tokio::test(start_paused = true)]
async fn what_the_policy_refuses_to_one_function_is_given_to_others() {
    refused_to_one("ValidatingAdmissionPolicy 'kipper-scaler-adapter-scale' denied request").await;
}

#[tokio::test(start_paused = true)]
async fn what_somebody_else_refuses_to_one_function_is_checked_for_all() {
    let webhook = "admission webhook \"limits.example\" denied the request: too many";
    let fixture = refused_to_one(webhook).await;
    // The check comes long before its minute is over.
    fixture.pods.has_policy.store(false, Relaxed);
    sleep(4 * SECOND).await;
    assert_eq!(fixture.metrics.burst_allowed.get(), 0);
}

#[test]
fn who_refuses_is_told_by_the_api_server_s_words() {
    for (reason, refuser) in [
        (
            "ValidatingAdmissionPolicy 'kipper-scaler-adapter-scale' denied request",
            Refuser::OwnPolicy,
        ),
        (
            "ValidatingAdmissionPolicy 'kipper-scaler-adapter-maximum' denied request",
            Refuser::OwnPolicy,
        ),
        ("ValidatingAdmissionPolicy 'limits.example' denied request", Refuser::Other),
        ("admission webhook \"limits.example\" denied the request", Refuser::Other),
        ("User \"adapter\" cannot patch resource \"deployments/scale\"", Refuser::Role),
        ("User \"adapter\" cannot get resource \"deployments/scale\"", Refuser::Role),
    ] {
        assert_eq!(Refuser::of(reason), refuser, "{reason}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_write_whose_answer_is_lost_is_held_and_looked_at() {
    let mut fixture = Fixture::start(true).await;
    fixture.function("full", 1);
    fixture.pods.loses.store(true, Relaxed);
    fixture.holds("full", 30);
    sleep(SECOND).await;
    let key = FunctionKey::new("shop-prod", "full");
    assert!(fixture.functions.held_value(&key, TARGET) > 4.9 * 1000.0);
    assert_eq!((fixture.looks("failed"), fixture.looks("enough")), (1, 0));
    sleep(FAILED).await;
    assert_eq!((fixture.pods.raised(), fixture.looks("enough")), (vec![], 1));
}

#[tokio::test(start_paused = true)]
async fn only_what_the_api_server_refuses_is_certainly_not_written() {
    let status = |code| {
        let status = Status { code, ..Status::default() };
        Ok(Err(ScaleError::Api(kube::Error::Api(Box::new(status)))))
    };
    let late = timeout(CALL_TIMEOUT, pending()).await;
    for (raised, expected) in [
        (Ok(Ok(true)), Answer::Given),
        (Ok(Ok(false)), Answer::Raced),
        (status(409), Answer::Raced),
        (status(429), Answer::Refused),
        (Ok(Err(ScaleError::NotFound)), Answer::Refused),
        (Ok(Err(ScaleError::Forbidden(String::new()))), Answer::Refused),
        (status(504), Answer::Unknown),
        (Ok(Err(lost())), Answer::Unknown),
        (late, Answer::Unknown),
    ] {
        assert_eq!(answer(&raised), expected, "{raised:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_counted_before_keda_s_stream_opened_is_thought_about() {
    let mut fixture = Fixture::start(true).await;
    fixture.holds("early", 30);
    sleep(SECOND).await;
    fixture.function("early", 1);
    sleep(SECOND).await;
    assert_eq!(fixture.pods.raised(), [asked("early", 5)]);
}

#[tokio::test(start_paused = true)]
async fn events_are_forgotten_with_the_last_stream_of_their_trigger() {
    let mut fixture = Fixture::start(true).await;
    for (name, left, expected) in [("thumbs", 1, vec![asked("thumbs", 4)]), ("removed", 0, vec![])]
    {
        // It is served too, so the function stays.
        fixture.function(name, 1);
        let open = || {
            let settings = Settings::new(10, Target::Bucket(25.0));
            let key = FunctionKey::new("shop-prod", name);
            fixture.functions.subscribe_to_events(key, Some(settings)).unwrap()
        };
        let mut streams = vec![open(), open()];
        streams[0].count_events(100);
        streams.truncate(left);
        sleep(SECOND).await;
        assert_eq!(fixture.pods.raised(), expected, "{name}");
    }
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
async fn what_keda_wakes_has_its_replicas_at_once() {
    let mut fixture = Fixture::start(true).await;
    fixture.function("asleep", 0);
    fixture.holds("asleep", 30);
    sleep(Duration::from_millis(550)).await;
    assert_eq!(fixture.looks("asleep"), 1);
    fixture.pods.has("asleep", 1);
    sleep(WAKING).await;
    assert_eq!(fixture.pods.raised(), [asked("asleep", 5)]);
    // One that stays asleep is looked at as often as any other.
    fixture.function("disabled", 0);
    fixture.holds("disabled", 30);
    sleep(3 * SECOND).await;
    let looks = fixture.looks("asleep") - 1;
    assert!((5..=7).contains(&looks), "{looks} looks");
}

#[tokio::test(start_paused = true)]
async fn a_race_is_run_again_at_once() {
    let mut fixture = Fixture::start(true).await;
    fixture.function("raced", 1);
    fixture.pods.races.store(true, Relaxed);
    fixture.holds("raced", 30);
    sleep(Duration::from_millis(600)).await;
    assert_eq!((fixture.looks("raced"), fixture.pods.raised()), (1, vec![asked("raced", 5)]));
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
        let reads = fixture.pods.reads.swap(0, Relaxed);
        // Eight whenever there are ten pods again, where every look cost 400.
        assert!(reads <= 100, "{reads} reads in second {second}");
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
    sleep(2 * SECOND).await;
    assert_eq!(fixture.pods.raised(), [asked("full", 5)]);
}
