//! KEDA, as far as one function is concerned: its ScaledObject, played through the real contract.
//!
//! Holds a `StreamIsActive` open, polls `IsActive` and the metrics, and orders the replicas that
//! [`super::scaler`] decides on. Knows nothing of the interceptor: all it hears comes from the
//! scaler-adapter over gRPC, as in a cluster.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use kipper_api::FunctionSpec;
use kipper_interceptor::source::FunctionId;
use kipper_proto::externalscaler::{
    GetMetricsRequest, MetricSpec, ScaledObjectRef, external_scaler_client::ExternalScalerClient,
};
use tokio::{
    sync::mpsc,
    time::{MissedTickBehavior, interval},
};
use tonic::transport::Channel;

use super::{
    console::Voice,
    fleet::Order,
    scaler::{Policy, Reading, Scaler},
};

/// Pause before a stream is opened again.
const RECONNECT_PAUSE: Duration = Duration::from_millis(200);

/// Client of the adapter.
pub(super) type Client = ExternalScalerClient<Channel>;

/// What a ScaledObject says about one function.
#[derive(Clone, Debug)]
pub(super) struct ScaledObject {
    object: ScaledObjectRef,
    policy: Policy,
    polling_interval: Duration,
}

impl ScaledObject {
    /// The ScaledObject of a function, with the idle time and periods that are in force here.
    pub(super) fn new(
        id: &FunctionId,
        spec: &FunctionSpec,
        idle_timeout: Duration,
        polling_interval: Duration,
        scale_down_window: Duration,
    ) -> Self {
        let metadata = [
            ("function", id.name.to_string()),
            ("targetRequestRate", spec.target_request_rate().to_string()),
            ("concurrency", spec.concurrency().to_string()),
            ("idleTimeoutSeconds", whole_seconds(idle_timeout).to_string()),
            ("pollingIntervalSeconds", whole_seconds(polling_interval).max(1).to_string()),
        ];
        let scaler_metadata: HashMap<String, String> =
            metadata.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
        Self {
            object: ScaledObjectRef {
                name: id.name.to_string(),
                namespace: id.namespace.to_string(),
                scaler_metadata,
            },
            policy: Policy {
                min: spec.min_replicas(),
                max: spec.max_replicas(),
                cooldown: idle_timeout,
                scale_down_window,
            },
            polling_interval,
        }
    }
}

/// Rounded up: the contract has no fractions.
fn whole_seconds(duration: Duration) -> u64 {
    duration.as_secs() + u64::from(duration.subsec_nanos() > 0)
}

/// Plays until dropped or until nobody takes orders any more. `replicas` is what the function has
/// now, and outlives this player.
pub(super) async fn play(
    client: Client,
    scaled: ScaledObject,
    replicas: Arc<AtomicU32>,
    orders: mpsc::Sender<Order>,
    voice: Voice,
) {
    let (told, mut activations) = mpsc::channel(1);
    let stream = activations_of(client.clone(), scaled.object.clone(), told);
    let mut player = Player {
        client,
        scaler: Scaler::new(scaled.policy, replicas.load(Relaxed)),
        replicas,
        scaled,
        specs: None,
        orders,
        voice,
        began: Instant::now(),
    };
    let playing = async {
        let mut ticks = interval(player.scaled.polling_interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let before = player.scaler.replicas();
            let since = tokio::select! {
                biased;
                Some(at) = activations.recv() => {
                    player.scaler.activated(player.began.elapsed());
                    at
                }
                _ = ticks.tick() => player.poll().await,
            };
            if player.order(before, since).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = stream => {}
        () = playing => {}
    }
}

/// Forwards every `true` with its time, for as long as it is wanted. One that finds the last one
/// still waiting is dropped: it says nothing new.
async fn activations_of(mut client: Client, object: ScaledObjectRef, told: mpsc::Sender<Instant>) {
    loop {
        match client.stream_is_active(object.clone()).await {
            Ok(response) => {
                let mut stream = response.into_inner();
                while let Ok(Some(activity)) = stream.message().await {
                    if activity.result {
                        let _ = told.try_send(Instant::now());
                    }
                }
            }
            Err(status) => tracing::debug!(function = object.name, %status, "no activity stream"),
        }
        tokio::time::sleep(RECONNECT_PAUSE).await;
    }
}

struct Player {
    client: Client,
    scaled: ScaledObject,
    scaler: Scaler,
    replicas: Arc<AtomicU32>,
    /// Metrics and targets; asked for until the adapter has told them once.
    specs: Option<Vec<MetricSpec>>,
    orders: mpsc::Sender<Order>,
    voice: Voice,
    began: Instant,
}

impl Player {
    /// One poll; returns when it was decided.
    async fn poll(&mut self) -> Instant {
        let object = self.scaled.object.clone();
        let active = match self.client.is_active(object).await {
            Ok(response) => Some(response.into_inner().result),
            Err(status) => {
                tracing::debug!(function = self.scaled.object.name, %status, "activity unknown");
                None
            }
        };
        // The HPA sleeps while there is nothing to scale.
        let readings = if self.scaler.replicas() == 0 { None } else { self.readings().await };
        self.scaler.polled(self.began.elapsed(), active, readings.as_deref());
        Instant::now()
    }

    /// Every metric; `None` when one of them is not to be had, because the HPA scales on all or,
    /// downwards, on none.
    async fn readings(&mut self) -> Option<Vec<Reading>> {
        let object = self.scaled.object.clone();
        if self.specs.is_none() {
            let response = self.client.get_metric_spec(object.clone()).await.ok()?;
            self.specs = Some(response.into_inner().metric_specs);
        }
        let mut readings = Vec::new();
        for spec in self.specs.iter().flatten() {
            let request = GetMetricsRequest {
                scaled_object_ref: Some(object.clone()),
                metric_name: spec.metric_name.clone(),
            };
            let response = self.client.get_metrics(request).await.ok()?;
            let values = response.into_inner().metric_values;
            let value = values.iter().map(|value| value.metric_value_float).sum();
            readings.push(Reading { value, target: spec.target_size_float });
        }
        Some(readings)
    }

    /// Orders what was decided, if it is something new.
    async fn order(
        &self,
        before: u32,
        since: Instant,
    ) -> Result<(), mpsc::error::SendError<Order>> {
        let replicas = self.scaler.replicas();
        if replicas == before {
            return Ok(());
        }
        if replicas == 0 {
            self.voice.say("idle, scaled to 0");
        } else if before > 0 {
            self.voice.say(format!("scaled {before} → {replicas}"));
        }
        self.replicas.store(replicas, Relaxed);
        self.orders.send(Order::Scale { replicas, since }).await
    }
}
