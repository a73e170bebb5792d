#![allow(clippy::unwrap_used)]

use std::collections::HashMap;

use futures_util::{FutureExt, StreamExt};
use prometheus::Registry;
use tokio::time::advance;

use super::*;
use crate::{
    aggregate::{Cell, Origin, Report},
    clock::Clock,
    warmup::Expected,
};

/// A scaler fed directly, on paused time.
struct Fixture {
    scaler: Scaler,
    told: Report,
    cell: Cell,
}

impl Fixture {
    fn new() -> Self {
        let metrics = Metrics::register(&Registry::new()).unwrap();
        let clock = Clock::start();
        let functions = Functions::new(1000, clock, metrics.clone());
        let warmup = Arc::new(Warmup::new(&Expected::default(), Duration::from_secs(10), clock));
        warmup.snapshot(1);
        let shutdown = CancellationToken::new();
        let scaler = Scaler::new(functions, warmup, metrics, shutdown);
        let told = Report { base: Some(0), ..Report::default() };
        Self { scaler, told, cell: Cell::default() }
    }

    fn tell(&mut self, change: impl FnOnce(&mut Report)) {
        change(&mut self.told);
        let origin = Origin { stream: 1, ..Origin::default() };
        let functions = &self.scaler.functions;
        let function = functions.get(FunctionKey::new("shop-prod", "hello")).unwrap();
        function.apply(&mut self.cell, origin, &self.told, functions.now());
    }

    fn request(&mut self) {
        self.tell(|told| {
            told.total += 1;
            told.idle = Duration::ZERO;
        });
    }

    fn is_active(&self) -> bool {
        self.scaler.activity(object(&[])).unwrap().result
    }

    fn metric(&self, name: &str) -> f64 {
        let request = GetMetricsRequest {
            scaled_object_ref: Some(object(&[])),
            metric_name: name.to_owned(),
        };
        self.scaler.measure(request).unwrap().metric_values[0].metric_value_float
    }
}

fn object(metadata: &[(&str, &str)]) -> ScaledObjectRef {
    let pairs = metadata.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    ScaledObjectRef {
        name: "hello".to_owned(),
        namespace: "shop-prod".to_owned(),
        scaler_metadata: pairs.collect::<HashMap<_, _>>(),
    }
}

/// What Kubernetes' HPA and KEDA make of the answers: the HPA every 15 s with its tolerance of
/// 0.1, KEDA every 30 s with its cooldown.
struct Autoscaler {
    replicas: u32,
    last_active: Duration,
}

impl Autoscaler {
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    fn sync_hpa(&mut self, value: f64, target: f64) {
        if self.replicas == 0 {
            return;
        }
        let ratio = value / (target * f64::from(self.replicas));
        if (ratio - 1.0).abs() > 0.1 {
            self.replicas = ((value / target).ceil() as u32).clamp(1, 10);
        }
    }

    fn poll_keda(&mut self, is_active: bool, now: Duration, cooldown: Duration) {
        if is_active {
            self.last_active = now;
            self.replicas = self.replicas.max(1);
        } else if now.saturating_sub(self.last_active) > cooldown {
            self.replicas = 0;
        }
    }
}

/// Runs ten minutes of steady traffic and returns the replicas at the end.
async fn replicas_at(fixture: &mut Fixture, rate: f64, scaler: &mut Autoscaler) -> u32 {
    const STEP: Duration = Duration::from_millis(250);
    let mut due = 0.0;
    for step in 0..2400_u32 {
        due += rate * STEP.as_secs_f64();
        while due >= 1.0 {
            fixture.request();
            due -= 1.0;
        }
        if step % 60 == 0 {
            scaler.sync_hpa(fixture.metric(REQUEST_RATE), 5.0);
        }
        if step % 120 == 0 {
            let now = fixture.scaler.functions.now();
            scaler.poll_keda(fixture.is_active(), now, Duration::from_secs(300));
        }
        advance(STEP).await;
    }
    scaler.replicas
}

#[tokio::test(start_paused = true)]
async fn replicas_follow_the_request_rate() {
    let mut fixture = Fixture::new();
    let mut scaler = Autoscaler { replicas: 0, last_active: Duration::ZERO };
    for (rate, expected) in [
        (0.0, 0..=0),
        (0.1, 1..=1),
        (4.0, 1..=1),
        (8.0, 2..=2),
        (14.0, 3..=3),
        (23.0, 5..=5),
        (49.0, 10..=10),
        (400.0, 10..=10),
        (12.0, 2..=3),
        (1.0, 1..=1),
        (0.02, 1..=1),
        (0.0, 0..=0),
    ] {
        let replicas = replicas_at(&mut fixture, rate, &mut scaler).await;
        assert!(expected.contains(&replicas), "{replicas} replicas at {rate} requests/s");
    }
}

#[tokio::test(start_paused = true)]
async fn a_step_is_seen_by_the_first_hpa_sync_after_ten_seconds() {
    let mut fixture = Fixture::new();
    let mut scaler = Autoscaler { replicas: 1, last_active: Duration::ZERO };
    advance(Duration::from_secs(120)).await;
    for _ in 0..10 {
        for _ in 0..30 {
            fixture.request();
        }
        advance(Duration::from_secs(1)).await;
    }
    scaler.sync_hpa(fixture.metric(REQUEST_RATE), 5.0);
    assert_eq!(scaler.replicas, 6);
}

#[tokio::test(start_paused = true)]
async fn concurrency_is_measured_against_seven_tenths_of_the_limit() {
    let mut fixture = Fixture::new();
    let spec = metric_specs(&Trigger::parse(object(&[("concurrency", "10")])).unwrap());
    let target = spec.metric_specs[1].target_size_float;
    assert!((target - 7.0).abs() < 1e-9);
    assert_eq!(spec.metric_specs[1].target_size, 7);
    fixture.tell(|told| (told.in_flight, told.held) = (30, 5));
    let mut scaler = Autoscaler { replicas: 1, last_active: Duration::ZERO };
    scaler.sync_hpa(fixture.metric(CONCURRENCY), target);
    assert_eq!(scaler.replicas, 5);
    assert_eq!(metric_specs(&Trigger::parse(object(&[])).unwrap()).metric_specs.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn sparse_requests_are_seen_by_every_poll_cycle() {
    let mut fixture = Fixture::new();
    // Just after a poll; the next one is late by a second.
    fixture.request();
    advance(Duration::from_secs(31)).await;
    assert!(fixture.is_active());
}

#[tokio::test(start_paused = true)]
async fn true_at_once_then_every_second_then_silence() {
    let mut fixture = Fixture::new();
    let mut stream = fixture.scaler.subscribe(object(&[])).unwrap();
    assert!(stream.next().now_or_never().is_none(), "nothing waits");

    fixture.tell(|told| (told.held, told.waiting) = (1, 1));
    assert!(stream.next().now_or_never().is_some(), "no timer may be on this path");
    assert!(stream.next().now_or_never().is_none());
    let told_at = Instant::now();
    for resend in 1..=3 {
        stream.next().await.unwrap().unwrap();
        let gap = told_at.elapsed();
        // A timer of tokio's is up to a millisecond late.
        assert!(
            gap >= RESEND_INTERVAL * resend
                && gap < RESEND_INTERVAL * resend + Duration::from_millis(20)
        );
    }

    // Endpoints came: still held, but no longer waiting for a wake.
    fixture.tell(|told| told.waiting = 0);
    let silent = tokio::time::timeout(Duration::from_secs(600), stream.next()).await;
    assert!(silent.is_err());
    assert!(fixture.is_active(), "held");

    fixture.tell(|told| told.waiting = 2);
    assert!(stream.next().now_or_never().is_some(), "the next wake is an edge again");
}

#[tokio::test(start_paused = true)]
async fn a_flapping_wake_does_not_flood_keda() {
    let mut fixture = Fixture::new();
    let mut stream = fixture.scaler.subscribe(object(&[])).unwrap();
    let mut sent = 0;
    for _ in 0..1000 {
        fixture.tell(|told| told.waiting = 1);
        sent += u32::from(stream.next().now_or_never().is_some());
        fixture.tell(|told| told.waiting = 0);
        sent += u32::from(stream.next().now_or_never().is_some());
        advance(Duration::from_millis(1)).await;
    }
    assert!((9..=11).contains(&sent), "{sent} in one second");
}

#[tokio::test(start_paused = true)]
async fn a_stream_ends_cleanly_on_shutdown_and_is_forgotten() {
    let fixture = Fixture::new();
    let mut stream = fixture.scaler.subscribe(object(&[])).unwrap();
    assert_eq!(fixture.scaler.metrics.functions.get(), 1);
    fixture.scaler.shutdown.cancel();
    assert!(stream.next().await.is_none());
    drop(stream);
    assert_eq!(fixture.scaler.metrics.functions.get(), 0);
    assert_eq!(fixture.scaler.metrics.keda_streams.get(), 0);
}

#[tokio::test(start_paused = true)]
async fn beyond_the_limit_functions_are_refused() {
    let metrics = Metrics::register(&Registry::new()).unwrap();
    let functions = Functions::new(1, Clock::start(), metrics.clone());
    let held = functions.get(FunctionKey::new("a", "a")).unwrap();
    let greet = |_: &mut crate::aggregate::Function, _| {};
    assert!(functions.subscribe(FunctionKey::new("a", "b"), None, greet).is_err());
    assert_eq!(metrics.refused_functions.get(), 1);
    functions.sweep();
    assert!(functions.get(FunctionKey::new("a", "b")).is_err(), "what is held is not forgotten");
    // Room again once the first is forgotten.
    drop(held);
    functions.sweep();
    functions.get(FunctionKey::new("a", "b")).unwrap();
}

/// What an adapter has not been told of it must not answer for: KEDA keeps the replicas. Only what follows
/// from the metadata it says of every function, because KEDA makes an HPA of it.
#[tokio::test(start_paused = true)]
async fn a_function_of_another_shard_gets_no_answer() {
    let own = shard::index("shop-prod", "hello", 2);
    for index in 0..2 {
        let mut scaler = Fixture::new().scaler;
        scaler = scaler.of_shard(Shard::new(index, 2).unwrap());
        let rate = GetMetricsRequest {
            scaled_object_ref: Some(object(&[])),
            metric_name: REQUEST_RATE.to_owned(),
        };
        let asked = [
            scaler.activity(object(&[])).map(drop),
            scaler.activity(object(&[("backlog", "true")])).map(drop),
            scaler.subscribe(object(&[])).map(drop),
            scaler.measure(rate).map(drop),
        ];
        for answer in asked {
            assert_eq!(answer.is_ok(), index == own, "{answer:?}");
            let code = answer.err().map(|status| status.code());
            assert!(code.is_none_or(|code| code == tonic::Code::FailedPrecondition));
        }
        let specs = scaler.get_metric_spec(Request::new(object(&[]))).await.unwrap().into_inner();
        assert_eq!(specs.metric_specs.len(), 1);
        // Buckets are watched by the first.
        let bucket = scaler.activity(object(&[("bucket", "true")])).unwrap_err().code();
        let expected =
            if index == 0 { tonic::Code::Unavailable } else { tonic::Code::FailedPrecondition };
        assert_eq!(bucket, expected);
    }
}
