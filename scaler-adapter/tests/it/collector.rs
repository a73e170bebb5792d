//! The interceptors' side: what streams say, in which order, and what their end means.

use std::time::Duration;

use kipper_counts::FunctionCounts;
use kipper_scaler_adapter::Config;
use tonic::Code;

use crate::support::{Interceptor, Keda, counts, patiently, serve, waiting};

fn running(name: &str, total: u64) -> FunctionCounts {
    FunctionCounts { in_flight: 1, idle_ms: 3_600_000, ..counts(name, total) }
}

fn idle(name: &str, total: u64) -> FunctionCounts {
    FunctionCounts { idle_ms: 3_600_000, base: total, ..counts(name, total) }
}

#[tokio::test]
async fn counts_are_summed_over_interceptors() {
    let served = serve(&Config::in_process()).await;
    let mut keda = Keda::connect(served.grpc).await;
    let first = Interceptor::connect(served.counts, "i-1", 7, vec![running("hello", 5)]).await;
    let second = Interceptor::connect(served.counts, "i-2", 8, vec![running("hello", 5)]).await;
    let poll = async {
        while keda.metric("hello", "concurrency").await.ok() != Some(2.0) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    patiently("both", poll).await;
    first.report(vec![idle("hello", 5)]).await;
    second.report(vec![idle("hello", 5)]).await;
    keda.until_active("hello", false).await;
}

#[tokio::test]
async fn a_killed_interceptor_is_forgotten_after_its_ttl() {
    let config = Config { interceptor_ttl: Duration::from_millis(500), ..Config::in_process() };
    let served = serve(&config).await;
    let mut keda = Keda::connect(served.grpc).await;
    let other = Interceptor::connect(served.counts, "i-2", 8, vec![running("other", 1)]).await;
    let killed = Interceptor::connect(served.counts, "i-1", 7, vec![running("hello", 1)]).await;
    keda.until_active("hello", true).await;
    keda.until_active("other", true).await;
    drop(killed);
    keda.until_active("hello", false).await;
    assert!(keda.is_active("other").await.unwrap(), "the others stay");
    drop(other);
}

#[tokio::test]
async fn an_interceptor_that_reconnects_within_the_ttl_never_looks_idle() {
    let config = Config { interceptor_ttl: Duration::from_secs(3600), ..Config::in_process() };
    let served = serve(&config).await;
    let mut keda = Keda::connect(served.grpc).await;
    let mut interceptor =
        Interceptor::connect(served.counts, "i-1", 7, vec![running("hello", 1)]).await;
    keda.until_active("hello", true).await;
    for _ in 0..20 {
        let next = Interceptor::connect(served.counts, "i-1", 7, vec![running("hello", 1)]);
        drop(std::mem::replace(&mut interceptor, next.await));
        for _ in 0..10 {
            assert!(keda.is_active("hello").await.unwrap());
        }
    }
}

#[tokio::test]
async fn a_snapshot_replaces_what_was_said_before() {
    let served = serve(&Config::in_process()).await;
    let mut keda = Keda::connect(served.grpc).await;
    let old = Interceptor::connect(served.counts, "i-1", 7, vec![running("gone", 1)]).await;
    keda.until_active("gone", true).await;
    let new = Interceptor::connect(served.counts, "i-1", 7, vec![running("hello", 1)]).await;
    keda.until_active("hello", true).await;
    keda.until_active("gone", false).await;
    // The old stream is told so, and has no say any more.
    assert_eq!(old.end().await.unwrap_err().code(), Code::Aborted);
    drop(new);
}

#[tokio::test]
async fn requests_are_counted_once_over_streams_and_epochs() {
    let served = serve(&Config::in_process()).await;
    let report = |total, base| FunctionCounts { base, ..counts("hello", total) };
    let first = Interceptor::connect(served.counts, "i-1", 7, vec![counts("hello", 100)]).await;
    first.report(vec![report(103, 100)]).await;
    first.report(vec![report(103, 103), counts("other", 2)]).await;
    let counted = |wanted: f64| {
        let served = &served;
        async move {
            while (served.metric("requests_total") - wanted).abs() > 1e-9 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    };
    patiently("5 requests", counted(5.0)).await;
    let second = Interceptor::connect(served.counts, "i-1", 7, vec![counts("hello", 110)]).await;
    patiently("12 requests", counted(12.0)).await;
    let third = Interceptor::connect(served.counts, "i-1", 9, vec![counts("hello", 4)]).await;
    patiently("16 requests", counted(16.0)).await;
    drop((second, third));
}

#[tokio::test]
async fn a_function_is_known_by_its_number_until_the_stream_ends() {
    let served = serve(&Config::in_process()).await;
    let mut keda = Keda::connect(served.grpc).await;
    let mut wakes = keda.stream("hello").await;
    let named = FunctionCounts { number: 7, ..idle("hello", 3) };
    let numbered = |total, waiting| FunctionCounts {
        total,
        held: waiting,
        waiting,
        number: 7,
        ..FunctionCounts::default()
    };
    let interceptor = Interceptor::connect(served.counts, "i-1", 7, vec![named]).await;
    interceptor.report(vec![numbered(5, 1)]).await;
    assert!(patiently("wake", wakes.message()).await.unwrap().unwrap().result);
    assert!((served.metric("requests_total") - 2.0).abs() < 1e-9);

    // A new stream has to name it again; what it had open stays until the snapshot says otherwise.
    let next = Interceptor::connect(served.counts, "i-1", 7, vec![numbered(5, 1)]).await;
    let status = next.end().await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert!(status.message().contains("number"), "{status}");
    assert!(keda.is_active("hello").await.unwrap());
    drop(interceptor);
}

#[tokio::test]
async fn a_stream_that_breaks_the_rules_is_ended() {
    let served = serve(&Config::in_process()).await;
    let nameless = Interceptor::connect(served.counts, "", 7, vec![]).await;
    assert_eq!(nameless.end().await.unwrap_err().code(), Code::InvalidArgument);

    // A wake without a snapshot before it.
    let endpoint =
        tonic::transport::Channel::from_shared(format!("http://{}", served.counts)).unwrap();
    let mut client =
        kipper_counts::counts_client::CountsClient::new(endpoint.connect().await.unwrap());
    let report = kipper_counts::CountsReport {
        interceptor: "i-1".to_owned(),
        functions: vec![waiting("hello", 1)],
        ..Default::default()
    };
    let mut inbound = client.report(tokio_stream::iter([report])).await.unwrap().into_inner();
    patiently("welcome", inbound.message()).await.unwrap().unwrap();
    let status = patiently("status", inbound.message()).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert!(status.message().contains("snapshot"), "{status}");
}

#[tokio::test]
async fn streams_end_with_ok_on_shutdown() {
    let served = serve(&Config::in_process()).await;
    let interceptor = Interceptor::connect(served.counts, "i-1", 7, vec![]).await;
    served.shutdown.cancel();
    interceptor.end().await.unwrap();
    patiently("end of serve", served.task).await.unwrap().unwrap();
}
