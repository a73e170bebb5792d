//! What KEDA is told of a bucket's trigger.

use kipper_externalscaler::{GetMetricsRequest, ScaledObjectRef};
use kipper_scaler_adapter::external_scaler::BUCKET_EVENTS;
use tonic::Code;

use super::world::{Handler, Watcher, World, keys, until};
use crate::support::{Keda, object_with, patiently};

fn object() -> ScaledObjectRef {
    object_with("thumbs", &[("bucket", "true"), ("targetEvents", "25")])
}

async fn is_active(keda: &mut Keda) -> Option<bool> {
    keda.0.is_active(object()).await.ok().map(|answer| answer.into_inner().result)
}

async fn metric(keda: &mut Keda) -> Option<f64> {
    let metric_name = BUCKET_EVENTS.to_owned();
    let request = GetMetricsRequest { scaled_object_ref: Some(object()), metric_name };
    let answer = keda.0.get_metrics(request).await.ok()?.into_inner();
    Some(answer.metric_values[0].metric_value_float)
}

#[tokio::test]
async fn an_event_wakes_at_once_and_waiting_ones_are_the_metric() {
    let world = World::new().await;
    let watcher = Watcher::start(&world.config(), &[world.trigger()]).await;
    let mut keda = Keda::connect(watcher.grpc).await;
    let spec = keda.0.get_metric_spec(object()).await.unwrap().into_inner();
    assert_eq!(spec.metric_specs.len(), 1);
    assert_eq!(spec.metric_specs[0].metric_name, BUCKET_EVENTS);
    assert!((spec.metric_specs[0].target_size_float - 25.0).abs() < 1e-9);
    watcher.watches().await;
    until("counted", async || is_active(&mut keda).await == Some(false)).await;

    let stream = patiently("stream", keda.0.stream_is_active(object())).await;
    let mut stream = stream.unwrap().into_inner();
    world.upload_all(&keys(30)).await;
    let told = patiently("true", stream.message()).await.unwrap().unwrap();
    assert!(told.result);
    until("all counted", async || metric(&mut keda).await == Some(30.0)).await;
    assert_eq!(is_active(&mut keda).await, Some(true));

    Handler::new(&world).handle_until(30).await;
    until("nothing left", async || is_active(&mut keda).await == Some(false)).await;
    assert_eq!(metric(&mut keda).await, Some(0.0));
    // A second time too.
    world.upload("again.jpg").await;
    let again = async {
        while stream.message().await.unwrap().unwrap().result {
            if is_active(&mut keda).await == Some(true) {
                return;
            }
        }
    };
    patiently("true again", again).await;
}

/// Every adapter knows, also one that does not lead and stored nothing.
#[tokio::test]
async fn an_adapter_that_does_not_lead_answers_too() {
    let world = World::new().await;
    let leading = Watcher::start(&world.config(), &[world.trigger()]).await;
    let leader = kipper_scaler_adapter::bucket_watcher::Leader::Other(None);
    let other = Watcher::with(&world.config(), &[world.trigger()], leader).await;
    leading.watches().await;
    let mut keda = Keda::connect(other.grpc).await;
    let stream = patiently("stream", keda.0.stream_is_active(object())).await;
    let mut stream = stream.unwrap().into_inner();
    world.upload("a.jpg").await;
    assert!(patiently("true", stream.message()).await.unwrap().unwrap().result);
    assert_eq!(is_active(&mut keda).await, Some(true));
}

#[tokio::test]
async fn out_of_ignorance_there_is_no_answer() {
    let world = World::new().await;
    let watcher = Watcher::start(&world.config(), &[]).await;
    let mut keda = Keda::connect(watcher.grpc).await;
    assert_eq!(keda.0.is_active(object()).await.unwrap_err().code(), Code::Unavailable);
    let served = crate::support::serve(&kipper_scaler_adapter::Config::in_process()).await;
    let mut keda = Keda::connect(served.grpc).await;
    assert_eq!(keda.0.is_active(object()).await.unwrap_err().code(), Code::Unavailable);
}
