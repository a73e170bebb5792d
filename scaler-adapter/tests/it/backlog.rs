//! Triggers that are scaled by a count of events.

use std::sync::Arc;

use kipper_externalscaler::{GetMetricsRequest, ScaledObjectRef};
use kipper_scaler_adapter::{Adapter, Backlog, Config, external_scaler::BUCKET_EVENTS};
use tokio::sync::watch;
use tonic::Code;

use crate::support::{Keda, Served, object_with, patiently, serve, serve_adapter};

/// The count of one function.
struct Events(watch::Sender<Option<u64>>, Option<&'static str>);

impl Backlog for Events {
    fn count(&self, _namespace: &str, function: &str) -> Option<u64> {
        (*self.0.borrow()).filter(|_| function == "thumbs")
    }

    fn trouble(&self, _namespace: &str, function: &str) -> Option<String> {
        self.1.filter(|_| function == "thumbs").map(str::to_owned)
    }

    fn subscribe(&self, _namespace: &str, function: &str) -> Option<watch::Receiver<Option<u64>>> {
        (function == "thumbs").then(|| self.0.subscribe())
    }
}

async fn counting(events: Option<u64>) -> (Arc<Events>, Served, Keda) {
    counting_with(events, None).await
}

async fn counting_with(
    events: Option<u64>,
    trouble: Option<&'static str>,
) -> (Arc<Events>, Served, Keda) {
    let events = Arc::new(Events(watch::Sender::new(events), trouble));
    let backlog: Arc<dyn Backlog> = events.clone();
    let adapter = Adapter::bind_with_backlog(&Config::in_process(), Some(backlog)).await.unwrap();
    let served = serve_adapter(adapter);
    let keda = Keda::connect(served.grpc).await;
    (events, served, keda)
}

pub(crate) fn object() -> ScaledObjectRef {
    object_with("thumbs", &[("bucket", "true"), ("targetEvents", "25")])
}

pub(crate) async fn is_active(keda: &mut Keda) -> Option<bool> {
    keda.0.is_active(object()).await.ok().map(|answer| answer.into_inner().result)
}

pub(crate) async fn metric(keda: &mut Keda) -> Option<f64> {
    let metric_name = BUCKET_EVENTS.to_owned();
    let request = GetMetricsRequest { scaled_object_ref: Some(object()), metric_name };
    let answer = keda.0.get_metrics(request).await.ok()?.into_inner();
    Some(answer.metric_values[0].metric_value_float)
}

#[tokio::test]
async fn an_event_wakes_at_once_and_waiting_ones_are_the_metric() {
    let (events, _served, mut keda) = counting(Some(0)).await;
    let spec = keda.0.get_metric_spec(object()).await.unwrap().into_inner();
    assert_eq!(spec.metric_specs.len(), 1);
    assert_eq!(spec.metric_specs[0].metric_name, BUCKET_EVENTS);
    assert!((spec.metric_specs[0].target_size_float - 25.0).abs() < 1e-9);
    assert_eq!(is_active(&mut keda).await, Some(false));

    let stream = patiently("stream", keda.0.stream_is_active(object())).await;
    let mut stream = stream.unwrap().into_inner();
    for waiting in [30, 1] {
        events.0.send_replace(Some(waiting));
        let pushed = patiently("true", stream.message()).await.unwrap().unwrap();
        assert!(pushed.result);
        assert_eq!(is_active(&mut keda).await, Some(true));
        assert_eq!(metric(&mut keda).await, u32::try_from(waiting).ok().map(f64::from));
        events.0.send_replace(Some(0));
        assert_eq!(is_active(&mut keda).await, Some(false));
        assert_eq!(metric(&mut keda).await, Some(0.0));
    }
}

#[tokio::test]
async fn without_a_count_there_is_no_answer() {
    let unavailable = async |keda: &mut Keda| {
        assert_eq!(keda.0.is_active(object()).await.unwrap_err().code(), Code::Unavailable);
    };
    let (_events, _served, mut keda) = counting(None).await;
    unavailable(&mut keda).await;
    let served = serve(&Config::in_process()).await;
    unavailable(&mut Keda::connect(served.grpc).await).await;
}

/// KEDA writes it to the ScaledObject; what waits already is handled all the same.
#[tokio::test]
async fn what_is_wrong_with_a_bucket_is_the_answer_where_nothing_waits() {
    let (events, _served, mut keda) = counting_with(Some(0), Some("no such bucket")).await;
    for waiting in [Some(0), None] {
        events.0.send_replace(waiting);
        let status = keda.0.is_active(object()).await.unwrap_err();
        assert_eq!(status.code(), Code::FailedPrecondition);
        assert!(status.message().contains("no such bucket"), "{status}");
        assert_eq!(metric(&mut keda).await, None);
    }
    events.0.send_replace(Some(3));
    assert_eq!(is_active(&mut keda).await, Some(true));
    assert_eq!(metric(&mut keda).await, Some(3.0));
}
