//! KEDA's side: each call, the wake path, many streams, the end.

use std::time::Duration;

use kipper_externalscaler::GetMetricsRequest;
use kipper_scaler_adapter::{
    Config,
    external_scaler::{CONCURRENCY, REQUEST_RATE},
};
use tonic::Code;
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

use crate::support::{Interceptor, Keda, counts, object, object_with, patiently, serve, waiting};

#[tokio::test]
async fn specs_carry_the_targets_of_the_metadata() {
    let served = serve(&Config::in_process()).await;
    let mut keda = Keda::connect(served.grpc).await;
    // Before any interceptor was heard: specs need no counts.
    let spec = keda.0.get_metric_spec(object("hello")).await.unwrap().into_inner();
    assert_eq!(spec.metric_specs.len(), 1);
    assert_eq!(spec.metric_specs[0].metric_name, REQUEST_RATE);
    assert_eq!(spec.metric_specs[0].target_size, 5);
    assert!((spec.metric_specs[0].target_size_float - 5.0).abs() < 1e-9);

    let limited = object_with("hello", &[("targetRequestRate", "0.5"), ("concurrency", "1")]);
    let spec = keda.0.get_metric_spec(limited).await.unwrap().into_inner();
    assert!((spec.metric_specs[0].target_size_float - 0.5).abs() < 1e-9);
    assert_eq!(spec.metric_specs[0].target_size, 1);
    assert_eq!(spec.metric_specs[1].metric_name, CONCURRENCY);
    assert!((spec.metric_specs[1].target_size_float - 0.7).abs() < 1e-9);
}

#[tokio::test]
async fn what_cannot_be_answered_is_refused_by_name() {
    let served = serve(&Config::in_process()).await;
    let mut keda = Keda::connect(served.grpc).await;
    let _interceptor =
        Interceptor::connect(served.counts, "i-1", 7, vec![counts("hello", 1)]).await;
    keda.until_active("hello", true).await;

    let bad = || object_with("hello", &[("targetRequestRate", "lots")]);
    for status in [
        keda.0.get_metric_spec(bad()).await.unwrap_err(),
        keda.0.is_active(bad()).await.unwrap_err(),
        keda.0.stream_is_active(bad()).await.map(|_| ()).unwrap_err(),
    ] {
        assert_eq!(status.code(), Code::InvalidArgument);
        assert!(status.message().contains("targetRequestRate"), "{status}");
    }
    let nothing = GetMetricsRequest { scaled_object_ref: None, metric_name: String::new() };
    let status = keda.0.get_metrics(nothing).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    let status = keda.metric("hello", "cpu").await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    let status = keda.0.stream_metric_spec(object("hello")).await.map(|_| ()).unwrap_err();
    assert_eq!(status.code(), Code::Unimplemented);
}

#[tokio::test]
async fn unavailable_until_every_expected_interceptor_has_reported() {
    let expected_interceptors = "2".parse().unwrap();
    let snapshot_wait = Duration::from_secs(3600);
    let config = Config { expected_interceptors, snapshot_wait, ..Config::in_process() };
    let served = serve(&config).await;
    let mut keda = Keda::connect(served.grpc).await;
    assert_eq!(keda.is_active("hello").await.unwrap_err().code(), Code::Unavailable);
    assert_eq!(keda.metric("hello", REQUEST_RATE).await.unwrap_err().code(), Code::Unavailable);

    let _first = Interceptor::connect(served.counts, "i-1", 7, vec![]).await;
    let second = Interceptor::connect(served.counts, "i-1", 7, vec![]).await;
    second.report(vec![waiting("hello", 1)]).await;
    let mut stream = keda.stream("hello").await;
    // A wake need not wait for the others; and it shows that the reports were taken in.
    patiently("true", stream.message()).await.unwrap().unwrap();
    assert_eq!(keda.is_active("hello").await.unwrap_err().code(), Code::Unavailable);

    let _other = Interceptor::connect(served.counts, "i-2", 8, vec![]).await;
    keda.until_active("hello", true).await;
    assert!(!keda.is_active("other").await.unwrap(), "unknown is idle once everybody was heard");
}

#[tokio::test]
async fn unavailable_ends_after_the_wait() {
    let config = Config { snapshot_wait: Duration::from_millis(200), ..Config::in_process() };
    let served = serve(&config).await;
    let mut keda = Keda::connect(served.grpc).await;
    keda.until_active("hello", false).await;
}

#[tokio::test]
async fn a_wake_is_pushed_and_resent_while_it_waits() {
    let served = serve(&Config::in_process()).await;
    let mut keda = Keda::connect(served.grpc).await;
    let mut stream = keda.stream("hello").await;
    let interceptor = Interceptor::connect(served.counts, "i-1", 7, vec![]).await;
    interceptor.report(vec![waiting("hello", 1)]).await;
    for _ in 0..3 {
        let message = patiently("true", stream.message()).await.unwrap().unwrap();
        assert!(message.result);
    }
    assert!(keda.is_active("hello").await.unwrap());

    let answered = kipper_counts::FunctionCounts { base: 1, ..counts("hello", 1) };
    interceptor.report(vec![answered]).await;
    // Once the third report was taken in, there is nothing more to come.
    let poll = async {
        while served.metric("reports_total") < 3.0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    patiently("reports", poll).await;
    let sent = served.metric("wakes_total");
    let silence = tokio::time::timeout(Duration::from_millis(2500), async {
        loop {
            stream.message().await.unwrap().unwrap();
        }
    });
    assert!(silence.await.is_err());
    assert!((served.metric("wakes_total") - sent).abs() < 1e-9);
}

#[tokio::test]
async fn a_thousand_idle_streams_on_one_connection_are_silent() {
    let served = serve(&Config::in_process()).await;
    let mut keda = Keda::connect(served.grpc).await;
    let snapshot = (0..1000).map(|index| counts(&format!("fn-{index}"), 3)).collect();
    let interceptor = Interceptor::connect(served.counts, "i-1", 7, snapshot).await;
    let mut streams = Vec::new();
    for index in 0..1000 {
        streams.push(keda.stream(&format!("fn-{index}")).await);
    }
    keda.until_active("fn-999", true).await;
    assert!((served.metric("keda_streams") - 1000.0).abs() < 1e-9);

    interceptor.report(vec![waiting("fn-500", 4)]).await;
    let mut woken = streams.swap_remove(500);
    patiently("true", woken.message()).await.unwrap().unwrap();
    let quiet = futures_util::future::select_all(
        streams.iter_mut().map(|stream| Box::pin(stream.message())),
    );
    assert!(tokio::time::timeout(Duration::from_millis(1500), quiet).await.is_err());

    served.shutdown.cancel();
    for mut stream in streams {
        assert!(patiently("end", stream.message()).await.unwrap().is_none(), "ended with OK");
    }
    while patiently("end", woken.message()).await.unwrap().is_some() {}
    patiently("end of serve", served.task).await.unwrap().unwrap();
}

#[tokio::test]
async fn health_follows_the_shutdown() {
    let served = serve(&Config::in_process()).await;
    let keda = Keda::connect(served.grpc).await;
    let endpoint =
        tonic::transport::Channel::from_shared(format!("http://{}", served.grpc)).unwrap();
    let mut health = HealthClient::new(endpoint.connect().await.unwrap());
    let request = HealthCheckRequest { service: String::new() };
    let mut watch = health.watch(request).await.unwrap().into_inner();
    let serving = patiently("health", watch.message()).await.unwrap().unwrap();
    assert_eq!(serving.status(), tonic_health::pb::health_check_response::ServingStatus::Serving);
    served.shutdown.cancel();
    let draining = patiently("health", watch.message()).await.unwrap().unwrap();
    assert_eq!(
        draining.status(),
        tonic_health::pb::health_check_response::ServingStatus::NotServing
    );
    drop((keda, watch));
}
